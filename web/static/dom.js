/* All text of a record goes through here, and never becomes markup. */
export function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/* A record may hold marks that turn the direction of text, and characters that print nothing. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu;
export const clean = (text) => String(text).replace(HIDDEN, "\ufffd");

/* Names with their values, which are texts or nodes. */
export function pairs(entries) {
  const list = element("dl");
  for (const [name, value] of entries) {
    const shown = element("dd");
    shown.append(value instanceof Node ? value : clean(value));
    list.append(element("dt", clean(name)), shown);
  }
  return list;
}

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false,
});
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const LAST = 8.64e15;
export const time = (at) => (at >= 0 && at <= LAST ? clock.format(at) : "-");
export const moment = (at) => (at >= 0 && at <= LAST ? whole.format(at) : "-");

const number = new Intl.NumberFormat();
export const count = (value) => (value === null || value === undefined ? "-" : number.format(value));
