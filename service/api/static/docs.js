// The API for reading and trying, straight from /openapi.json: works offline, and nothing of it is from elsewhere.

import { ask, send } from "./api.js";
import { html } from "./dom.js";

const main = document.getElementById("main");

try {
  main.replaceChildren(...render(await ask("/openapi.json")));
} catch (error) {
  main.replaceChildren(html("p", { class: "notice bad", role: "alert" }, error.message));
}

function render(api) {
  const groups = new Map(api.tags.map((tag) => [tag.name, { ...tag, operations: [] }]));
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      groups.get(operation.tags?.[0])?.operations.push({ path, method, ...operation });
    }
  }
  const intro = html("section", { class: "card" }, html("h1", {}, `${api.info.title} ${api.info.version}`),
    prose(api.info.description), html("p", {}, html("a", { href: "/openapi.json" }, "OpenAPI document"), " for generators and clients."));
  const sections = [...groups.values()].filter((group) => group.operations.length).map((group) =>
    html("section", { class: "card" }, html("h2", {}, group.name), html("p", { class: "quiet" }, group.description),
      group.operations.map((operation) => endpoint(api, operation))));
  return [intro, ...sections];
}

function endpoint(api, operation) {
  const details = html("details", { class: "endpoint", toggle: () => {
    if (details.open && details.children.length === 1) details.append(...body(api, operation));
  } }, html("summary", {}, html("span", { class: "method" }, operation.method.toUpperCase()), html("code", {}, operation.path),
    html("span", { class: "quiet" }, (operation.description || operation.summary || "").split("\n")[0].replaceAll("`", ""))));
  return details;
}

function body(api, operation) {
  const parts = [prose(operation.description || "")];
  const parameters = operation.parameters || [];
  const inputs = new Map();
  if (parameters.length) {
    parts.push(html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Parameters" }, html("table", {},
      html("caption", {}, "Parameters"),
      html("tbody", {}, parameters.map((parameter) => {
        const input = html("input", { "aria-label": parameter.name, placeholder: text(parameter.schema?.default) });
        if (parameter.in === "path") input.value = text(parameter.example ?? parameter.schema?.examples?.[0]);
        inputs.set(parameter, input);
        return html("tr", {}, html("th", { scope: "row" }, parameter.name, parameter.required ? " *" : ""), html("td", {}, input),
          html("td", {}, html("code", {}, type(parameter.schema)), " ", parameter.description || ""));
      })))));
  }
  const media = operation.requestBody?.content || {};
  const json = media["application/json"];
  const bodyText = json ? html("textarea", { "aria-label": "Request body", spellcheck: "false" }) : null;
  if (json) {
    bodyText.value = JSON.stringify(example(api, json.schema), null, 1);
    parts.push(html("p", { class: "quiet" }, `Body: ${Object.keys(media).join(", ")}`), bodyText);
  }
  const file = !json && operation.requestBody ? html("input", { type: "file", "aria-label": "Request body" }) : null;
  if (file) parts.push(html("p", { class: "quiet" }, `Body: ${Object.keys(media).join(", ")}`), file);
  const out = html("pre", { hidden: true, tabindex: 0 });
  const endless = "text/event-stream" in (operation.responses["200"]?.content || {});
  if (!endless) parts.push(html("div", { class: "tools" }, html("button", { type: "button", click: () => run(operation, inputs, bodyText, file, out) }, "Try it")), out);
  parts.push(html("p", { class: "quiet" }, `Answers: ${Object.entries(operation.responses).map(([code, each]) => `${code} ${each.description}`).join(", ")}`));
  return parts;
}

async function run(operation, inputs, bodyText, file, out) {
  let path = operation.path;
  const query = new URLSearchParams();
  for (const [parameter, input] of inputs) {
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value && parameter.in === "query") query.set(parameter.name, input.value);
  }
  const options = { method: operation.method.toUpperCase() };
  if (bodyText) Object.assign(options, { body: bodyText.value, headers: { "Content-Type": "application/json" } });
  if (file?.files.length) Object.assign(options, { body: file.files[0], headers: { "Content-Type": "application/octet-stream" } });
  out.hidden = false;
  out.textContent = "…";
  try {
    const response = await send(`${path}${query.size ? `?${query}` : ""}`, options);
    const answer = await response.text();
    let shown = answer;
    try { shown = JSON.stringify(JSON.parse(answer.replace(/"candid":(\d{15,})/g, '"candid":"$1"')), null, 1); } catch { /* not JSON */ }
    out.textContent = `${response.status} ${response.statusText}\n${shown.slice(0, 20000)}`;
  } catch (error) {
    out.textContent = error.message;
  }
}

/** The first example that a schema has; they are tested to work. */
function example(api, schema) {
  const resolved = schema.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema;
  if (resolved.examples) return resolved.examples[0];
  const choice = (resolved.anyOf || resolved.oneOf || [])[0];
  return choice ? example(api, choice) : {};
}

function type(schema = {}) {
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.anyOf) return schema.anyOf.filter((each) => each.type !== "null").map(type).join(" | ");
  return [schema.type, schema.format].filter(Boolean).join(", ");
}

const text = (value) => (value === undefined || value === null ? "" : String(value));

/** Paragraphs, with `code` between backticks. */
function prose(source) {
  return html("div", {}, source.trim().split(/\n\s*\n/).map((paragraph) =>
    html("p", {}, paragraph.split("`").map((piece, i) => (i % 2 ? html("code", {}, piece) : piece)))));
}
