// Bars of probabilities or counts, a sparkline, and what both pages say about a classification.

import { html, named, svg, percent } from "./dom.js";
import { meaning } from "./meanings.js";

/** Horizontal bars: `entries` of {name, value, text, href?, inSet?}; the longest fills `most`. */
export function bars(entries, most = Math.max(...entries.map((each) => each.value), 1e-9)) {
  return html("ul", { class: "bars" }, entries.map((each) => {
    const fill = html("span", { class: "fill" });
    fill.style.width = `${(100 * each.value) / most}%`;
    return html("li", { class: each.inSet ? "in-set" : null },
      html("span", { class: "name" }, each.href ? html("a", { href: each.href, title: each.title }, each.name) : each.name),
      html("span", { class: "track", "aria-hidden": "true" }, fill),
      html("span", { class: "right" }, each.text));
  }));
}

/** A line of recent values, the newest at the right. */
export function sparkline(values, label) {
  const high = Math.max(...values, 1e-9);
  const x = (i) => (100 * i) / Math.max(values.length - 1, 1);
  const points = values.map((value, i) => `${x(i).toFixed(1)},${(23 - (20 * value) / high).toFixed(1)}`).join(" ");
  return svg("svg", { viewBox: "0 0 100 24", preserveAspectRatio: "none", role: "img", "aria-label": label, class: "c0" },
    svg("polyline", { points, fill: "none", stroke: "currentColor", "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" }));
}

/**
 * Card: all that a classification says, most probable first; what the conformal set holds stands out. `model`, where it
 * is known, is the answering model's entry of /v1/models.
 */
export function classificationCard(answer, model = null, title = "What it is taken for") {
  const members = new Set(answer.conformal_set);
  const entries = Object.entries(answer.probabilities).sort(([, a], [, b]) => b - a)
    .map(([name, value]) => ({ name, value, text: percent(value), inSet: members.has(name), href: `#/classes/${encodeURIComponent(name)}`, title: meaning(name) }));
  const parents = Object.entries(answer.superclass_probabilities).sort(([, a], [, b]) => b - a)
    .map(([name, value]) => html("span", { class: "tag" }, `${name} ${percent(value)}`));
  const score = answer.ood_score;
  return html("section", { class: "card" },
    html("h2", {}, title),
    html("div", { class: "list" }, html("span", { class: "tag class" }, answer.top_class === null ? "–" : named(answer).join(" ")), parents),
    flags(answer.flags),
    bars(entries, 1),
    html("p", { class: "quiet" }, ...(members.size
      ? [`Bold: the ${members.size} ${members.size === 1 ? "class" : "classes"} that can't be ruled out (`, explained("conformal set", "bold"), ")."]
      : ["Every class can be ruled out: it is like nothing in training (empty ", explained("conformal set", "bold"), ")."])),
    score === null ? null : html("p", { class: "quiet" }, explained("Distance from the training data", "distance"), `: ${score.toFixed(2)}`, beside(answer, model)),
    html("p", { class: "quiet" }, `By ${answer.classifier} ${answer.version}`));
}

const explained = (text, anchor) => html("a", { href: `#/classes/${anchor}` }, text);

function beside(answer, model) {
  const warning = answer.flags.includes("out_of_distribution") ? ": out of distribution, so take the classes with care." : ".";
  const known = model?.out_of_distribution;
  if (!known) return ` (1 is typical)${warning}`;
  const detections = model.bands.reduce((sum, band) => sum + (answer.n_detections[band] || 0), 0);
  const bin = Math.max(0, known.detections.filter((first) => first <= detections).length - 1);
  return ` (1 is typical; flagged above ${known.thresholds[bin].toFixed(2)})${warning}`;
}

const MEANINGS = {
  too_few_points: "fewer detections than the model was validated for",
  no_detection: "no detection: the probabilities are the training prior",
  unknown_band: "points in bands that the model does not know were left out",
  unknown_survey: "points of surveys that the model does not read were left out",
  no_model_for_survey: "no model reads this survey: no class is named",
  unusable_photometry: "no finite answer came of the photometry: the probabilities are the prior",
  out_of_distribution: "unlike the training data",
  low_quality: "the alert failed a quality cut",
};

function flags(names) {
  if (!names.length) return null;
  return html("ul", { class: "list", "aria-label": "Flags" }, names.map((name) =>
    html("li", { class: "tag warn", title: MEANINGS[name] || "a quality cut that the alert failed" }, name.replaceAll("_", " "))));
}
