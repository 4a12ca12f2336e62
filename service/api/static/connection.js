// When the service can't be reached, the figures that stay on the page are old: that is said above them, with the time.

import { html } from "./dom.js";

let notice = null;

/** Called with every beat of the pulse, and with false while there is none. */
export function tellConnection(connected) {
  if (connected === (notice === null)) return;
  document.documentElement.dataset.connection = connected ? "there" : "lost";
  notice?.remove();
  notice = connected ? null : html("p", { class: "notice bad stale", role: "alert" },
    `Connection lost at ${new Date().toISOString().slice(11, 19)} UTC: what stands here is from before. It is tried again.`);
  if (notice) document.getElementById("main").before(notice);
}
