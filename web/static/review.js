import { clean, count, element, moment, pairs, time } from "./dom.js";
import { silenced, tell } from "./keys.js";

const EVERY = 2000;
const at = (id) => document.getElementById(id);
const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
const [body, form, aside, status] = [at("rows"), at("filter"), at("opened"), at("status")];
const MAY_ACT = meta("may-act") === "yes";
const DID = { confirm: "confirmed the fraud", dismiss: "called it a false alarm", snooze: "snoozed it" };

let rows = [];
let selected = null;
let opened = null;
let busy = false;
let last = 0;

const path = (origin) => `/api/review/${origin.split("/").map(encodeURIComponent).join("/")}`;

async function ask(address, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  const answer = await fetch(address, { ...options, headers }).catch(() => null);
  if (answer?.status === 401) location.assign("/login");
  return answer;
}

/* The queue */

async function refresh() {
  const asked = new URLSearchParams(new FormData(form)).toString();
  const answer = await ask(`/api/review?${asked}`);
  if (!answer?.ok) return say("no connection to the page's server, trying again", true);
  const told = await answer.json();
  if (asked !== new URLSearchParams(new FormData(form)).toString()) return;
  say(told.problem ? `waiting: ${clean(told.problem)}` : "live", Boolean(told.problem));
  for (const [name, number] of Object.entries(told.counts)) at(`count-${name}`).textContent = count(number);
  at("cut").textContent = cut(told);
  /* What did not change stays as it is, and with it the focus. */
  if (JSON.stringify(told.rows) === JSON.stringify(rows)) return;
  rows = told.rows;
  render();
}

function cut(told) {
  const all = told.counts[form.elements.state.value];
  const parts = [];
  if (all > told.rows.length) parts.push(`the first ${count(told.rows.length)} of ${count(all)} are shown`);
  if (told.dropped) parts.push(`${count(told.dropped)} older ones left the queue for newer ones`);
  if (told.older) parts.push("the topics hold older ones, from before what is read at a start");
  if (told.unreadable) parts.push(`${count(told.unreadable)} records on decisions are none of ours`);
  return parts.length ? `The queue is cut: ${parts.join("; ")}.` : "";
}

function say(text, trouble) {
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle("trouble", trouble);
}

function state(row) {
  return row.state === "snoozed" ? `snoozed until ${moment(row.until)}` : row.state;
}

function line(row) {
  const made = element("tr", "", { class: row.word.toLowerCase(), "data-origin": row.origin });
  const open = element("button", time(row.at), { type: "button", class: "link" });
  const first = element("td");
  first.append(open);
  const cells = [row.topic, row.score, row.key, row.text].map((text) => element("td", clean(text)));
  cells.push(element("td", state(row), { class: "short" }));
  made.append(first, element("td", row.word, { class: "word" }), ...cells);
  made.addEventListener("click", () => openRow(row.origin));
  return made;
}

function render() {
  const focused = body.contains(document.activeElement);
  body.replaceChildren(...rows.map(line));
  mark();
  if (focused) body.querySelector("[aria-selected=true] button")?.focus({ preventScroll: true });
}

function mark() {
  at("empty").hidden = rows.length > 0;
  for (const row of body.children) row.setAttribute("aria-selected", row.dataset.origin === selected);
}

/* An opened verdict */

function history(review) {
  const list = element("ol", "", { id: "history" });
  for (const did of review.history) {
    const until = did.until ? ` until ${moment(did.until)}` : "";
    const held = did.holds ? "" : " (came second, does not hold)";
    const item = element("li", clean(`${moment(did.at)}: ${did.who} (${did.role}) ${DID[did.action]}${until}${held}`));
    if (did.note) item.append(element("p", did.note.split("\n").map(clean).join("\n"), { class: "said" }));
    list.append(item);
  }
  return list;
}

function show(told, remark = "", failed = false) {
  opened = told.review;
  const { verdict, review } = told;
  const kept = aside.querySelector("#note")?.value ?? "";
  const close = element("button", "Close", { type: "button", "aria-keyshortcuts": "Escape" });
  close.addEventListener("click", shut);
  aside.replaceChildren(close);
  if (remark) aside.append(element("p", clean(remark), { role: failed ? "alert" : "status", class: failed ? "alert" : "note" }));
  if (verdict) {
    const title = element("h2", "", { class: verdict.word.toLowerCase() });
    title.append(element("span", verdict.word, { class: "word" }));
    aside.append(title, element("p", clean(verdict.text)));
  } else {
    aside.append(element("p", "The verdict is no longer kept here: newer ones took its place."));
  }
  aside.append(pairs([["event", review.origin], ["state", state(review)]]));
  if (review.other) {
    const says = review.other.fraudulent ? "fraud" : "no fraud";
    aside.append(element("p", clean(`A label of ${review.other.source || "somebody else"} says: ${says}.`)));
  }
  if (review.label === false) aside.append(element("p", "Its label is not written yet, and is tried again.", { class: "alert" }));
  if (verdict && MAY_ACT) aside.append(actions(failed ? kept : ""));
  tell();
  aside.append(element("h2", "Who did what"));
  aside.append(review.history.length ? history(review) : element("p", "Nobody did anything yet."));
  if (verdict) aside.append(...facts(verdict));
  aside.hidden = false;
}

