// A light curve: bands by colour and shape, error bars, upper limits as triangles, magnitudes downwards.

import { html, svg, utc } from "./dom.js";
import { timePlot } from "./plot.js";

// colour alone does not reach everybody; the turned ones are ATLAS's cyan and orange
const SHAPES = { u: "up", g: "circle", r: "square", i: "diamond", z: "square", y: "diamond", c: "up", o: "pentagon" };
const SURVEYS = { ztf: "ZTF", lsst: "LSST", atlas: "ATLAS" };
const FORCED_SNR = 3; // fainter forced photometry has no magnitude worth drawing
const ERROR_AT_SNR = 1.0857;
const MOST_ROWS = 1000;
const KINDS = [["detection", "● detections"], ["upper_limit", "▽ upper limits"], ["forced", "· forced"]];

/** `kept` remembers what is hidden, zoomed into and opened, for the next plot of the same object. */
export function lightCurvePlot(columns, kept = {}) {
  const { points, faint } = rows(columns);
  if (!points.length) return html("p", { class: "notice" }, "There is no point in it.");
  const bands = [...new Set(points.map((each) => each.band))];
  const hidden = (kept.hidden ??= new Set());
  const shown = () => points.filter((each) => !hidden.has(each.band) && !hidden.has(each.kind));
  const days = points.map((each) => each.mjd);

  const plot = timePlot({
    kept, whole: extent(days),
    label: summary(points, bands),
    yLabel: "mag",
    range: (from, to) => {
      const inside = shown().filter((each) => each.mjd >= from && each.mjd <= to);
      // an error bar may be long: the points set the range
      const mags = (inside.length ? inside : points).map((each) => each.y);
      const [bright, faint] = extent(mags);
      const pad = Math.max(0.08 * (faint - bright), 0.15);
      return [faint + pad, bright - pad];
    },
    draw: (x, y, from, to) => markers(shown().filter((each) => each.mjd >= from && each.mjd <= to), x, y),
    near: (day, x, y, [px, py]) => {
      let best = null;
      for (const each of shown()) {
        const distance = Math.hypot(x(each.mjd) - px, y(each.y) - py);
        if (distance < 28 && (!best || distance < best.distance)) best = { distance, each };
      }
      return best && { x: x(best.each.mjd), y: y(best.each.y), text: text(best.each) };
    },
  });

  const toggle = (name, label, swatch) => html("button", { type: "button", "aria-pressed": String(!hidden.has(name)), class: swatch, click: (event) => {
    hidden.has(name) ? hidden.delete(name) : hidden.add(name);
    event.currentTarget.setAttribute("aria-pressed", String(!hidden.has(name)));
    plot.repaint();
  } }, label);
  const kinds = new Set(points.map((each) => each.kind));
  // one legend entry per band, under its survey where there are several
  const surveyOf = new Map(points.map((each) => [each.band, each.survey]));
  const several = new Set(points.map((each) => each.survey)).size > 1;
  const label = (band) => `${glyph(band)} ${several ? `${SURVEYS[surveyOf.get(band)]} ` : ""}${band}`;
  bands.sort((a, b) => surveyOrder(surveyOf.get(a)) - surveyOrder(surveyOf.get(b)) || "ugrizyco".indexOf(a) - "ugrizyco".indexOf(b));
  plot.tools.append(...bands.map((band) => toggle(band, label(band), colour(band))),
    ...KINDS.filter(([kind]) => kinds.size > 1 && kinds.has(kind)).map(([kind, label]) => toggle(kind, label)));
  const note = faint ? html("p", { class: "quiet" }, `${faint} forced ${faint === 1 ? "measurement" : "measurements"} below ${FORCED_SNR} sigma ${faint === 1 ? "is" : "are"} not drawn; the download has ${faint === 1 ? "it" : "them"}.`) : "";
  return html("div", {}, plot.box, plot.tools, note, table(points, kept));
}

function rows(columns) {
  const found = columns.mjd.map((mjd, i) => ({
    mjd, band: columns.band[i], survey: Array.isArray(columns.survey) ? columns.survey[i] : columns.survey, kind: columns.kind[i], mag: columns.mag[i], magerr: columns.magerr[i],
    limit: columns.diffmaglim[i], sign: columns.sign[i], y: columns.kind[i] === "upper_limit" ? columns.diffmaglim[i] : columns.mag[i],
  }));
  // forced photometry of an exposure that gave a detection says the same again
  const place = (each) => `${each.survey} ${each.band} ${each.mjd.toFixed(5)}`;
  const detected = new Set(found.filter((each) => each.kind === "detection").map(place));
  const worthDrawing = (each) => each.kind !== "forced" || (each.magerr < ERROR_AT_SNR / FORCED_SNR && !detected.has(place(each)));
  const points = found.filter((each) => each.y !== null && worthDrawing(each));
  const faint = found.filter((each) => each.kind === "forced" && !detected.has(place(each)) && !(each.y !== null && worthDrawing(each))).length;
  return { points, faint };
}

