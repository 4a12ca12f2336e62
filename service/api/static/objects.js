// Objects by what their latest answer says, a page at a time; what is found can be taken away as a table, or watched.

import { ask } from "./api.js";
import { ago, html, named, short, utc } from "./dom.js";
import { take } from "./take.js";
import { watchForm } from "./watches.js";

const AT_ONCE = 50;
const MOST_REQUESTS = 5; // where few objects pass, pages are short: so many are asked for at a click
const FLAGS = ["too_few_points", "out_of_distribution", "low_quality", "no_detection", "unknown_band", "unknown_survey",
  "no_model_for_survey", "unusable_photometry"];
const SURVEYS = ["ztf", "lsst", "atlas"];
const COLUMNS = [ // title, what sorts it at the service, or what sorts the rows that are shown
  ["Object", "name"], ["Class", null, (each) => each.top_class || ""], ["Probability", "most_probable"],
  ["Detections", null, detections], ["Last seen", null, (each) => each.mjd],
  ["Flags", null, (each) => each.flags.length], ["Classified", "newest"]];

const kept = new Map(); // by entry of the browser's history: what Back brings back
let entries = 0;

export async function objectsView(query) {
  const { models } = await ask("/v1/models");
  const before = kept.get(history.state?.list);
  const state = before || { objects: [], cursor: null, begun: false, by: null, scroll: 0 };
  if (!before) {
    const list = `${Date.now()}-${++entries}`;
    history.replaceState({ ...history.state, list }, "");
    kept.set(list, state);
    if (kept.size > 20) kept.delete(kept.keys().next().value);
  }
  const sort = query.get("prefix") ? "name" : query.get("sort") || "newest";
  const rows = html("tbody");
  const table = html("table", { "data-shows": location.hash }, html("thead", {}, html("tr", {}, COLUMNS.map((column, number) => header(column, number)))), rows);
  const more = html("button", { type: "button", click: () => load() }, "More");
  const said = html("p", { class: "quiet", role: "status" });
  const filters = new URLSearchParams([...query].filter(([, value]) => value));
  filters.delete("sort");

  function header([title, asked, key], number) {
    const press = () => {
      if (asked) {
        location.hash = `#/objects?${new URLSearchParams([...filters, ["sort", asked]])}`;
        return;
      }
      const down = !(state.by && state.by[0] === number && state.by[1]);
      state.by = [number, down];
      state.objects.sort((a, b) => (down ? -1 : 1) * (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
      fill();
    };
    const prefixed = query.get("prefix") && asked && asked !== "name";
    return html("th", { scope: "col", class: ["Flags", "Last seen", "Detections"].includes(title) ? "optional" : null },
      prefixed ? short(title, title === "Classified" ? "When" : undefined) : html("button", { type: "button", class: "sort", click: press, title: asked ? "Sort all" : "Sort what is shown" }, short(title, title === "Classified" ? "When" : undefined)));
  }

  function fill() {
    rows.replaceChildren(...state.objects.map(row));
    for (const [number, cell] of [...table.querySelectorAll("th")].entries()) {
      const mine = state.by ? state.by[0] === number : COLUMNS[number][1] === sort;
      if (mine) cell.setAttribute("aria-sort", (state.by ? state.by[1] : sort !== "name") ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
    more.hidden = !state.cursor;
    const shown = state.objects.length;
    said.textContent = (shown ? `${shown} objects shown${state.cursor ? "" : ", no more"}.` : state.cursor
      ? "None among those looked at so far: few objects are like that. More looks on." : "No object is like that.")
      + (state.by ? " Sorted among those shown." : "");
  }

  async function load() {
    table.setAttribute("aria-busy", "true");
    more.disabled = true;
    said.textContent = "Looking…";
    let wanted = AT_ONCE;
    try {
      for (let requests = 0; wanted > 0 && requests < MOST_REQUESTS && (state.cursor || !state.begun); requests++) {
        const asked = new URLSearchParams([...filters, ["sort", sort], ["limit", wanted]]);
        if (state.cursor) asked.set("cursor", state.cursor);
        const page = await ask(`/v1/objects?${asked}`);
        state.begun = true;
        state.cursor = page.next;
        state.objects.push(...page.objects);
        state.by = null;
        wanted -= page.objects.length;
      }
      fill();
    } catch (error) {
      fill();
      said.textContent = error.message;
    }
    more.disabled = false;
    table.removeAttribute("aria-busy");
  }

  const form = filterForm(query, models[0]);
  const lists = new URLSearchParams([...filters, ["sort", sort]]);
  if (!lists.has("since")) lists.set("since", "0");
  const node = html("section", { class: "card" }, html("h1", {}, "Objects"), html("br"), form,
    html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Objects" }, table), said,
    html("p", { class: "list" }, more, take("Take away", "/v1/candidates", lists)), watchForm(filters));
  if (before && state.begun) fill();
  else load();
  return { title: "Objects", node, scroll: before ? state.scroll : 0, leave: () => { state.scroll = scrollY; } };
}

function filterForm(query, model) {
  const field = (label, input) => html("label", {}, label, input);
  const choice = (name, values, any = "any") => html("select", { name },
    html("option", { value: "" }, any), values.map((value) => html("option", { value, selected: value === query.get(name) }, value.replaceAll("_", " "))));
  const input = (name, type, more = {}) => html("input", { name, type, value: query.get(name) || "", ...more });
  const hidden = ["seen_since", "seen_before", "max_detections", "flag", "without_flag", "survey", "prefix", "ra", "dec", "radius"];
  const number = { step: "any" };
  const form = html("form", { class: "filters", submit: (event) => {
    event.preventDefault();
    const filled = [...new FormData(form)].filter(([, value]) => value);
    location.hash = `#/objects?${new URLSearchParams([...filled, ...(query.get("sort") ? [["sort", query.get("sort")]] : [])])}`;
  } },
  field("Class", choice("class", Object.keys(model.taxonomy))),
  field("Superclass", choice("superclass", [...new Set(Object.values(model.taxonomy))])),
  field("Probability at least", input("min_probability", "number", { min: 0, max: 1, ...number })),
  field("Detections at least", input("min_detections", "number", { min: 0 })),
  html("details", { open: hidden.some((name) => query.get(name)) }, html("summary", {}, "More filters"), html("div", { class: "filters" },
    field("Detections at most", input("max_detections", "number", { min: 0 })),
    field("Last seen since", input("seen_since", "date")),
    field("Last seen before", input("seen_before", "date")),
    field("With flag", choice("flag", FLAGS)),
    field("Without flag", choice("without_flag", FLAGS, "–")),
    field("Survey", choice("survey", SURVEYS)),
    field("Name begins with", input("prefix", "text", { maxlength: 64, spellcheck: "false" })),
    field("RA [deg]", input("ra", "number", { min: 0, max: 360, ...number })),
    field("Dec [deg]", input("dec", "number", { min: -90, max: 90, ...number })),
    field("Radius [arcmin]", input("radius", "number", { min: 0, max: 600, ...number })))),
  html("button", {}, "Find"));
  return form;
}

function detections(each) {
  return Object.values(each.n_detections).reduce((a, b) => a + b, 0);
}

function row(each) {
  const [name, probability] = named(each);
  return html("tr", {},
    html("td", {}, html("a", { href: `#/object/${encodeURIComponent(each.object_id)}` }, each.object_id)),
    html("td", {}, name), html("td", { class: "number" }, probability),
    html("td", { class: "number optional" }, detections(each)), html("td", { class: "number optional" }, utc(each.mjd).slice(0, 10)),
    html("td", { class: "optional" }, each.flags.map((flag) => flag.replaceAll("_", " ")).join(", ")),
    html("td", { class: "number" }, ago(each.published / 1e6)));
}
