import { clean, count, element } from "./dom.js";

const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 96;
const FEWEST_SECONDS = 60;

function shape(name, attributes) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/* Draw lines over the seconds that are known, a minute at least: `lines` are {name, style, values}, one value a second, null where unknown. */
export function draw(id, lines) {
  const largest = Math.max(1, ...lines.flatMap((line) => line.values.map((value) => value ?? 0)));
  const newest = lines.map((line) => `${line.name} ${count(line.values.findLast((value) => value !== null))}`);
  const seconds = Math.max(FEWEST_SECONDS, ...lines.map((line) => line.values.length));
  const svg = shape("svg", {
    class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
    "aria-label": clean(`${newest.join(", ")}; largest ${count(largest)}`),
  });
  for (const line of lines) {
    const start = seconds - line.values.length;
    let points = [];
    const end = () => {
      /* A second between two unknown ones is a dot, which the round ends of a line of no length make. */
      if (points.length === 1) points.push(points[0]);
      if (points.length) svg.append(shape("polyline", { class: `s${line.style}`, points: points.join(" ") }));
      points = [];
    };
    line.values.forEach((value, place) => {
      if (value === null) return end();
      const x = ((start + place) * WIDTH) / (seconds - 1);
      points.push(`${x.toFixed(1)},${(HEIGHT - 2 - (value * (HEIGHT - 4)) / largest).toFixed(1)}`);
    });
    end();
  }
  document.getElementById(`plot-${id}`).replaceChildren(svg);
  const legend = lines.map((line) => element("span", `▬ ${clean(line.name)}`, { class: `s${line.style}` }));
  document.getElementById(`legend-${id}`).replaceChildren(...legend, element("span", `up to ${count(largest)}`));
}

const STYLES = { LEGIT: 0, REVIEW: 1, FRAUD: 2, DEAD: 3 };

/* A dot for each event on a line from the first to the last: `events` are {at, word}, times in ms. A list says the same in words. */
export function timeline(events, open) {
  const times = events.map((event) => event.at);
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const tell = (at) => (at === open ? "this one" : `${((at - open) / 1000).toFixed(3)} s`);
  const svg = shape("svg", {
    class: "timeline", viewBox: `0 0 ${WIDTH} 10`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${count(events.length)} events from ${tell(first)} to ${tell(last)}`,
  });
  svg.append(shape("line", { x1: 0, x2: WIDTH, y1: 5, y2: 5 }));
  for (const event of events) {
    const x = (10 + ((event.at - first) * (WIDTH - 20)) / (last - first || 1)).toFixed(1);
    svg.append(shape("polyline", { class: `s${STYLES[event.word] ?? 5}`, points: `${x},5 ${x},5` }));
  }
  const ends = element("p", "", { class: "ends", "aria-hidden": "true" });
  ends.append(element("span", tell(first)), element("span", tell(last)));
  return [svg, ends];
}