/** All points as one path per band, kind and sign, and one of error bars per band: ten elements, not ten thousand. */
function markers(points, x, y) {
  const groups = new Map();
  for (const point of points) {
    const hollow = point.kind === "upper_limit" || point.sign < 0; // fainter than the reference: hollow
    const key = `${point.band} ${point.kind} ${hollow}`;
    if (!groups.has(key)) groups.set(key, { point, hollow, outline: [], bars: [], count: 0 });
    const group = groups.get(key);
    const [px, py] = [x(point.mjd), y(point.y)];
    group.count += 1;
    if (point.kind === "upper_limit") {
      group.outline.push(`M${round(px - 4.5)} ${round(py - 3)}h9l-4.5 7.5z`);
      continue;
    }
    if (point.magerr) group.bars.push(`M${round(px)} ${round(y(point.y - point.magerr))}V${round(y(point.y + point.magerr))}`);
    group.outline.push(OUTLINES[SHAPES[point.band] || "circle"](round(px), round(py), point.kind === "forced" ? 2.2 : 4.2));
  }
  return [...groups.values()].map(({ point, hollow, outline, bars, count }) => svg("g",
    { class: `mark ${colour(point.band)}`, stroke: "currentColor", "data-count": count, opacity: point.kind === "upper_limit" ? 0.75 : 1 },
    svg("path", { d: bars.join("") }),
    svg("path", { d: outline.join(""), fill: !hollow ? "currentColor" : point.kind === "upper_limit" ? "none" : "var(--card)" })));
}

const round = (pixel) => Math.round(pixel * 10) / 10;

const OUTLINES = {
  square: (px, py, size) => `M${px - size} ${py - size}h${2 * size}v${2 * size}h${-2 * size}z`,
  diamond: (px, py, size) => `M${px} ${py - 1.4 * size}l${1.4 * size} ${1.4 * size}l${-1.4 * size} ${1.4 * size}l${-1.4 * size} ${-1.4 * size}z`,
  up: (px, py, size) => `M${px} ${py - 1.3 * size}l${1.2 * size} ${2.2 * size}h${-2.4 * size}z`,
  pentagon: (px, py, size) => `M${px} ${py - 1.3 * size}l${1.25 * size} ${0.9 * size}l${-0.5 * size} ${1.5 * size}h${-1.5 * size}l${-0.5 * size} ${-1.5 * size}z`,
  circle: (px, py, size) => `M${px - size - 0.4} ${py}a${size + 0.4} ${size + 0.4} 0 1 0 ${2 * size + 0.8} 0a${size + 0.4} ${size + 0.4} 0 1 0 ${-2 * size - 0.8} 0`,
};

// a loop: spread as arguments, a hundred thousand numbers exceed the stack
const extent = (numbers) => numbers.reduce(([low, high], each) => [Math.min(low, each), Math.max(high, each)], [Infinity, -Infinity]);
const surveyOrder = (survey) => Object.keys(SURVEYS).indexOf(survey);
const colour = (band) => (band in SHAPES ? `band-${band}` : "band-other");
const glyph = (band) => ({ circle: "●", square: "■", diamond: "◆", up: "▲", pentagon: "⬟" }[SHAPES[band] || "circle"]);

function text(point) {
  const value = point.kind === "upper_limit" ? `${point.band} > ${point.limit.toFixed(2)} mag`
    : `${point.band} = ${point.mag.toFixed(2)}${point.magerr === null ? "" : ` ± ${point.magerr.toFixed(2)}`} mag`;
  const what = { upper_limit: "\nupper limit", forced: "\nforced photometry", detection: point.sign < 0 ? "\nfainter than the reference" : "" }[point.kind];
  return `${SURVEYS[point.survey] || point.survey} ${value}${what}\nMJD ${point.mjd.toFixed(4)}\n${utc(point.mjd)} UTC`;
}

function summary(points, bands) {
  const of = (kind) => points.filter((each) => each.kind === kind);
  const seen = of("detection");
  const brightest = seen.length ? `, brightest ${extent(seen.map((each) => each.mag))[0].toFixed(2)} mag` : "";
  return `Light curve: ${seen.length} detections and ${of("upper_limit").length} upper limits in ${bands.join(", ")}${brightest}. `
    + "Plus and minus zoom, the arrow keys move, 0 shows all; the numbers are in the table below.";
}

/** The rows are made when the table is opened, the first MOST_ROWS of them: the others are in the download. */
function table(points, kept) {
  const fixed = (value, digits) => (value === null || value === undefined ? "" : value.toFixed(digits));
  const row = (each) => html("tr", {}, html("td", { class: "number" }, fixed(each.mjd, 5)), html("td", {}, SURVEYS[each.survey] || each.survey), html("td", {}, each.band),
    html("td", { class: "number" }, each.kind === "upper_limit" ? "" : fixed(each.mag, 3)), html("td", { class: "number" }, fixed(each.magerr, 3)),
    html("td", { class: "number" }, fixed(each.limit, 2)), html("td", {}, each.sign < 0 ? "−" : each.sign > 0 ? "+" : ""), html("td", {}, each.kind.replace("_", " ")));
  const body = html("tbody", {});
  const more = points.length > MOST_ROWS ? html("p", { class: "quiet" }, `The newest ${MOST_ROWS} of ${points.length} points.`) : "";
  const open = (event) => {
    kept.open = event.target.open;
    if (kept.open && !body.children.length) body.append(...points.slice(-MOST_ROWS).map(row));
  };
  return html("details", { toggle: open, open: kept.open }, html("summary", {}, "The points as a table"), more,
  html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Points" }, html("table", {}, html("thead", {}, html("tr", {},
    ["MJD", "Survey", "Band", "mag", "± mag", "limit", "sign", "kind"].map((name) => html("th", { scope: "col" }, name)))), body)));
}
