// The pictures of a packet, drawn on canvases: dark sky, brighter is whiter, the first row at the bottom.

import { ask } from "./api.js";
import { html, utc } from "./dom.js";

const KINDS = { science: "Science", template: "Template", difference: "Difference" };
const SOFTENING = 5; // of asinh: above a fifth of the range it grows like a logarithm

/** A card of the object's stored pictures, or nothing. `about`: `cutouts` of the object's answer. */
export function storedCutouts(path, about, kept) {
  if (!about) return null;
  const card = html("section", { class: "card" }, html("h2", {}, "Pictures"), html("p", { class: "quiet" }, "Loading…"));
  Promise.all(about.kinds.map(async (kind) => [kind, await ask(`${path}/cutouts/${kind}?format=json`)])).then(
    (found) => card.replaceWith(cutoutCard(Object.fromEntries(found), kept, `Of the alert at ${utc(about.mjd)} UTC.`)),
    (error) => { card.lastChild.textContent = error.message; });
  return card;
}

/** A card of `pictures` by kind; null where there is none. */
export function cutoutCard(pictures, kept = {}, when = "") {
  const kinds = Object.keys(KINDS).filter((kind) => pictures?.[kind]);
  if (!kinds.length) return null;
  kept.stretch ??= "asinh";
  const canvases = kinds.map((kind) => [kind, canvasOf(KINDS[kind], pictures[kind])]);
  const draw = () => canvases.forEach(([kind, canvas]) => paint(canvas, kind, pictures[kind], kept.stretch));
  const choice = html("select", { id: "stretch", change: (event) => { kept.stretch = event.target.value; draw(); } },
    ["asinh", "linear"].map((name) => html("option", { value: name, selected: name === kept.stretch }, name)));
  draw();
  return html("section", { class: "card" }, html("h2", {}, "Pictures"),
    html("div", { class: "pictures" }, canvases.map(([kind, canvas]) => html("figure", {}, canvas, html("figcaption", {}, KINDS[kind])))),
    html("div", { class: "tools" }, html("label", { for: "stretch" }, "Stretch"), choice),
    html("p", { class: "quiet" }, [when, size(pictures[kinds[0]]), directions(pictures[kinds[0]]),
      kinds.includes("difference") ? "In ZTF's packets a negative difference is turned over, so that its source is bright too." : ""].filter(Boolean).join(" ")));
}

function canvasOf(name, picture) {
  return html("canvas", { width: picture.width, height: picture.height, role: "img", "aria-label": `${name} picture, ${picture.width} by ${picture.height} pixels` });
}

function paint(canvas, name, { width, height, pixels }, stretch) {
  const sorted = Float64Array.from(pixels.filter((each) => each !== null)).sort();
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  const dark = name === "difference" ? 0.005 : 0.3; // a difference may be negative; elsewhere the fainter sky is black
  const [low, high] = stretch === "asinh" ? [at(dark), at(0.998)] : [at(0.01), at(0.99)];
  const image = canvas.getContext("2d").createImageData(width, height);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const value = pixels[row * width + column];
      const share = Math.min(Math.max((value - low) / (high - low || 1), 0), 1);
      const grey = 255 * (stretch === "asinh" ? Math.asinh(SOFTENING * share) / Math.asinh(SOFTENING) : share);
      const place = 4 * ((height - 1 - row) * width + column); // a canvas begins at the top
      image.data.set(value === null ? [90, 40, 60, 255] : [grey, grey, grey, 255], place);
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const ZTF_PIXEL = 1.01; // arcsec

function size({ width, height, scale, north }) {
  const pixel = scale ?? (north ? null : ZTF_PIXEL);
  return pixel ? `${(width * pixel).toFixed(0)} by ${(height * pixel).toFixed(0)} arcsec${scale ? "" : " if it is ZTF's"}.` : "";
}

function directions({ north, east }) {
  if (!north) return "The packet does not say where north is; in ZTF's images it is about up, and east left.";
  const [x, y] = north;
  const turned = Math.round((Math.atan2(-x, y) * 180) / Math.PI);
  const way = Math.abs(turned) < 2 ? "up" : `${Math.abs(turned)}° ${turned > 0 ? "left" : "right"} of up`;
  const mirrored = x * east[1] - y * east[0] < 0;
  return `North is ${way}, east ${mirrored ? "clockwise" : "anticlockwise"} from it.`;
}
