// What flows now, what it is, and what is new.

import { ask } from "./api.js";
import { ago, count, html, milliseconds, percent, seconds, short } from "./dom.js";
import { bars, sparkline } from "./charts.js";
import { inputsCard } from "./inputs.js";
import { take } from "./take.js";

const BEST = [["superclass", "Transient"], ["sort", "most_probable"],
  ...["too_few_points", "low_quality", "out_of_distribution"].map((flag) => ["without_flag", flag])];

export function nightView() {
  const tiles = {};
  const list = html("dl", { class: "tiles" });
  for (const [name, label] of [["rate", "Alerts per second"], ["lag", "Lag"], ["latency", "Latency, last minute"],
    ["published", "Classified since start"], ["dead", "Dead letters"], ["objects", "Objects known"]]) {
    tiles[name] = { value: html("dd", { class: "value" }, "–"), note: html("dd", { class: "quiet" }) };
    list.append(html("div", { class: "tile" }, html("dt", {}, label), tiles[name].value, tiles[name].note));
  }
  const reasons = html("div");
  const inputs = inputsCard();
  const mix = html("div", {}, html("p", { class: "quiet" }, "Waiting for the first answer…"));
  const newest = html("div", {}, html("p", { class: "quiet" }, "Waiting for the first answer…"));
  const node = html("div", {}, html("h1", { class: "hidden" }, "What the sky is doing now"), html("div", { class: "stack" },
    reasons, list, inputs.node,
    html("div", { class: "row" },
      html("section", { class: "card live" }, html("h2", {}, "Classes of the last hour"), mix),
      html("section", { class: "card live" }, html("h2", {}, "Newest confident transients"), newest)),
    best(),
    html("p", { class: "quiet" }, "Drop alert packets or a table of points anywhere on this page to see them classified.")));
  let shown = ""; // rebuilt only when it changed: what has the keyboard's focus must not be replaced every second

  const pulse = (now) => {
    const set = (name, value, note) => { tiles[name].value.textContent = value; tiles[name].note.replaceChildren(note); };
    set("rate", now.alerts_per_s < 10 ? now.alerts_per_s.toFixed(1) : count(Math.round(now.alerts_per_s)),
      sparkline(now.rates, "Alerts per second over the last two minutes"));
    set("lag", seconds(now.lag_s), now.lag_messages === null ? "no stream in this process" : `${count(now.lag_messages)} messages wait`);
    const latency = now.latency_ms;
    set("latency", latency ? milliseconds(latency.p50) : "–", latency ? `p90 ${milliseconds(latency.p90)}, p99 ${milliseconds(latency.p99)}` : "nothing came from a broker");
    const filtered = sum(now.filtered);
    set("published", count(now.published), `${count(filtered)} filtered, ${count(now.in_flight)} in flight`);
    set("dead", count(sum(now.dead_lettered)), Object.entries(now.dead_lettered).map(([why, n]) => `${why} ${n}`).join(", ") || "none");
    set("objects", now.objects === null ? "–" : count(now.objects), `model ${now.model.name} ${now.model.version}`);
    reasons.replaceChildren(...(now.ready ? [] : [html("p", { class: "notice bad" }, `Not ready. ${now.reasons.join("; ")}`)]));
    inputs.show(now.inputs);
    const what = JSON.stringify([now.class_mix, now.newest]);
    if (what === shown) return;
    shown = what;
    showMix(mix, now.class_mix);
    showNewest(newest, now.newest);
  };
  return { title: "Night", node, pulse };
}

/** The most probable transients of the last day, as a table here and as files; nothing where the model has no transients. */
function best() {
  const card = html("section", { class: "card" });
  ask(`/v1/candidates?${new URLSearchParams([...BEST, ["format", "json"], ["limit", 10]])}`).then(({ candidates }) => {
    const list = new URLSearchParams([...BEST, ["since", new Date(Date.now() - 86400e3).toISOString().slice(0, 19)]]);
    card.append(html("h2", {}, "Best transients of the last day"),
      candidates.length ? html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Best transients of the last day" }, html("table", {},
        html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "Object"), html("th", { scope: "col" }, "Class"),
          html("th", { scope: "col", class: "right" }, short("Probability")), html("th", { scope: "col", class: "right optional" }, "Detections"),
          html("th", { scope: "col", class: "right optional" }, "RA, Dec [deg]"))),
        html("tbody", {}, candidates.map((each) => html("tr", {},
          html("td", {}, html("a", { href: `#/object/${encodeURIComponent(each.object_id)}` }, each.object_id)),
          html("td", {}, each.top_class), html("td", { class: "right" }, percent(each.top_probability)),
          html("td", { class: "right optional" }, each.detections),
          html("td", { class: "right optional" }, each.ra === null ? "–" : `${each.ra.toFixed(5)} ${each.dec.toFixed(5)}`))))))
        : html("p", { class: "quiet" }, "None yet."),
      html("p", { class: "list" }, html("a", { class: "button", href: `#/objects?${list}` }, "All of them"), take("Take away", "/v1/candidates", BEST)));
  }, () => card.remove());
  return card;
}

function showMix(mix, counts) {
  const total = sum(counts);
  const entries = Object.entries(counts).map(([name, value]) => ({
    name, value, text: percent(value / total), href: `#/objects?class=${encodeURIComponent(name)}` }));
  mix.replaceChildren(total ? bars(entries) : html("p", { class: "quiet" }, "Nothing was classified in the last hour."),
    total ? html("p", { class: "quiet" }, `${count(total)} objects by their most probable class.`) : "");
}

function showNewest(newest, objects) {
  if (!objects.length) {
    newest.replaceChildren(html("p", { class: "quiet" }, "None yet: at least 70 % for a transient class, and no flag against it."));
    return;
  }
  newest.replaceChildren(html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Newest confident transients" }, html("table", {},
    html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "Object"), html("th", { scope: "col" }, "Class"),
      html("th", { scope: "col", class: "right" }, short("Probability")), html("th", { scope: "col", class: "right optional" }, "Detections"),
      html("th", { scope: "col", class: "right" }, "When"))),
    html("tbody", {}, objects.map((each) => html("tr", {},
      html("td", {}, html("a", { href: `#/object/${encodeURIComponent(each.object_id)}` }, each.object_id)),
      html("td", {}, each.top_class), html("td", { class: "right" }, percent(each.top_probability)),
      html("td", { class: "right optional" }, Object.values(each.n_detections).reduce((a, b) => a + b, 0)), html("td", { class: "right" }, ago(each.published))))))));
}

const sum = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);
