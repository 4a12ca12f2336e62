// How to read an answer: what the classes mean, why some are bold, what the distance from the training data is.

import { ask } from "./api.js";
import { html } from "./dom.js";
import { meaning } from "./meanings.js";

/** `wanted`: the class, or "bold" or "distance", to go to. */
export async function classesView(wanted) {
  const [model] = (await ask("/v1/models")).models;
  const bySuperclass = grouped(model.taxonomy);
  const known = model.out_of_distribution;
  const node = html("div", { class: "stack" },
    html("h1", {}, "How to read an answer"),
    html("div", { class: "row" },
      html("section", { class: "card" }, html("h2", {}, "Classes"),
        Object.entries(bySuperclass).map(([superclass, names]) => [html("h3", {}, superclass),
          html("dl", { class: "classes" }, names.map((name) => html("div", { id: `about-${name}`, tabindex: -1 },
            html("dt", {}, name, " ", html("a", { href: `#/objects?class=${encodeURIComponent(name)}`, class: "quiet", "aria-label": `objects of class ${name}` }, "objects")),
            html("dd", {}, meaning(name) || "A class of this model; its card may say more."))))]).flat()),
      html("div", { class: "stack" },
        html("section", { class: "card", id: "about-bold", tabindex: -1 }, html("h2", {}, "Why a class is bold"),
          html("p", {}, "A bold class belongs to the conformal set: it can't be ruled out from what has been seen. For each class a threshold was set on objects that the model had not learnt from, so that for most objects (nine in ten with the shipped model) the set holds the true class. One bold class is a clear answer, several are a choice that later alerts will narrow, and none means that the object is like nothing in training."),
          html("p", {}, "A probability can be small and its class bold all the same: rare classes are let in early. The probabilities are calibrated: of the answers with 80 %, about eight in ten are right, for objects like those in training.")),
        html("section", { class: "card", id: "about-distance", tabindex: -1 }, html("h2", {}, "Distance from the training data"),
          html("p", {}, "How far the light curve lies from the nearest class that the model has learnt (squared Mahalanobis distance of its embedding); 1 is typical. Above the threshold it is flagged as out of distribution: what the object is may then be none of the classes."),
          known ? html("table", {},
            html("caption", {}, `Thresholds of ${model.name} ${model.version}`),
            html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "Detections"), html("th", { scope: "col", class: "right" }, "Flagged above"))),
            html("tbody", {}, known.detections.map((first, i) => html("tr", {},
              html("td", {}, range(first, known.detections[i + 1])), html("td", { class: "right" }, known.thresholds[i].toFixed(2)))))) : html("p", { class: "quiet" }, "The active model has no such score.")))));
  const shown = () => {
    const found = wanted && node.querySelector(`#about-${CSS.escape(wanted)}`);
    if (!found) return;
    found.classList.add("named");
    requestAnimationFrame(() => { found.scrollIntoView({ block: "center" }); found.focus({ preventScroll: true }); });
  };
  return { title: "How to read an answer", node, shown };
}

const range = (first, next) => (next === undefined ? `${first} and more` : next - 1 === first ? `${first}` : `${first} to ${next - 1}`);

function grouped(taxonomy) {
  const found = {};
  for (const [name, superclass] of Object.entries(taxonomy)) (found[superclass] ??= []).push(name);
  return found;
}
