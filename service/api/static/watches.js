// Watches: saved filters, what they noticed as feeds, and how their webhooks do.

import { ask, send } from "./api.js";
import { ago, count, html } from "./dom.js";

export async function watchesView() {
  const list = html("div", { class: "stack" });
  await fill(list);
  return { title: "Watches", node: html("section", { class: "card" }, html("h1", {}, "Watches"),
    html("p", { class: "quiet" }, "Saved filters. An object is noticed when its answer passes for the first time. Save one under the filters of ",
      html("a", { href: "#/objects" }, "Objects"), "."), list) };
}

async function fill(list) {
  const { watches } = await ask("/v1/watches");
  list.replaceChildren(watches.length ? html("ul", { class: "watches" }, watches.map((each) => html("li", {},
    html("h2", {}, each.name),
    html("p", { class: "list" }, pairs(each.filters).map(([name, value]) => html("span", { class: "tag" }, `${name.replaceAll("_", " ")} ${value}`))),
    html("p", { class: "list" },
      html("a", { class: "button", href: `#/objects?${new URLSearchParams(pairs(each.filters))}` }, "List"),
      html("a", { class: "button", href: each.feeds.atom, type: "application/atom+xml" }, "Atom"),
      html("a", { class: "button", href: each.feeds.json, type: "application/feed+json" }, "JSON Feed"),
      html("button", { type: "button", click: (event) => remove(each.name, list, event.currentTarget) }, "Remove", html("span", { class: "hidden" }, ` ${each.name}`))),
    html("p", { class: "quiet", role: "status" }, webhook(each)))))
    : html("p", { class: "quiet" }, "None yet."));
}

/** [name, value] of filters, of which some have several values. */
const pairs = (filters) => Object.entries(filters).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));

function webhook(watch) {
  if (!watch.webhook) return "No webhook.";
  const told = watch.last_delivery ? `last told ${ago(watch.last_delivery)}` : "never told yet";
  const failing = watch.failures ? `; ${watch.failures} tries failed in a row: ${watch.last_error}` : "";
  return `Webhook at ${watch.webhook}: ${told}, ${count(watch.waiting)} objects wait${failing}.`;
}

async function remove(name, list, button) {
  if (button.dataset.sure !== "yes") { // pressed twice, because what was noticed goes with it
    button.dataset.sure = "yes";
    button.firstChild.textContent = "Really remove";
    return;
  }
  const response = await send(`/v1/watches/${encodeURIComponent(name)}`, { method: "DELETE" });
  if (response.ok) await fill(list);
  else button.closest("li").querySelector("[role=status]").textContent = (await response.json()).detail;
}

const NOT_WATCHED = ["since", "seen_since", "seen_before", "prefix"];
const NUMBERS = ["min_probability", "min_detections", "max_detections", "ra", "dec", "radius"];
const LISTS = ["flag", "without_flag"];

/** A form that saves `asked`, the filters of a list, as a watch. */
export function watchForm(asked) {
  const filters = {};
  for (const [name, value] of asked) {
    if (NOT_WATCHED.includes(name)) continue;
    if (NUMBERS.includes(name)) filters[name] = Number(value);
    else if (LISTS.includes(name)) (filters[name] ??= []).push(value);
    else filters[name] = value;
  }
  if (!Object.keys(filters).length) return html("p", { class: "quiet" }, "Set a filter to watch it.");
  const said = html("p", { class: "quiet", role: "status" });
  const form = html("form", { class: "filters", submit: async (event) => {
    event.preventDefault();
    const { name, url } = Object.fromEntries(new FormData(form));
    const response = await send("/v1/watches", { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name, filters, ...(url ? { url } : {}) }) });
    const answer = await response.json();
    said.replaceChildren(...(response.ok
      ? [html("a", { href: "#/watches" }, "It is watched."), answer.secret ? ` Its messages are signed with ${answer.secret}, which is shown this once.` : ""]
      : [answer.detail]));
  } },
  html("label", {}, "Name", html("input", { name: "name", required: true, pattern: "[a-z0-9][a-z0-9\\-]{0,63}", placeholder: "young-supernovae", title: "small letters, digits and hyphens", spellcheck: "false" })),
  html("label", {}, "Webhook (optional)", html("input", { name: "url", type: "url", maxlength: 2000, placeholder: "https://…" })),
  html("button", {}, "Watch"));
  return html("details", { class: "watch" }, html("summary", {}, "Watch this filter"), form, said);
}
