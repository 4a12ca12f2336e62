// The page: which view the address asks for, the search, the theme, and files dropped anywhere.

import { follow } from "./api.js";
import { html } from "./dom.js";
import { classifyView, receive } from "./classify.js";
import { nightView } from "./night.js";
import { objectView } from "./object.js";
import { objectsView } from "./objects.js";
import { found } from "./search.js";
import { watchesView } from "./watches.js";

const main = document.getElementById("main");
const status = document.getElementById("status");
const old = document.getElementById("old");
let leave = () => {};
let onPulse = () => {};
let lastPulse = null;

const routes = [
  [/^\/?$/, () => nightView()],
  [/^\/objects(?:\?(.*))?$/, (query) => objectsView(new URLSearchParams(query))],
  [/^\/object\/(.+)$/, (id) => objectView(decodeURIComponent(id))],
  [/^\/classify$/, () => classifyView()],
  [/^\/watches$/, () => watchesView()],
];

/** A view is {title, node, pulse?, leave?}, or a promise of one. */
async function show() {
  const path = location.hash.replace(/^#/, "");
  if (path === "main") return; // the skip link
  leave();
  leave = onPulse = () => {};
  main.setAttribute("aria-busy", "true"); // the style shows a bar where it takes longer than a moment
  const [, make, match] = routes.map(([pattern, make]) => [pattern, make, pattern.exec(path)]).find(([, , m]) => m) || [];
  let view;
  try {
    view = make ? await make(match[1]) : { title: "Not found", node: html("p", { class: "notice" }, "There is no such page.") };
  } catch (error) {
    const elsewhere = (error.links || []).map(([name, url]) => html("a", { class: "button", href: url, rel: "noopener", target: "_blank" }, name));
    view = { title: "Not found", node: html("div", { class: "stack" }, html("p", { class: "notice bad", role: "alert" }, error.message),
      elsewhere.length ? html("p", { class: "list" }, "Perhaps it is known at ", elsewhere) : "") };
  }
  if (path !== location.hash.replace(/^#/, "")) return; // gone on meanwhile
  main.removeAttribute("aria-busy");
  document.title = `${view.title} · Alert classifier`;
  main.replaceChildren(view.node);
  leave = view.leave || (() => {});
  onPulse = view.pulse || (() => {});
  if (lastPulse) onPulse(lastPulse);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${path.split("?")[0]}` || (link.hash === "#/" && path === "")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (view.scroll) scrollTo(0, view.scroll);
  return view;
}

let told = "";
function tellStatus(pulse) {
  const text = pulse === null ? "connection lost" : pulse.ready ? "ready" : "not ready";
  if (text !== told) { // a screen reader hears of changes, not of every second
    told = text;
    status.textContent = text;
    status.dataset.state = text === "ready" ? "good" : "bad";
    document.body.classList.toggle("stale", pulse === null);
    old.textContent = pulse === null && lastPulse ? `The connection is lost: what is shown is of ${new Date(1000 * lastPulse.time).toISOString().slice(11, 19)} UTC.` : "";
  }
  status.title = pulse ? [`${pulse.model.name} ${pulse.model.version} on ${pulse.model.provider}`, ...pulse.reasons].join("\n") : "";
  if (pulse) { lastPulse = pulse; onPulse(pulse); }
}

document.getElementById("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  const sought = document.getElementById("search-id").value.trim();
  if (sought) location.hash = await found(sought);
});

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});

const drop = document.getElementById("drop");
addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (!event.dataTransfer.files.length) return;
  receive([...event.dataTransfer.files]);
  if (location.hash !== "#/classify") location.hash = "#/classify";
});

addEventListener("hashchange", () => show().then((view) => main.focus({ preventScroll: Boolean(view && view.scroll) })));
show();
follow(tellStatus);
