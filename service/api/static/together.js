// The light curves of an object and its counterparts in one plot: difference flux, so that surveys of any depth share a unit.

import { ask } from "./api.js";
import { html, svg, utc } from "./dom.js";
import { timePlot } from "./plot.js";

const ZERO_POINT = 23.9; // AB magnitude of 1 microjansky
const ERROR_AT_SNR = 1.0857;
const SURVEYS = { ztf: "ZTF", lsst: "LSST", atlas: "ATLAS" };
const MOST = 4; // counterparts that are drawn; more than one is rare

/** A section that fills itself; null where there is no counterpart. */
export function together(object) {
  if (!object.counterparts.length) return null;
  const node = html("section", { class: "card" }, html("h2", {}, "Surveys together"), html("p", { class: "quiet" }, "Looking…"));
  const others = object.counterparts.slice(0, MOST).map((each) => ask(`/v1/objects/${encodeURIComponent(each.object_id)}`));
  Promise.all(others).then((found) => {
    const points = [object, ...found].flatMap((each) => fluxes(each.light_curve));
    node.lastChild.replaceWith(points.length ? plotOf(points) : html("p", { class: "notice" }, "There is no flux in them."));
  }, (error) => { node.lastChild.textContent = error.message; });
  return node;
}

/** Signed difference fluxes [microjansky] of the measurements, and 5-sigma limits. */
export function fluxes(columns) {
  const flux = (mag) => 10 ** ((ZERO_POINT - mag) / 2.5);
  return columns.mjd.map((mjd, i) => {
    const limit = columns.kind[i] === "upper_limit";
    const mag = limit ? columns.diffmaglim[i] : columns.mag[i];
    const value = mag === null ? null : flux(mag) * (!limit && columns.sign[i] < 0 ? -1 : 1);
    return { mjd, band: columns.band[i], survey: Array.isArray(columns.survey) ? columns.survey[i] : columns.survey, limit, value,
      error: limit || value === null || columns.magerr[i] === null ? 0 : (Math.abs(value) * columns.magerr[i]) / ERROR_AT_SNR };
  }).filter((each) => each.value !== null);
}

function plotOf(points) {
  const key = (each) => `${SURVEYS[each.survey] || each.survey} ${each.band}`;
  const hidden = new Set();
  const shown = (from, to) => points.filter((each) => !hidden.has(key(each)) && each.mjd >= from && each.mjd <= to);
  const first = points[0].survey; // the object's own: filled; the others': hollow
  const range = (from, to) => {
    const inside = shown(from, to);
    const measured = inside.filter((each) => !each.limit);
    const values = (measured.length ? measured : inside.length ? inside : points).map((each) => each.value);
    const [low, high] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [0, 0]);
    const pad = 0.08 * (high - low) || 1;
    return [low - pad, high + pad];
  };
  const days = points.reduce(([a, b], each) => [Math.min(a, each.mjd), Math.max(b, each.mjd)], [Infinity, -Infinity]);
  const plot = timePlot({
    whole: days,
    label: `Difference flux of ${[...new Set(points.map((each) => SURVEYS[each.survey] || each.survey))].join(" and ")} together, in microjansky.`,
    yLabel: "µJy",
    range,
    draw: (x, y, from, to) => marks(shown(from, to), key, first, x, y),
    near: (day, x, y, [px, py]) => {
      let best = null;
      for (const each of shown(-Infinity, Infinity)) {
        const distance = Math.hypot(x(each.mjd) - px, y(each.value) - py);
        if (distance < 28 && (!best || distance < best.distance)) best = { distance, each };
      }
      return best && { x: x(best.each.mjd), y: y(best.each.value), text: text(best.each, key(best.each)) };
    },
    height: 280,
  });
  for (const name of [...new Set(points.map(key))].sort()) {
    const band = name.split(" ").pop();
    plot.tools.append(html("button", { type: "button", "aria-pressed": "true", class: `band-${band}`, click: (event) => {
      hidden.has(name) ? hidden.delete(name) : hidden.add(name);
      event.currentTarget.setAttribute("aria-pressed", String(!hidden.has(name)));
      plot.repaint();
    } }, `${name.startsWith(SURVEYS[first] || first) ? "●" : "○"} ${name}`));
  }
  return html("div", {}, plot.box, plot.tools);
}

/** One group for each survey and band, however many points. */
function marks(points, key, first, x, y) {
  const groups = new Map();
  const round = (pixel) => Math.round(pixel * 10) / 10;
  for (const each of points) {
    if (!groups.has(key(each))) groups.set(key(each), { each, outline: [], limits: [], bars: [], count: 0 });
    const group = groups.get(key(each));
    const [px, py] = [round(x(each.mjd)), round(y(each.value))];
    group.count += 1;
    if (each.limit) { group.limits.push(`M${px - 4} ${py - 3}h8l-4 7z`); continue; }
    if (each.error) group.bars.push(`M${px} ${round(y(each.value - each.error))}V${round(y(each.value + each.error))}`);
    group.outline.push(`M${px - 4} ${py}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0`);
  }
  return [...groups.values()].map(({ each, outline, limits, bars, count }) => svg("g",
    { class: `mark band-${each.band}`, stroke: "currentColor", "data-count": count },
    svg("path", { d: bars.join("") }), svg("path", { d: limits.join(""), fill: "none", opacity: 0.6 }),
    svg("path", { d: outline.join(""), fill: each.survey === first ? "currentColor" : "var(--card)" })));
}

function text(each, name) {
  const value = each.limit ? `< ${each.value.toFixed(1)} µJy` : `= ${each.value.toFixed(1)}${each.error ? ` ± ${each.error.toFixed(1)}` : ""} µJy`;
  return `${name} ${value}${each.limit ? "\nupper limit" : ""}\nMJD ${each.mjd.toFixed(4)}\n${utc(each.mjd)} UTC`;
}
