// Packets and tables that people bring: classified by the same routes that anybody's program uses.

import { ask } from "./api.js";
import { html, named } from "./dom.js";
import { classificationCard } from "./charts.js";
import { cutoutCard } from "./cutouts.js";
import { lightCurvePlot } from "./lightcurve.js";

let waiting = []; // files dropped on another page
let live = null;

/** Classify files now, or when the view opens. */
export function receive(files) {
  if (live) live(files);
  else waiting = files;
}

// Points tables in a unit of flux, which their columns do not tell, go to the route that is told the unit.
const FLUX_TABLES = { csv: "text/csv", parquet: "application/vnd.apache.parquet" };

const PACKETS = [".avro", ".avro.gz"];

export function classifyView() {
  const results = html("div", { class: "stack", "aria-live": "polite" });
  const unit = html("select", { id: "unit" }, ["mag", "uJy", "nJy"].map((name) => html("option", { value: name }, name)));
  const input = html("input", { id: "files", type: "file", multiple: true, 
    change: () => { read([...input.files]); input.value = ""; } });

  const read = async (files) => {
    const found = [], notes = [];
    results.replaceChildren(html("p", { class: "quiet" }, `Classifying ${files.length} ${files.length === 1 ? "file" : "files"}…`));
    for (const file of files) {
      try {
        const { answers, note } = await classify(file, unit.value);
        if (note) notes.push(note);
        for (const answer of answers) found.push({ file, answer });
      } catch (error) {
        found.push({ file, error });
      }
    }
    show(results, found, notes);
  };
  live = read;
  if (waiting.length) { read(waiting); waiting = []; }
  return {
    title: "Classify",
    leave: () => { live = null; },
    node: html("div", { class: "stack" },
      html("section", { class: "card" }, html("h1", {}, "Classify your own"), html("br"),
        html("div", { class: "zone" },
          html("p", {}, "Drop alert packets (.avro) or light curves here, as ALeRCE, Fink, Lasair, ANTARES, Babamul or a forced photometry server exports them, or choose them:"),
          html("div", { class: "tools" }, html("label", { for: "files" }, "Files"), input, html("label", { for: "unit" }, "Unit of tables"), unit)),
        html("p", { class: "quiet" }, "A table has a row per point: object_id, mjd, band, mag (empty: an upper limit), and where known magerr, diffmaglim, sign; with a unit of flux, flux and fluxerr instead of mag and magerr. Nothing is stored.")),
      results),
  };
}

async function classify(file, unit) {
  const ending = file.name.split(".").pop().toLowerCase();
  const post = (path, type) => ask(path, { method: "POST", body: file, headers: { "Content-Type": type } });
  if (PACKETS.some((packet) => file.name.toLowerCase().endsWith(packet))) {
    const answer = await post("/v1/classify/alert?light_curve=true&cutouts=true", "application/octet-stream");
    return { answers: answer.classifications || [answer] };
  }
  if (unit !== "mag" && FLUX_TABLES[ending]) {
    return { answers: (await post(`/v1/classify?light_curve=true&unit=${unit}`, FLUX_TABLES[ending])).classifications };
  }
  const answer = await post(`/v1/classify/table?light_curve=true&name=${encodeURIComponent(file.name)}`, "application/octet-stream");
  return { answers: answer.classifications, note: readAs(file, answer) };
}

function readAs(file, answer) {
  const [first] = answer.first_skipped;
  const left = first ? ` ${answer.skipped_rows} ${answer.skipped_rows === 1 ? "row was" : "rows were"} left out; the first is row ${first.row}: ${first.column} is ${first.value || "empty"}, ${first.reason}.` : "";
  return `${file.name}: read as ${answer.read_as}.${left}`;
}

function show(results, found, notes) {
  const good = found.filter((each) => each.answer);
  const bad = found.filter((each) => each.error);
  const detail = html("div", { class: "stack" });
  const open = ({ file, answer }) => detail.replaceChildren(
    html("h2", {}, answer.object_id || file.name),
    html("div", { class: "row wide" }, html("section", { class: "card" }, html("h3", { class: "hidden" }, "Light curve"), lightCurvePlot(answer.light_curve)),
      classificationCard(answer)),
    cutoutCard(answer.cutouts) || "");
  results.replaceChildren(
    ...bad.map(({ file, error }) => html("p", { class: "notice bad", role: "alert" }, `${file.name}: ${error.message}`)),
    ...notes.map((note) => html("p", { class: "quiet" }, note)),
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
