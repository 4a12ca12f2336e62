// Small pieces for making elements and numbers readable.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: `attributes` by name (functions become listeners), `children` nodes or text. */
export function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const percent = (value) => `${(100 * value).toFixed(value > 0.0995 ? 0 : 1)} %`;

/** [class, probability] of an answer, as texts; dashes where nothing was looked at, so that no class is named. */
export const named = (answer) => (answer.top_class === null ? ["–", "–"] : [answer.top_class, percent(answer.top_probability)]);

export const count = (value) => new Intl.NumberFormat("en").format(value);

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

export function milliseconds(value) {
  return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

/** "3 min ago" for a time in seconds since 1970. */
export function ago(unixSeconds) {
  const passed = Math.max(0, Date.now() / 1000 - unixSeconds);
  if (passed < 90) return `${Math.round(passed)} s ago`;
  if (passed < 5400) return `${Math.round(passed / 60)} min ago`;
  if (passed < 129600) return `${Math.round(passed / 3600)} h ago`;
  return new Date(1000 * unixSeconds).toISOString().slice(0, 10);
}

/** UTC date and time of a modified Julian date. */
export function utc(mjd) {
  return new Date((mjd - 40587) * 86400e3).toISOString().slice(0, 16).replace("T", " ");
}

/** A title that a phone shows cut short. */
export const short = (title, cut = `${title.slice(0, 4)}.`) => (title.length < 9 ? title
  : [html("span", { class: "optional" }, title), html("span", { class: "narrow" }, cut)]);
