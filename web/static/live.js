import { clean, count, element, time } from "./dom.js";
import { silenced } from "./keys.js";
import { show } from "./opened.js";
import { draw } from "./plots.js";

const MOST_ROWS = 100;
const FLOODED_MS = 500;
const SECONDS = 900;
const at = (id) => document.getElementById(id);
const [body, form, aside, status] = [at("rows"), at("filter"), at("opened"), at("status")];

let series = new Map();
let rows = [];
let paused = false;
let waiting = 0;
let leftOut = 0;
let selected = null;
let newest = 0;
let drawn = 0;
let pending = [];
let added = 0;

/* The filter, which the address of the page holds */

function filter() {
  const data = new FormData(form);
  return {
    decision: data.getAll("decision"), rule: data.get("rule"), key: data.get("key").trim(), text: data.get("text").trim(),
  };
}

function query(wanted) {
  const asked = new URLSearchParams();
  for (const word of wanted.decision) asked.append("decision", word);
  for (const name of ["rule", "key", "text"]) if (wanted[name]) asked.set(name, wanted[name]);
  return asked.toString();
}

function passes(row, wanted) {
  const text = wanted.text.toLowerCase();
  return (
    (!wanted.decision.length || wanted.decision.includes(row.word.toLowerCase())) &&
    (!wanted.rule || row.rules.includes(wanted.rule)) &&
    (!wanted.key || row.key === wanted.key) &&
    (!text || [row.key, row.text, row.origin].some((part) => part.toLowerCase().includes(text)))
  );
}

function restore() {
  const asked = new URLSearchParams(location.search);
  for (const box of form.elements.decision) box.checked = asked.getAll("decision").includes(box.value);
  offer([asked.get("rule") ?? ""]);
  for (const name of ["rule", "key", "text"]) form.elements[name].value = asked.get(name) ?? "";
}

function offer(rules) {
  const known = new Set([...form.elements.rule.options].map((option) => option.value));
  for (const rule of rules) {
    if (rule && !known.has(rule)) form.elements.rule.append(element("option", clean(rule), { value: rule }));
  }
}

async function changed({ keep = false } = {}) {
  const asked = query(filter());
  if (!keep) history.replaceState(null, "", asked ? `?${asked}` : location.pathname);
  const told = await ask(`/api/verdicts?${asked}`);
  if (told && asked === query(filter())) {
    newest = Math.max(newest, ...told.rows.map((row) => row.number));
    /* What did not change stays as it is, and with it the focus: frames may have brought these rows already. */
    if (JSON.stringify(told.rows) === JSON.stringify(rows)) return;
    rows = told.rows;
    render();
  }
}

async function ask(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" } }).catch(() => null);
  if (answer?.status === 401) location.assign("/login");
  return answer?.ok ? answer.json() : null;
}

/* The table */

function line(row) {
  const made = element("tr", "", { class: row.word.toLowerCase(), "data-number": row.number });
  const open = element("button", time(row.at), { type: "button", class: "link" });
  const first = element("td");
  first.append(open);
  const cells = [row.topic, row.key, row.text].map((text) => element("td", clean(text)));
  made.append(first, element("td", row.word, { class: "word" }), ...cells);
  made.addEventListener("click", () => openRow(row.number));
  return made;
}

function render() {
  const focused = body.contains(document.activeElement);
  body.replaceChildren(...rows.slice(0, MOST_ROWS).map(line));
  mark();
  if (focused) body.querySelector("[aria-selected=true] button")?.focus({ preventScroll: true });
}

function mark() {
  at("empty").hidden = rows.length > 0;
  for (const row of body.children) row.setAttribute("aria-selected", Number(row.dataset.number) === selected);
}

function add(fresh) {
  const wanted = filter();
  const passed = fresh.filter((row) => row.number > newest && passes(row, wanted));
  newest = Math.max(newest, ...fresh.map((row) => row.number));
  if (!passed.length) return;
  if (paused) {
    waiting += passed.length;
    return told();
  }
  rows = [...passed.toReversed(), ...rows].slice(0, MOST_ROWS);
  body.prepend(...passed.toReversed().map(line));
  while (body.children.length > MOST_ROWS) body.lastChild.remove();
  mark();
}

function told() {
  const parts = [];
  if (leftOut) parts.push(`${count(leftOut)} records of the last second are counted but not shown: there are too many`);
  if (paused) parts.push(`paused, ${count(waiting)} new`);
  at("sampled").textContent = parts.join("; ");
}

function pause() {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", paused);
  at("pause").textContent = paused ? "Go on" : "Pause";
  if (!paused) {
    waiting = 0;
    changed({ keep: true });
  }
  told();
}

/* An opened verdict */

