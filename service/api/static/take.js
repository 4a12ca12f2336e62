// Tables to take away: fetched by hand, because a link would not carry the API key.

import { send } from "./api.js";
import { html } from "./dom.js";

/** Buttons that save what `path` answers to `asked` as CSV or JSON. */
export function take(label, path, asked) {
  const said = html("span", { class: "quiet", role: "status" });
  const save = async (form) => {
    said.textContent = "Gathering…";
    try {
      const response = await send(`${path}?${new URLSearchParams([...asked, ["format", form], ["limit", 10000]])}`);
      if (!response.ok) { said.textContent = (await response.json()).detail; return; }
      const name = /filename="([^"]+)"/.exec(response.headers.get("content-disposition"))[1];
      const url = URL.createObjectURL(await response.blob());
      html("a", { href: url, download: name }).click();
      URL.revokeObjectURL(url);
      said.textContent = response.headers.get("x-next-cursor") ? "The first of them: there are more." : "";
    } catch {
      said.textContent = "The service does not answer.";
    }
  };
  return html("span", { class: "list" }, `${label} `,
    ["csv", "json"].map((form) => html("button", { type: "button", click: () => save(form) }, form.toUpperCase())), said);
}
