import { clean, count, element } from "./dom.js";

const form = document.getElementById("trial");
const outcome = document.getElementById("outcome");
const csrf = () => document.querySelector('meta[name="csrf"]').content;
let files = {};

function table(heads, rows) {
  const made = element("table");
  const head = element("tr");
  for (const name of heads) head.append(element("th", name, { scope: "col" }));
  const body = element("tbody");
  for (const cells of rows) {
    const line = element("tr");
    for (const text of cells) line.append(element("td", clean(text)));
    body.append(line);
  }
  const top = element("thead");
  top.append(head);
  made.append(top, body);
  return made;
}

function show(told) {
  const pairs = (values) => Object.entries(values).map(([name, [old, now]]) => [name, count(old), count(now)]);
  const moves = told.shown.map((each) => [
    each.origin, each.before, each.after, each.more.join(", ") || "-", each.fewer.join(", ") || "-",
  ]);
  outcome.replaceChildren(
    element("p", `${count(told.changed)} of ${count(told.events)} events would be answered otherwise.`),
    table(["Decision", "now", "edited"], pairs(told.decisions)),
    table(["Hits of rule", "now", "edited"], pairs(told.rules)),
    table(["Unknowns of rule", "now", "edited"], pairs(told.unknowns)),
  );
  if (moves.length) {
    outcome.append(element("h3", `The first ${count(moves.length)} that change`));
    outcome.append(table(["Event", "now", "edited", "fires too", "fires no more"], moves));
  }
}

async function run(event) {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  outcome.replaceChildren(element("p", "Reading and judging, for up to a minute or so."));
  const answer = await fetch("/api/trial", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf() },
    body: JSON.stringify({ file: form.elements.file.value, text: form.elements.text.value }),
  }).catch(() => null);
  const told = await answer?.json().catch(() => null);
  button.disabled = false;
  if (answer?.ok && told) return show(told);
  const problem = told?.error ?? "no answer of the page's server";
  outcome.replaceChildren(element("pre", problem.split("\n").map(clean).join("\n"), { class: "alert" }));
}

if (form) {
  const answer = await fetch("/api/trial").catch(() => null);
  files = (await answer?.json().catch(() => null))?.files ?? {};
  for (const name of Object.keys(files)) form.elements.file.append(element("option", clean(name), { value: name }));
  const fill = () => (form.elements.text.value = files[form.elements.file.value] ?? "");
  form.elements.file.addEventListener("change", fill);
  form.addEventListener("submit", run);
  fill();
}
