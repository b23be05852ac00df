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
