// One object: its light curve, what it is taken for and since when, what is like it, and where else it is shown.

import { ask, send } from "./api.js";
import { html, named, utc } from "./dom.js";
import { classificationCard } from "./charts.js";
import { lightCurvePlot } from "./lightcurve.js";
import { historyPlot } from "./history.js";
import { surroundings } from "./surroundings.js";
import { together } from "./together.js";

export async function objectView(id) {
  const place = (name) => `/v1/objects/${encodeURIComponent(name)}`;
  let [object, history] = await Promise.all([ask(place(id)), ask(`${place(id)}/history?limit=2000`)]);
  if (object.object_id !== id) { // photometry that has joined an object by position is shown as that object
    id = object.object_id;
    history = await ask(`${place(id)}/history?limit=2000`);
  }
  const path = place(id);
  const answer = object.classification;
  const active = history.classifications.filter((each) => each.active);
  const similar = html("section", { class: "card" }, html("h2", {}, "Most similar objects"), html("p", { class: "quiet" }, "Looking…"));
  ask(`${path}/similar`).then((found) => showSimilar(similar, found), (error) => {
    similar.lastChild.textContent = error.message;
  });
  const links = Object.entries(object.links).map(([name, url]) =>
    html("a", { class: "button", href: url, rel: "noopener", target: "_blank" }, name, html("span", { class: "hidden" }, " (opens a new tab)")));
  return { title: id, node: html("div", { class: "stack" },
    html("div", { class: "head" }, html("h1", {}, id),
      answer ? html("span", { class: "tag class" }, named(answer)[0]) : null,
      html("span", { class: "quiet" }, object.ra === null ? "" : `${sexagesimal(object.ra / 15, object.dec)} · ${object.ra.toFixed(5)} ${object.dec.toFixed(5)}°`),
      html("span", { class: "list" }, links)),
    html("div", { class: "row wide" },
      html("div", { class: "stack" },
        html("section", { class: "card" }, html("h2", {}, "Light curve"), lightCurvePlot(object.light_curve), downloads(id, path),
          object.sources.length ? html("p", { class: "quiet" }, `Joined by position: ${object.sources.join(", ")}`) : null,
          object.counterparts.length ? html("p", { class: "quiet" }, "The same place in another survey: ", ...object.counterparts.map((each) => html("span", {},
            html("a", { href: `#/object/${encodeURIComponent(each.object_id)}` }, each.object_id), ` (${each.survey.toUpperCase()}, ${each.separation_arcsec.toFixed(1)} arcsec) `))) : null),
        together(object),
        html("section", { class: "card" }, html("h2", {}, "How the answer grew"), historyPlot(active))),
      html("div", { class: "stack" },
        answer ? classificationCard(answer) : html("p", { class: "notice" }, "Not classified yet."), surroundings(object.context), similar))) };
}

/** Fetched by hand, because a link would not carry the API key. */
function downloads(id, path) {
  const take = async (form) => {
    const response = await send(`${path}/light-curve?format=${form}`);
    if (!response.ok) { said.textContent = `The service answered ${response.status}.`; return; }
    const url = URL.createObjectURL(await response.blob());
    html("a", { href: url, download: `${id}.${form}` }).click();
    URL.revokeObjectURL(url);
  };
  const said = html("span", { class: "quiet", role: "status" });
  return html("p", { class: "list" }, "Download ",
    ["csv", "parquet", "json"].map((form) => html("button", { type: "button", click: () => take(form) }, { csv: "CSV", parquet: "Parquet", json: "JSON" }[form])), said);
}

function showSimilar(card, found) {
  card.lastChild.remove();
  if (!found.neighbours.length) { card.append(html("p", { class: "quiet" }, "It is the only one so far.")); return; }
  card.append(html("table", {},
    html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "Object"), html("th", { scope: "col" }, "Class"), html("th", { scope: "col", class: "right" }, "Similarity"))),
    html("tbody", {}, found.neighbours.map((each) => html("tr", {},
      html("td", {}, html("a", { href: `#/object/${encodeURIComponent(each.object_id)}` }, each.object_id)),
      html("td", {}, named(each).join(" ")), html("td", { class: "right" }, each.similarity.toFixed(3)))))),
  html("p", { class: "quiet" }, `By the model's embedding, among ${found.compared} objects.`));
}

function sexagesimal(hours, degrees) {
  const parts = (value, digits) => {
    const total = Math.abs(value) * 3600;
    const pad = (n, d = 0) => n.toFixed(d).padStart(d ? 3 + d : 2, "0");
    return `${pad(Math.floor(total / 3600))}:${pad(Math.floor(total / 60) % 60)}:${pad(total % 60, digits)}`;
  };
  return `${parts(hours, 2)} ${degrees < 0 ? "−" : "+"}${parts(degrees, 1)}`;
}
