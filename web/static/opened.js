import { clean, count, element, moment, pairs } from "./dom.js";
import { timeline } from "./plots.js";

function hit(told) {
  const part = element("section");
  part.append(element("h3", clean(told.id) + (told.shadow ? " (shadow)" : "")), element("p", clean(told.detail)));
  part.append(pairs([["version", told.version], ...Object.entries(told.values)]));
  return part;
}

/* When an event of the evidence was judged, before the verdict that is open; one that is no longer kept has no time. */
function moment_before(origin, event, open, onRow) {
  const item = element("li", "", { class: event ? event.word.toLowerCase() : "" });
  if (!event) {
    item.textContent = clean(origin);
    return item;
  }
  const link = element("button", clean(origin), { type: "button", class: "link" });
  link.addEventListener("click", () => onRow(event.number));
  const before = event.number === open.number ? "this one" : `${((event.at - open.at) / 1000).toFixed(3)} s`;
  item.append(element("span", before, { class: "before" }), " ", element("span", event.word, { class: "word" }), " ", link);
  return item;
}

function window(name, told, open, onRow) {
  const part = element("section");
  part.append(element("h3", `${clean(name)}: ${told.total} in its window`));
  const known = told.newest.map((origin) => open.events?.[origin]).filter(Boolean);
  if (known.length > 1) part.append(...timeline(known, open.at));
  const list = element("ol");
  for (const origin of told.newest) list.append(moment_before(origin, open.events?.[origin], open, onRow));
  part.append(list);
  return part;
}

/* The other entities that share a value: the newest verdict of each. */
function link(told, onRow) {
  const part = element("section");
  const number = `${told.more ? "more than " : ""}${count(told.others.length)}`;
  const title = element("h3", `${clean(told.field)} ${clean(told.value)}: ${number} other ${told.others.length === 1 ? "entity" : "entities"}`);
  part.append(title, rowsOf(told.others, (row) => clean(row.key), onRow));
  return part;
}

function links(told, onRow) {
  const parts = [element("h2", "Linked entities"), ...told.links.map((each) => link(each, onRow))];
  if (!told.links.length) parts.push(element("p", "None that is kept here shares a value."));
  if (told.searched !== null) {
    const cut = `Cut: the newest ${count(told.searched)} of ${count(told.kept)} records that are kept were looked at.`;
    parts.push(element("p", cut, { class: "note" }));
  }
  return parts;
}

function rowsOf(rows, text, onRow) {
  const list = element("ul");
  for (const row of rows) {
    const open = element("button", "", { type: "button", class: `link ${row.word.toLowerCase()}` });
    open.append(element("span", row.word, { class: "word" }), ` ${moment(row.at)} ${text(row)}`);
    open.addEventListener("click", () => onRow(row.number));
    const item = element("li");
    item.append(open);
    list.append(item);
  }
  return list;
}

/* What an opened verdict shows. `history` are the rows of its entity; `onRow` and `onEntity` are told what is chosen. */
export function show(aside, told, history, { onRow, onEntity, onClose }) {
  const close = element("button", "Close", { type: "button" });
  close.addEventListener("click", onClose);
  const entity = element("button", clean(told.key), { type: "button", class: "link" });
  entity.addEventListener("click", () => onEntity(told.listed_as));
  const title = element("h2", "", { class: told.word.toLowerCase() });
  title.append(element("span", told.word, { class: "word" }));
  aside.replaceChildren(close, title);
  aside.append(element("p", clean(told.text)));
  const review = element("a", clean(told.origin), { href: `/review?${new URLSearchParams({ origin: told.origin })}` });
  const facts = [["entity", entity], ["event", ["FRAUD", "REVIEW"].includes(told.word) ? review : told.origin], ["written", moment(told.at)]];
  if (told.score !== undefined) {
    facts.push(["score", told.score], ["pack", told.pack], ["late", told.late ? "yes" : "no"]);
    if (told.warming.length) facts.push(["windows not full yet", told.warming.join(", ")]);
  }
  aside.append(pairs(facts));
  if (told.hits?.length) aside.append(element("h2", "Rules"), ...told.hits.map(hit));
  const windows = Object.entries(told.evidence ?? {});
  if (windows.length) aside.append(element("h2", "Evidence"), ...windows.map(([name, seen]) => window(name, seen, told, onRow)));
  aside.append(element("h2", `History of this entity (${history.length} kept here)`));
  aside.append(rowsOf(history, (row) => clean(row.text), onRow));
  if (told.links) aside.append(...links(told, onRow));
  aside.append(element("h2", "Record"), element("pre", clean(told.value)));
  aside.hidden = false;
}
