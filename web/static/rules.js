import { clean, count, element, moment } from "./dom.js";

const EVERY = 5000;
const at = (id) => document.getElementById(id);
const share = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });

function unknown(found, name) {
  if (found === null) return "looking";
  return found.problem ? "-" : count(found.rules[name] ?? 0);
}

function looked(found) {
  if (found === null) return "not looked at yet";
  return found.problem ? `not known: ${clean(found.problem)}` : `the newest ${count(found.events)}, seen ${moment(found.at)}`;
}

function row(rule, unknowns) {
  const made = element("tr", "", rule.hits ? {} : { class: "quiet" });
  const name = element("th", clean(rule.name), { scope: "row" });
  if (rule.mode !== "live") name.append(element("span", ` ${rule.mode}`, { class: "note" }));
  const when = element("td");
  when.append(element("code", clean(rule.when)), element("p", clean(rule.reason), { class: "note" }));
  const hits = rule.hits ? count(rule.hits) : "none yet";
  const precision = rule.precision === null ? "-" : share.format(rule.precision);
  const cells = [rule.event, rule.outcome, rule.score, hits, count(rule.fraud), count(rule.legit), precision, unknown(unknowns, rule.name)];
  made.append(name, when, ...cells.map((text) => element("td", clean(text), { class: "short" })));
  return made;
}

async function refresh() {
  const answer = await fetch("/api/rules", { headers: { Accept: "application/json" } }).catch(() => null);
  if (answer?.status === 401) location.assign("/login");
  const status = at("status");
  const text = answer?.ok ? "live" : "no connection to the page's server, trying again";
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle("trouble", !answer?.ok);
  if (!answer?.ok) return;
  const told = await answer.json();
  at("pack").textContent = told.pack;
  at("since").textContent = moment(told.since);
  at("rules").replaceChildren(...told.rules.map((rule) => row(rule, told.unknowns)));
  at("looked").textContent = looked(told.unknowns);
}

at("zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
setInterval(() => document.hidden || refresh(), EVERY);
refresh();
