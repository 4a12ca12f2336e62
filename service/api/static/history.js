// Class probabilities over time: one step per alert of the object.

import { html, percent, svg, utc } from "./dom.js";
import { timePlot } from "./plot.js";

const MOST = 6; // lines that can be told apart
const COLOURS = 8;
const LEAST = 0.1; // classes that never reach it are left out

/** `kept` remembers whether all classes are wanted and what is zoomed into. */
export function historyPlot(answers, kept = {}) {
  if (answers.length < 2) return html("p", { class: "quiet" }, "One alert so far: there is nothing to follow yet.");
  const peak = {};
  for (const each of answers) {
    for (const [name, value] of Object.entries(each.probabilities)) peak[name] = Math.max(peak[name] || 0, value);
  }
  const ranked = Object.keys(peak).sort((a, b) => peak[b] - peak[a]);
  const few = ranked.filter((name) => peak[name] >= LEAST).slice(0, MOST);
  const names = kept.all ? ranked : few;
  const node = html("div");
  const dash = (k) => (k < COLOURS ? null : k < 2 * COLOURS ? "7 4" : "2 3"); // beyond the colours, the dashes tell lines apart
  const days = answers.map((each) => each.mjd);
  const of = (each, name) => each.probabilities[name] || 0;
  const plot = timePlot({
    whole: [Math.min(...days), Math.max(...days)],
    label: `Probabilities of ${names.join(", ")} over ${answers.length} alerts; at the last one ${names.map((name) => `${name} ${percent(of(answers.at(-1), name))}`).join(", ")}.`,
    yLabel: "probability",
    height: 260,
    kept,
    range: () => [0, 1],
    draw: (x, y, from, to) => names.flatMap((name, k) => {
      const inside = answers.filter((each) => each.mjd >= from && each.mjd <= to);
      const path = inside.map((each) => `${x(each.mjd).toFixed(1)},${y(of(each, name)).toFixed(1)}`).join(" ");
      return [svg("polyline", { points: path, class: `line c${k % COLOURS}`, stroke: "currentColor", "stroke-dasharray": dash(k) }),
        ...inside.map((each) => svg("circle", { cx: x(each.mjd), cy: y(of(each, name)), r: 2.6, class: `c${k % COLOURS}`, fill: "currentColor" }))];
    }),
    near: (day, x, y) => {
      const each = answers.reduce((best, one) => (Math.abs(one.mjd - day) < Math.abs(best.mjd - day) ? one : best));
      const text = names.filter((name) => of(each, name) >= 0.005).map((name) => `${name} ${percent(of(each, name))}`).join("\n");
      return { x: x(each.mjd), y: y(each.top_probability), text: `${text}\nMJD ${each.mjd.toFixed(4)}\n${utc(each.mjd)} UTC` };
    },
  });
  plot.tools.append(...names.map((name, k) => html("span", { class: `c${k % COLOURS}` },
    html("span", { class: `swatch${dash(k) ? " dashed" : ""}` }), name)));
  if (few.length < ranked.length) {
    plot.tools.append(html("button", { type: "button", "aria-pressed": String(Boolean(kept.all)), class: "plain", click: () => {
      kept.all = !kept.all;
      node.replaceWith(historyPlot(answers, kept));
    } }, `all ${ranked.length} classes`));
  }
  node.append(plot.box, plot.tools);
  return node;
}
