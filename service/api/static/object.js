// One object: its light curve, what it is taken for and since when, what is like it, and where else it is shown.

import { ask, parse, Problem, send } from "./api.js";
import { ago, html, named } from "./dom.js";
import { classificationCard } from "./charts.js";
import { storedCutouts } from "./cutouts.js";
import { followAnswer } from "./following.js";
import { lightCurvePlot } from "./lightcurve.js";
import { historyPlot } from "./history.js";
import { opinions } from "./opinions.js";
import { surroundings } from "./surroundings.js";
import { together } from "./together.js";

const MOST_ANSWERS = 2000;

export async function objectView(asked) {
  const [first, models] = await Promise.all([load(asked), ask("/v1/models")]);
  const id = first.object.object_id; // photometry that has joined an object by position is shown as that object
  const path = place(id);
  const kept = { lightCurve: {}, history: {}, cutouts: {} }; // what people have zoomed into, hidden and opened stays when alerts come
  const parts = Object.fromEntries(["head", "curve", "together", "history", "cutouts", "answer", "opinions", "surroundings"].map((name) => [name, html("div")]));
  const following = html("p", { class: "quiet", role: "status" });
  const similar = html("section", { class: "card" }, html("h2", {}, "Most similar objects"), html("p", { class: "quiet" }, "Looking…"));
  ask(`${path}/similar`).then((found) => showSimilar(similar, found), (error) => {
    similar.lastChild.textContent = error.message;
  });
  let changedAt = null;
  let drawn = null; // the alert whose pictures are shown

  const show = (object, history) => {
    const answer = object.classification;
    const model = answer && models.models.find((each) => each.name === answer.classifier && each.version === answer.version);
    const focused = focusIn(parts);
    parts.head.replaceChildren(head(id, object));
    parts.curve.replaceChildren(html("section", { class: "card" }, html("h2", {}, "Light curve"), lightCurvePlot(object.light_curve, kept.lightCurve),
      downloads(id, path), ...besides(object)));
    parts.together.replaceChildren(together(object) || "");
    if (object.cutouts && object.cutouts.candid !== drawn) {
      drawn = object.cutouts.candid;
      parts.cutouts.replaceChildren(storedCutouts(path, object.cutouts, kept.cutouts));
    }
    parts.history.replaceChildren(html("section", { class: "card" }, html("h2", {}, "How the answer grew"), historyPlot(history.filter((each) => each.active), kept.history)));
    parts.answer.replaceChildren(answer ? classificationCard(answer, model) : html("p", { class: "notice" }, "Not classified yet."));
    parts.opinions.replaceChildren(opinions(history) || "");
    parts.surroundings.replaceChildren(surroundings(object.context) || "");
    focused();
    told = object;
  };
  let told = first.object;
  let lost = null;
  let since = null;
  const say = () => {
    const last = told.classification ? `last alert classified ${ago(told.classification.published / 1e6)}` : "not classified yet";
    following.textContent = lost ? `Not up to date: ${lost} It is tried again.`
      : `Follows new alerts · ${last}${changedAt ? ` · this page changed at ${changedAt} UTC` : ""}`;
  };
  show(first.object, first.history);
  say();
  const clock = setInterval(say, 30_000); // "3 min ago" grows old
  const stop = followAnswer(path, first.tag, async (object) => {
    const { classifications } = await ask(`${path}/history?limit=${MOST_ANSWERS}`);
    show(object, classifications);
    changedAt = clockTime();
  }, (error) => {
    lost = error && `${error instanceof Problem || error.message.startsWith("the service") ? error.message : "the connection is lost"}, since ${(since ??= clockTime())} UTC.`;
    if (!error) since = null;
    say();
  });
  return { title: id, leave: () => { stop(); clearInterval(clock); }, node: html("div", { class: "stack" },
    parts.head, following,
    html("div", { class: "row wide" },
      html("div", { class: "stack" }, parts.curve, parts.together, parts.cutouts, parts.history),
      html("div", { class: "stack" }, parts.answer, parts.opinions, parts.surroundings, similar))) };
}

const clockTime = () => new Date().toISOString().slice(11, 19);
const place = (name) => `/v1/objects/${encodeURIComponent(name)}`;

/** The object with its ETag and its history; by the name of joined photometry too. */
async function load(name) {
  const response = await send(place(name));
  const text = await response.text();
  if (!response.ok) {
    let body = {};
    try { body = parse(text); } catch { /* a proxy's own page */ }
    throw new Problem(response.status, body);
  }
  const object = parse(text);
  const { classifications } = await ask(`${place(object.object_id)}/history?limit=${MOST_ANSWERS}`);
  // by another name the tag is of the same answer
  return { object, tag: response.headers.get("ETag"), history: classifications };
}

function head(id, object) {
  const links = Object.entries(object.links).map(([name, url]) =>
    html("a", { class: "button", href: url, rel: "noopener", target: "_blank" }, name, html("span", { class: "hidden" }, " (opens a new tab)")));
  const answer = object.classification;
  return html("div", { class: "head" }, html("h1", {}, id),
    answer ? html("span", { class: "tag class" }, named(answer)[0]) : null,
    html("span", { class: "quiet" }, object.ra === null ? "" : `${sexagesimal(object.ra / 15, object.dec)} · ${object.ra.toFixed(5)} ${object.dec.toFixed(5)}°`),
    html("span", { class: "list" }, links));
}

function besides(object) {
  return [
    object.sources.length ? html("p", { class: "quiet" }, `Joined by position: ${object.sources.join(", ")}`) : "",
    object.counterparts.length ? html("p", { class: "quiet" }, "The same place in another survey: ", ...object.counterparts.map((each) => html("span", {},
      html("a", { href: `#/object/${encodeURIComponent(each.object_id)}` }, each.object_id), ` (${each.survey.toUpperCase()}, ${each.separation_arcsec.toFixed(1)} arcsec) `))) : "",
  ];
}

/** Remembers what has the keyboard's focus among `parts`; the function returned gives it to what has taken its place. */
function focusIn(parts) {
  const active = document.activeElement;
  const part = Object.values(parts).find((each) => each.contains(active));
  if (!part) return () => {};
  const name = active.tagName;
  const index = [...part.querySelectorAll(name)].indexOf(active);
  return () => part.querySelectorAll(name)[index]?.focus({ preventScroll: true });
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
  return html("p", { class: "list middle" }, html("span", {}, "Download"),
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
