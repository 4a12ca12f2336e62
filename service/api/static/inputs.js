// What each named input takes and what becomes of it; nothing where one stream alone is read.

import { count, html, seconds } from "./dom.js";

export function inputsCard() {
  const node = html("div");
  const show = (inputs) => {
    node.replaceChildren(...(inputs.length ? [html("section", { class: "card" }, html("h2", {}, "Inputs"),
      html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Inputs" }, html("table", {},
        html("thead", {}, html("tr", {}, HEAD.map((text, column) => html("th", { scope: "col", class: column ? "right" : "" }, text)))),
        html("tbody", {}, inputs.map((each) => html("tr", {},
          html("td", {}, each.ready ? each.name : `${each.name} (not ready)`),
          ...[seconds(each.lag_s), count(each.lag_messages), count(each.consumed), count(each.published), count(each.filtered),
            count(each.dead_lettered)].map((text) => html("td", { class: "right" }, text))))))))] : []));
  };
  return { node, show };
}

const HEAD = ["Input", "Lag", "Waiting", "Consumed", "Classified", "Filtered", "Dead letters"];
