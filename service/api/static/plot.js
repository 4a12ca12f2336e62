// The frame that both plots stand in: axes with round numbers, zoom along time, and what is near the pointer.

import { html, svg } from "./dom.js";

const MARGIN = { left: 48, right: 14, top: 10, bottom: 36 };

/** Round numbers from `low` to `high`, about `wanted` of them. */
export function ticks(low, high, wanted) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= raw);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) found.push(k * step);
  return { values: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/**
 * A plot over time. `whole` is [first, last] in days; `range(from, to)` gives [bottom, top] of the other axis;
 * `draw(x, y, from, to)` gives the marks; `near(day, x, y, pixel)` gives {x, y, text} of what is next to the pointer.
 * `kept` remembers what is zoomed into, for the next plot of the same object. Zoom: drag, wheel, the buttons, or + - 0 and the arrow keys.
 */
export function timePlot({ whole, label, yLabel, range, draw, near, height = 340, kept = {} }) {
  const pad = Math.max(0.02 * (whole[1] - whole[0]), 0.5);
  const full = [whole[0] - pad, whole[1] + pad];
  let [from, to] = kept.zoomed || full;
  let width = 640;
  let drag = null;
  const picture = svg("svg", { role: "img", "aria-label": label, tabindex: 0 });
  const tip = html("div", { class: "tip", "aria-hidden": "true", hidden: true });
  const box = html("div", { class: "plot" }, picture, tip);
  const mark = svg("circle", { r: 8, fill: "none", class: "near", visibility: "hidden" });
  const band = svg("rect", { class: "select", y: MARGIN.top, height: height - MARGIN.top - MARGIN.bottom, visibility: "hidden" });
  const right = () => width - MARGIN.right;
  const x = (day) => MARGIN.left + ((day - from) / (to - from)) * (right() - MARGIN.left);
  const day = (pixel) => from + ((pixel - MARGIN.left) / (right() - MARGIN.left)) * (to - from);
  let y = () => 0;

  const paint = () => {
    const [bottom, top] = range(from, to);
    y = (value) => height - MARGIN.bottom - ((value - bottom) / (top - bottom)) * (height - MARGIN.top - MARGIN.bottom);
    const parts = [];
    const up = ticks(Math.min(bottom, top), Math.max(bottom, top), 5);
    for (const value of up.values) {
      parts.push(svg("line", { class: "grid", x1: MARGIN.left, x2: right(), y1: y(value), y2: y(value) }),
        svg("text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(up.digits)));
    }
    const across = ticks(from, to, width / 110);
    for (const value of across.values) {
      parts.push(svg("line", { class: "axis", x1: x(value), x2: x(value), y1: height - MARGIN.bottom, y2: height - MARGIN.bottom + 5 }),
        svg("text", { x: x(value), y: height - MARGIN.bottom + 18, "text-anchor": x(value) > right() - 16 ? "end" : "middle" }, value.toFixed(across.digits)));
    }
    parts.push(svg("line", { class: "axis", x1: MARGIN.left, x2: right(), y1: height - MARGIN.bottom, y2: height - MARGIN.bottom }),
      svg("text", { x: right(), y: height - 4, "text-anchor": "end" }, "MJD [days]"),
      svg("text", { x: 4, y: height - 4 }, yLabel));
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    mark.setAttribute("visibility", "hidden");
    tip.hidden = true;
    // a picture within the picture cuts off error bars that reach beyond the axes
    const inner = svg("svg", { width: right() + 6, height: height - MARGIN.bottom }, draw(x, y, from, to));
    picture.replaceChildren(...parts, inner, band, mark);
  };

  const zoom = (low, high) => {
    const least = 0.05; // an hour: below that there is nothing to see
    if (high - low < least) return;
    from = Math.max(low, full[0]);
    to = Math.min(high, full[1]);
    if (to - from < least) [from, to] = full;
    kept.zoomed = from === full[0] && to === full[1] ? null : [from, to]; // all stays all when points are added
    paint();
  };
  const scale = (factor, about = (from + to) / 2) => zoom(about - (about - from) * factor, about + (to - about) * factor);
  const shift = (share) => {
    const by = share * (to - from);
    const move = Math.min(Math.max(by, full[0] - from), full[1] - to);
    zoom(from + move, to + move);
  };
  const pixel = (event) => {
    const place = picture.getBoundingClientRect();
    return [((event.clientX - place.left) * width) / place.width, ((event.clientY - place.top) * height) / place.height, place];
  };

  picture.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch") return; // fingers scroll the page; they have the buttons
    drag = pixel(event)[0];
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", (event) => {
    const [px, py, place] = pixel(event);
    if (drag !== null) {
      band.setAttribute("x", Math.min(px, drag));
      band.setAttribute("width", Math.abs(px - drag));
      band.setAttribute("visibility", "visible");
    }
    const found = near(day(px), x, y, [px, py]);
    tip.hidden = !found;
    mark.setAttribute("visibility", found ? "visible" : "hidden");
    if (!found) return;
    mark.setAttribute("cx", found.x);
    mark.setAttribute("cy", found.y);
    tip.textContent = found.text;
    const left = (found.x * place.width) / width;
    tip.style.left = `${Math.min(left + 12, place.width - tip.offsetWidth - 4)}px`;
    tip.style.top = `${Math.max(0, (found.y * place.height) / height - tip.offsetHeight - 10)}px`;
  });
  picture.addEventListener("pointerup", (event) => {
    const end = pixel(event)[0];
    const start = drag;
    drag = null;
    band.setAttribute("visibility", "hidden");
    if (start !== null && Math.abs(end - start) > 6) zoom(Math.min(day(start), day(end)), Math.max(day(start), day(end)));
  });
  picture.addEventListener("pointerleave", () => { tip.hidden = true; mark.setAttribute("visibility", "hidden"); });
  picture.addEventListener("dblclick", () => zoom(...full));
  picture.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return; // the wheel alone scrolls the page
    event.preventDefault();
    scale(event.deltaY > 0 || event.deltaX > 0 ? 1.25 : 0.8, day(pixel(event)[0]));
  }, { passive: false });
  picture.addEventListener("keydown", (event) => {
    const act = { "+": () => scale(0.7), "=": () => scale(0.7), "-": () => scale(1.4), 0: () => zoom(...full), ArrowLeft: () => shift(-0.2), ArrowRight: () => shift(0.2) }[event.key];
    if (act && !event.ctrlKey && !event.metaKey) { event.preventDefault(); act(); }
  });
  new ResizeObserver(([entry]) => {
    const now = Math.round(entry.contentRect.width);
    if (now && now !== width) { width = now; paint(); }
  }).observe(box);
  paint();
  const button = (text, name, act) => html("button", { type: "button", "aria-label": name, title: name, click: act }, text);
  const tools = html("div", { class: "tools" },
    button("+", "Zoom in", () => scale(0.6)), button("−", "Zoom out", () => scale(1.7)),
    button("◂", "Earlier", () => shift(-0.3)), button("▸", "Later", () => shift(0.3)), button("All", "Show all", () => zoom(...full)));
  return { box, tools, repaint: paint };
}