function facts(verdict) {
  const entity = element("a", clean(verdict.key), { href: `/?${new URLSearchParams({ key: verdict.listed_as })}` });
  const parts = [
    element("h2", "Verdict"),
    pairs([["entity", entity], ["written", moment(verdict.at)], ["score", verdict.score], ["pack", verdict.pack]]),
  ];
  for (const hit of verdict.hits ?? []) {
    parts.push(element("h3", clean(hit.id) + (hit.shadow ? " (shadow)" : "")), element("p", clean(hit.detail)));
    parts.push(pairs(Object.entries(hit.values)));
  }
  parts.push(element("h2", "Record"), element("pre", clean(verdict.value)));
  return parts;
}

function actions(note) {
  const part = at("act").content.cloneNode(true);
  part.querySelector("#note").value = note;
  part.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  for (const button of part.querySelectorAll("[data-action]")) {
    button.addEventListener("click", () => act(button.dataset.action));
  }
  return part;
}

async function openRow(origin) {
  selected = origin;
  last = Math.max(rows.findIndex((row) => row.origin === origin), 0);
  mark();
  const answer = await ask(path(origin));
  if (selected !== origin || !answer?.ok) return;
  show(await answer.json());
  remember(origin);
  aside.focus({ preventScroll: true });
}

function remember(origin) {
  const asked = new URLSearchParams(location.search);
  if (origin) asked.set("origin", origin);
  else asked.delete("origin");
  globalThis.history.replaceState(null, "", asked.size ? `?${asked}` : location.pathname);
}

async function act(action) {
  const wanted = at("action");
  if (!wanted || !opened || busy) return;
  busy = true;
  const seen = opened;
  for (const button of wanted.querySelectorAll("button")) button.disabled = true;
  const asked = { action, note: wanted.elements.note.value.trim() };
  if (action === "snooze") asked.minutes = Number(wanted.elements.minutes.value);
  const answer = await ask(path(seen.origin), {
    method: "POST",
    headers: { "Content-Type": "application/json", "If-Match": `"${seen.version}"`, "X-CSRF-Token": meta("csrf") },
    body: JSON.stringify(asked),
  });
  const told = await answer?.json().catch(() => null);
  busy = false;
  if (opened?.origin !== seen.origin) return;
  if (told?.review) {
    show(told, answer.ok ? `Done: you ${DID[action]}.` : told.error, !answer.ok);
    aside.focus({ preventScroll: true });
  } else {
    for (const button of wanted.querySelectorAll("button")) button.disabled = false;
    wanted.prepend(element("p", clean(told?.error ?? "not done: no answer of the page's server"), { role: "alert", class: "alert" }));
  }
  await refresh();
}

function shut() {
  aside.hidden = true;
  opened = null;
  remember(null);
  const row = body.querySelector("[aria-selected=true]") ?? body.children[Math.min(last, body.children.length - 1)];
  (row?.querySelector("button") ?? form.elements.order).focus({ preventScroll: true });
}

function step(by) {
  const all = [...body.children];
  if (!all.length) return;
  const place = all.findIndex((row) => row.dataset.origin === selected);
  /* What was decided has left the list: the next one has its place. */
  const next = place >= 0 ? place + by : selected === null ? 0 : last + (by > 0 ? 0 : by);
  last = Math.min(Math.max(next, 0), all.length - 1);
  const row = all[last];
  selected = row.dataset.origin;
  mark();
  row.querySelector("button").focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

const KEYS = {
  j: () => step(1), k: () => step(-1), Escape: shut,
  f: () => act("confirm"), l: () => act("dismiss"), s: () => act("snooze"), n: () => at("note")?.focus(),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat && "fls".includes(event.key)) return;
  if (event.target.closest("input, select, textarea") && event.key !== "Escape") return;
  const wanted = KEYS[event.key];
  if (wanted && !silenced(event)) {
    event.preventDefault();
    wanted();
  }
});

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => refresh());
at("zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
setInterval(() => document.hidden || refresh(), EVERY);
const linked = new URLSearchParams(location.search).get("origin");
refresh().then(() => linked && openRow(linked));
