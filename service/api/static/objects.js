// Objects by class, probability and place, a page at a time.

import { ask } from "./api.js";
import { ago, html, named } from "./dom.js";

export async function objectsView(query) {
  const { models } = await ask("/v1/models");
  const classes = Object.keys(models[0].taxonomy);
  const rows = html("tbody");
  const more = html("button", { type: "button" }, "More");
  const said = html("p", { class: "quiet", role: "status" });
  let cursor = null;

  const load = async () => {
    const asked = new URLSearchParams([...query].filter(([, value]) => value));
    asked.set("limit", "50");
    if (cursor) asked.set("cursor", cursor);
    try {
      const page = await ask(`/v1/objects?${asked}`);
      rows.append(...page.objects.map(row));
      cursor = page.next;
      said.textContent = rows.children.length ? `${rows.children.length} objects shown${cursor ? "" : ", no more"}.` : "No object is like that.";
    } catch (error) {
      cursor = null;
      said.textContent = error.message;
    }
    more.hidden = !cursor;
  };
  more.addEventListener("click", load);

  const field = (label, input) => html("label", {}, label, input);
  const option = (value, text, chosen) => html("option", { value, selected: value === chosen }, text);
  const form = html("form", { class: "filters", submit: (event) => {
    event.preventDefault();
    const filled = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    location.hash = `#/objects?${filled}`;
  } },
  field("Class", html("select", { name: "class" }, option("", "any", query.get("class") || ""),
    classes.map((name) => option(name, name, query.get("class"))))),
  field("Probability at least", html("input", { name: "min_probability", type: "number", min: 0, max: 1, step: "any", value: query.get("min_probability") || "" })),
  field("Order", html("select", { name: "sort" }, option("newest", "newest first", query.get("sort")),
    option("most_probable", "most probable first", query.get("sort")))),
  field("RA [deg]", html("input", { name: "ra", type: "number", min: 0, max: 360, step: "any", value: query.get("ra") || "" })),
  field("Dec [deg]", html("input", { name: "dec", type: "number", min: -90, max: 90, step: "any", value: query.get("dec") || "" })),
  field("Radius [arcmin]", html("input", { name: "radius", type: "number", min: 0, max: 600, step: "any", value: query.get("radius") || "" })),
  html("button", {}, "Find"));
  await load();
  const head = ["Object", "Class", "Probability", "Detections", "Flags", "Classified"];
  return { title: "Objects", node: html("section", { class: "card" }, html("h1", {}, "Objects"), html("br"), form,
    html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Objects" }, html("table", {},
      html("thead", {}, html("tr", {}, head.map((text) => html("th", { scope: "col" }, text)))), rows)), said, more) };
}

function row(each) {
  const [name, probability] = named(each);
  const detections = Object.values(each.n_detections).reduce((a, b) => a + b, 0);
  return html("tr", {},
    html("td", {}, html("a", { href: `#/object/${encodeURIComponent(each.object_id)}` }, each.object_id)),
    html("td", {}, name), html("td", { class: "number" }, probability),
    html("td", { class: "number" }, detections), html("td", {}, each.flags.map((flag) => flag.replaceAll("_", " ")).join(", ")),
    html("td", { class: "number" }, ago(each.published / 1e6)));
}