async function openRow(number) {
  selected = number;
  mark();
  const addresses = [`/api/verdicts/${number}`, `/api/verdicts?${new URLSearchParams({ entity_of: number })}`];
  const [found, entity] = await Promise.all(addresses.map(ask));
  if (selected !== number) return;
  if (!found) {
    aside.replaceChildren(element("p", "It is no longer kept: newer ones took its place."));
    aside.hidden = false;
    return;
  }
  show(aside, found, entity?.rows ?? [], {
    onRow: openRow,
    onClose: close,
    onEntity: (key) => {
      form.elements.key.value = key;
      changed();
    },
  });
  aside.focus({ preventScroll: true });
  aside.scrollIntoView({ block: "nearest" });
}

function close() {
  if (aside.hidden) return;
  aside.hidden = true;
  const row = body.querySelector("[aria-selected=true] button");
  (row ?? at("pause")).focus({ preventScroll: true });
}

function step(by) {
  const all = [...body.children];
  if (!all.length) return;
  const place = all.findIndex((row) => Number(row.dataset.number) === selected);
  const row = all[Math.min(Math.max(place < 0 ? 0 : place + by, 0), all.length - 1)];
  selected = Number(row.dataset.number);
  mark();
  row.querySelector("button").focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

/* The space bar stays the browser's: it presses a button, and turns a page. */
const KEYS = { j: () => step(1), k: () => step(-1), p: pause, Escape: close };

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input, select");
  if (typing && event.key !== "Escape") return;
  if (event.key === "Enter" && event.target === document.body && selected !== null) return void openRow(selected);
  const act = KEYS[event.key];
  if (act && !silenced(event)) {
    event.preventDefault();
    act();
  }
});

/* Frames */

function take(frame) {
  status.textContent = frame.problem ? `waiting: ${clean(frame.problem)}` : "live";
  status.classList.toggle("trouble", Boolean(frame.problem));
  at("rate").textContent = count(Math.round(frame.rate));
  for (const word of ["FRAUD", "REVIEW", "LEGIT", "DEAD"]) at(`count-${word}`).textContent = count(frame.words[word] ?? 0);
  at("p50").textContent = frame.latency.p50 === null ? "-" : `${count(frame.latency.p50)} ms`;
  at("p99").textContent = frame.latency.p99 === null ? "-" : `${count(frame.latency.p99)} ms`;
  at("lag").textContent = count(frame.lag);
  offer(Object.keys(frame.rules));
  for (const bucket of frame.series) series.set(bucket.at, bucket);
  for (const second of series.keys()) if (series.size > SECONDS) series.delete(second);
  if (frame.at - drawn >= 1000 && !document.hidden) {
    drawn = frame.at;
    leftOut = 0;
    plots(frame);
  }
  leftOut += frame.left_out;
  told();
  /* Nobody reads so many, and each time all rows are painted anew. */
  pending.push(...frame.rows);
  if (!frame.left_out || frame.at - added >= FLOODED_MS) {
    added = frame.at;
    add(pending.splice(0));
  }
}

function plots(frame) {
  /* The second that runs is not whole yet. */
  const all = [...series.values()].sort((one, other) => one.at - other.at).slice(0, -1);
  const of = (name) => all.map((bucket) => bucket.words[name] ?? 0);
  draw("mix", [
    { name: "legit", style: 0, values: of("LEGIT") },
    { name: "review", style: 1, values: of("REVIEW") },
    { name: "fraud", style: 2, values: of("FRAUD") },
  ]);
  draw("latency", [
    { name: "p50", style: 4, values: all.map((bucket) => bucket.p50) },
    { name: "p99", style: 5, values: all.map((bucket) => bucket.p99) },
  ]);
  draw("lag", [{ name: "lag", style: 4, values: all.map((bucket) => bucket.lag) }]);
  const rules = Object.keys(frame.rules).slice(0, 6);
  draw("rules", rules.map((rule, style) => ({ name: rule, style, values: all.map((bucket) => bucket.rules[rule] ?? 0) })));
}

async function start() {
  at("zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
  restore();
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => changed());
  at("clear").addEventListener("click", () => {
    form.reset();
    changed();
  });
  at("pause").addEventListener("click", pause);
  addEventListener("popstate", () => {
    restore();
    changed({ keep: true });
  });
  const source = new EventSource("/events");
  source.addEventListener("message", (event) => take(JSON.parse(event.data)));
  /* Also after the server was away, which has forgotten its numbers then. */
  source.addEventListener("open", async () => {
    const first = await ask("/api/state");
    if (!first) return;
    series = new Map();
    newest = 0;
    drawn = 0;
    pending = [];
    take({ ...first, rows: [] });
    await changed({ keep: true });
  });
  source.addEventListener("error", () => {
    status.textContent = "no connection to the page's server, trying again";
    status.classList.add("trouble");
  });
}

start();
