// What the newest packet of an object says of its surroundings: neighbours in catalogues and in the reference image.

import { html } from "./dom.js";

const PIXEL = 1.01; // arcsec

/** A card, or nothing where no packet has said anything. `context` has what is known, by the names of ZTF's packets. */
export function surroundings(context) {
  if (!context) return null;
  const rows = [
    ...[1, 2, 3].map((rank) => ["PS1", context[`distpsnr${rank}`], context[`sgscore${rank}`],
      ["g", "r", "i", "z"].map((band) => magnitude(band, context[`s${band}mag${rank}`]))]),
    ["Gaia", context.neargaia, undefined, [magnitude("G", context.maggaia)]],
    ["Gaia, G < 14", context.neargaiabright, undefined, [magnitude("G", context.maggaiabright)]],
    ["reference image", context.distnr === undefined ? undefined : PIXEL * context.distnr, undefined, [magnitude("", context.magnr)]],
    ["Solar System", context.ssdistnr, undefined, [magnitude("", context.ssmagnr)]],
  ].map(([name, distance, score, magnitudes]) => [name, distance, score, magnitudes.filter(Boolean).join(", ")])
    .filter(([, distance, score, magnitudes]) => distance !== undefined || score !== undefined || magnitudes);
  const head = ["Nearest in", "Distance", "Star?", "Magnitude"];
  return html("section", { class: "card" }, html("h2", {}, "Surroundings"),
    rows.length ? html("table", {},
      html("thead", {}, html("tr", {}, head.map((name, column) => html("th", { scope: "col", class: column % 3 ? "right" : null }, name)))),
      html("tbody", {}, rows.map(([name, distance, score, magnitudes]) => html("tr", {},
        html("td", {}, name),
        html("td", { class: "right" }, distance === undefined ? "–" : `${distance.toFixed(distance < 10 ? 2 : 1)}″`),
        html("td", { class: "right" }, score === undefined ? "–" : score.toFixed(2)),
        html("td", {}, magnitudes || "–"))))) : null,
    html("p", { class: "quiet" }, told(context)));
}

// no-break spaces: a band stays with its value on a phone
const magnitude = (band, value) => (value === undefined ? "" : `${band}\u00a0${value.toFixed(2)}`.trim());

function told(context) {
  const said = [
    ["gal_b", (value) => `galactic latitude ${value.toFixed(1)}°`],
    ["nmtchps", (value) => `${value} PS1 sources within 30″`],
    ["chinr", (value) => `reference chi ${value.toFixed(2)}`],
    ["sharpnr", (value) => `sharpness ${value.toFixed(2)}`],
  ].filter(([name]) => context[name] !== undefined).map(([name, words]) => words(context[name]));
  return `From the newest alert that lists neighbours.${said.length ? " " : ""}${said.join(" · ")}`;
}
