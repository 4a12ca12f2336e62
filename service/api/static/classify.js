// Packets and tables that people bring: classified by the same routes that anybody's program uses.

import { ask } from "./api.js";
import { html, named } from "./dom.js";
import { classificationCard } from "./charts.js";
import { lightCurvePlot } from "./lightcurve.js";

let waiting = []; // files dropped on another page
let live = null;

/** Classify files now, or when the view opens. */
export function receive(files) {
  if (live) live(files);
  else waiting = files;
}

const TABLES = { csv: "text/csv", parquet: "application/vnd.apache.parquet", json: "application/json" };

export function classifyView() {
  const results = html("div", { class: "stack", "aria-live": "polite" });
  const unit = html("select", { id: "unit" }, ["mag", "uJy", "nJy"].map((name) => html("option", { value: name }, name)));
  const input = html("input", { id: "files", type: "file", multiple: true, accept: ".avro,.csv,.parquet,.json",
    change: () => { read([...input.files]); input.value = ""; } });

  const read = async (files) => {
    const found = [];
    results.replaceChildren(html("p", { class: "quiet" }, `Classifying ${files.length} ${files.length === 1 ? "file" : "files"}…`));
    for (const file of files) {
      try {
        for (const answer of await classify(file, unit.value)) found.push({ file, answer });
      } catch (error) {
        found.push({ file, error });
      }
    }
    show(results, found);
  };
  live = read;
  if (waiting.length) { read(waiting); waiting = []; }
  return {
    title: "Classify",
    leave: () => { live = null; },
    node: html("div", { class: "stack" },
      html("section", { class: "card" }, html("h1", {}, "Classify your own"), html("br"),
        html("div", { class: "zone" },
          html("p", {}, "Drop alert packets (.avro), tables of points (.csv, .parquet) or light curves (.json) here, or choose them:"),
          html("div", { class: "tools" }, html("label", { for: "files" }, "Files"), input, html("label", { for: "unit" }, "Unit of tables"), unit)),
        html("p", { class: "quiet" }, "A table has a row per point: object_id, mjd, band, mag (empty: an upper limit), and where known magerr, diffmaglim, sign; with a unit of flux, flux and fluxerr instead of mag and magerr. Nothing is stored.")),
      results),
  };
}

async function classify(file, unit) {
  const type = TABLES[file.name.split(".").pop().toLowerCase()];
  const options = { method: "POST", body: file, headers: { "Content-Type": type || "application/octet-stream" } };
  if (!type) return [await ask("/v1/classify/alert?light_curve=true", options)];
  const query = type === "application/json" ? "" : `&unit=${unit}`;
  const answer = await ask(`/v1/classify?light_curve=true${query}`, options);
  return answer.classifications || [answer];
}

function show(results, found) {
  const good = found.filter((each) => each.answer);
  const bad = found.filter((each) => each.error);
  const detail = html("div", { class: "stack" });
  const open = ({ file, answer }) => detail.replaceChildren(
    html("h2", {}, answer.object_id || file.name),
    html("div", { class: "row wide" }, html("section", { class: "card" }, html("h3", { class: "hidden" }, "Light curve"), lightCurvePlot(answer.light_curve)),
      classificationCard(answer)));
  results.replaceChildren(
    ...bad.map(({ file, error }) => html("p", { class: "notice bad", role: "alert" }, `${file.name}: ${error.message}`)),
    good.length > 1 ? html("section", { class: "card scroll", tabindex: 0, "aria-label": "Answers" }, html("table", {},
      html("caption", {}, `${good.length} light curves`),
      html("thead", {}, html("tr", {}, ["Object", "File", "Class", "Probability", "Flags"].map((text) => html("th", { scope: "col" }, text)))),
      html("tbody", {}, good.map((each) => html("tr", {},
        html("td", {}, html("button", { type: "button", click: () => open(each) }, each.answer.object_id || "unnamed")),
        html("td", {}, each.file.name), html("td", {}, named(each.answer)[0]), html("td", { class: "number" }, named(each.answer)[1]),
        html("td", {}, each.answer.flags.join(", ").replaceAll("_", " ").trim())))))) : "",
    detail);
  if (good.length) open(good[0]);
}
