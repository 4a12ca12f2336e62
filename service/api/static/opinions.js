// What every resident model says of the newest alert, beside one another.

import { html, percent } from "./dom.js";

const LEAST = 0.01; // classes to which no model gives more are left out

/** A card, or nothing where only one model has answered. `answers`: an object's history, oldest first. */
export function opinions(answers) {
  const newest = answers.at(-1);
  if (!newest) return null;
  const models = new Map(); // the last answer of each: a model can be asked twice about an alert
  for (const each of answers) if (each.candid === newest.candid) models.set(`${each.classifier} ${each.version}`, each);
  if (models.size < 2) return null;
  const columns = [...models].sort(([, a], [, b]) => b.active - a.active);
  const most = (name) => Math.max(...columns.map(([, each]) => each.probabilities[name] || 0));
  const names = [...new Set(columns.flatMap(([, each]) => Object.keys(each.probabilities)))]
    .filter((name) => most(name) >= LEAST).sort((a, b) => most(b) - most(a));
  return html("section", { class: "card" }, html("h2", {}, "Every model's answer"),
    html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Every model's answer" }, html("table", {},
      html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "Class"),
        columns.map(([label, each]) => html("th", { scope: "col", class: "right" }, `${label}${each.active ? "" : " (shadow)"}`)))),
      html("tbody", {}, names.map((name) => html("tr", {}, html("th", { scope: "row" }, name),
        columns.map(([, each]) => html("td", { class: "right" },
          each.top_class === name ? html("strong", {}, percent(each.probabilities[name])) : name in each.probabilities ? percent(each.probabilities[name]) : "–"))))))),
    html("p", { class: "quiet" }, "Of the newest alert. A shadow answers beside the active model; only the active one is published. Strong: the most probable class."));
}
