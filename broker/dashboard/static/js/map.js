// The map: our own districts, coloured by the share delivered. Another base map would be added under them here.
import * as L from "../vendor/leaflet-src.esm.js";
import { choose, nameOf } from "./districts.js";
import { h } from "./dom.js";
import { share, shortName } from "./format.js";
import { COUNT, t } from "./setup.js";

const container = document.getElementById("map");
const legend = document.getElementById("legend");
const layers = new Map();
let map = null;
let shapes = null;
let bounds = null;
let moved = false;
let whole = false;
let drawn = "";
let focus = "";

/** The steps of the colour scale, by what the warning has achieved; the class names carry the colours. */
const STEPS = ["none", "0", "low", "half", "most", "done"];
const LABELS = { none: t("map.legend.none"), 0: "0%", low: "< 50%", half: "50–90%", most: "90–99%", done: "≥ 99%" };

function step(total) {
  if (!total || !total[COUNT.planned]) return "none";
  const reached = total[COUNT.delivered] / total[COUNT.planned];
  if (reached === 0) return "0";
  if (reached < 0.5) return "low";
  if (reached < 0.9) return "half";
  return reached < 0.99 ? "most" : "done";
}

/** Build the map of these GeoJSON features. */
export function build(collection) {
  const wide = matchMedia("(min-width: 760px)").matches;
  map = L.map(container, {
    attributionControl: false, zoomControl: false, zoomSnap: 0.1, zoomDelta: 0.5, minZoom: 5, maxZoom: 12,
    dragging: wide, scrollWheelZoom: matchMedia("(min-width: 1200px)").matches, wheelPxPerZoomLevel: 160,
  });
  L.control.attribution({ prefix: false, position: "bottomright" }).addAttribution(t("map.credit")).addTo(map);
  L.control.zoom({ position: "topright", zoomInTitle: t("map.zoom_in"), zoomOutTitle: t("map.zoom_out") }).addTo(map);
  const layer = L.geoJSON(collection, {
    style: () => ({ className: "district step-none" }),
    onEachFeature: (feature, each) => {
      const code = feature.properties.code;
      layers.set(code, each);
      each.on("click", () => choose(code));
    },
  }).addTo(map);
  shapes = L.layerGroup().addTo(map);
  bounds = layer.getBounds();
  fit();
  map.on("zoomend", declutter);
  container.addEventListener("wheel", () => { moved = true; }, { passive: true });
  map.on("dragstart", () => { moved = true; });
  container.querySelector(".leaflet-control-zoom").append(
    h("a", { href: "#", role: "button", class: "reset", title: t("map.reset"), "aria-label": t("map.reset"),
      onclick: (event) => { event.preventDefault(); moved = false; whole = true; fit(); } }, "◱"));
  new ResizeObserver(() => {
    if (!container.clientWidth) return;
    map.invalidateSize({ animate: false });
    if (!moved) fit();
  }).observe(container);
  drawLegend();
}

function drawLegend() {
  legend.replaceChildren(h("p", {}, t("map.legend")), h("ul", {}, ...STEPS.map((name) =>
    h("li", {}, h("i", { class: `swatch-box step-${name}`, "aria-hidden": "true" }), LABELS[name]))));
}

/** Show the districts that the chosen alert addresses, with their neighbours; or the whole city. */
function fit() {
  const addressed = whole ? [] : focus.split(" ").filter((code) => layers.has(code));
  const seen = addressed.map((code) => layers.get(code).getBounds());
  const target = seen.reduce((all, each) => all.extend(each), seen.length ? L.latLngBounds([]) : bounds);
  const padding = seen.length ? [48, 40] : [12, 12];
  map.fitBounds(target, { padding, maxZoom: seen.length ? 9.2 : 12, animate: false });
  declutter();
}

/** Another alert was chosen: look where it is. */
export function follow() {
  moved = false;
  whole = false;
}

/** Where labels lie on each other, the district with fewer recipients goes without. */
function declutter() {
  requestAnimationFrame(() => {
    const taken = [];
    const labelled = [...layers.values()].filter((layer) => layer.getTooltip()?.getElement());
    for (const layer of labelled.sort((a, b) => b.weight - a.weight)) {
      const element = layer.getTooltip().getElement();
      const box = element.getBoundingClientRect();
      const hit = taken.some((other) =>
        box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom);
      element.classList.toggle("crowded", hit);
      if (!hit) taken.push(box);
    }
  });
}

/** Colour and label the districts, and outline the alert's own area. */
export function draw(byDistrict, view) {
  if (!map) return;
  for (const [code, layer] of layers) {
    const total = byDistrict.get(code)?.total;
    const name = step(total);
    const element = layer.getElement();
    if (element && !element.classList.contains(`step-${name}`)) {
      for (const each of STEPS) element.classList.remove(`step-${each}`);
      element.classList.add(`step-${name}`);
    }
    label(layer, code, total);
  }
  const wanted = JSON.stringify([view?.id, view?.shapes]);
  if (wanted !== drawn) {
    drawn = wanted;
    drawShapes(view);
  }
  // All alerts together may lie anywhere: the whole city then.
  const addressed = view ? [...byDistrict.keys()].sort().join(" ") : "";
  if (addressed !== focus) {
    focus = addressed;
    if (!moved) fit();
  }
}

function label(layer, code, total) {
  const text = total?.[COUNT.planned] ? `${shortName(nameOf(code))} ${share(total[COUNT.delivered], total[COUNT.planned])}` : null;
  layer.weight = total?.[COUNT.planned] ?? 0;
  if (layer.said === text) return;
  layer.said = text;
  if (text === null) {
    layer.unbindTooltip();
    return;
  }
  const content = h("span", {}, text);
  if (layer.getTooltip()) layer.setTooltipContent(content);
  else layer.bindTooltip(content, { permanent: true, direction: "center", className: "district-label" });
  declutter();
}

function drawShapes(view) {
  shapes.clearLayers();
  for (const shape of view?.shapes ?? []) {
    const style = { className: `area level-${view.level ?? "none"}`, interactive: false, fill: false };
    const drawnShape = shape.polygon
      ? L.polygon(shape.polygon, style)
      : L.circle([shape.circle[0], shape.circle[1]], { ...style, radius: shape.circle[2] * 1000 });
    drawnShape.addTo(shapes);
  }
}
