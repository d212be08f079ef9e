// The curve: how many percent of each channel's recipients had been reached by each second after accept.
import uPlot from "../vendor/uPlot.esm.js";
import { h, mark } from "./dom.js";
import { age, serverNow } from "./format.js";
import { sum } from "./picture.js";
import { channels, COUNT, t } from "./setup.js";

const plotBox = document.getElementById("plot");
const marksBox = document.getElementById("marks");
const choiceBox = document.getElementById("curve-choice");
const MILESTONES = ["sent", "delivered", "presented"];
const GUIDES = [50, 90, 99];
const DASHES = { sms: [], broadcast: [9, 4], app: [3, 3], signage: [12, 4, 3, 4] };
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
let milestone = "delivered";
let plot = null;
let drawnKey = "";
let redraw = () => {};

const buttons = MILESTONES.map((name) => h("button", {
  type: "button", "aria-pressed": String(name === milestone),
  onclick: () => {
    milestone = name;
    buttons.forEach((button, place) => mark(button, "aria-pressed", String(MILESTONES[place] === name)));
    redraw();
  },
}, t(`count.${name}`)));
choiceBox.replaceChildren(...buttons);

/** Draw the curves of one alert; `redrawing` is called when another milestone is chosen. */
export function draw(view, redrawing) {
  redraw = redrawing;
  const { byChannel } = sum(view ? [view] : []);
  const used = channels.filter((channel) => byChannel[channel][COUNT.planned] > 0);
  const curves = used.map((channel) => view.curve[channel]?.[milestone] ?? []);
  const any = curves.some((points) => points.length);
  if (!any) {
    plot?.destroy();
    plot = null;
    drawnKey = "";
    plotBox.replaceChildren(h("p", { class: "quiet" }, t(view ? "curve.empty" : "curve.choose")));
  } else {
    drawPlot(view, used, data(view, used, curves, byChannel));
  }
  drawMarks(view, used);
}

function data(view, used, curves, byChannel) {
  const last = Math.max(...curves.map((points) => points.at(-1)?.[0] ?? 0));
  const moving = view.state === "planned" || view.state === "sending";
  const end = moving ? Math.max(last, Math.floor((serverNow() - view.received) / 1000)) : last + Math.max(1, last * 0.04);
  const times = [...new Set([0, ...curves.flatMap((points) => points.map(([second]) => second)), end])].sort((a, b) => a - b);
  return [times, ...used.map((channel, place) => filled(times, curves[place], byChannel[channel][COUNT.planned]))];
}

/** At each time the last total before it, in percent of the planned. */
function filled(times, points, planned) {
  let next = 0;
  let total = 0;
  return times.map((time) => {
    while (next < points.length && points[next][0] <= time) total = points[next++][1];
    return (total * 100) / planned;
  });
}

function drawPlot(view, used, values) {
  const key = `${view.id} ${used.join(" ")} ${milestone}`;
  if (plot && key === drawnKey) {
    plot.setData(values);
    return;
  }
  drawnKey = key;
  plot?.destroy();
  plotBox.replaceChildren();
  const css = getComputedStyle(document.documentElement);
  const colour = (name) => css.getPropertyValue(name).trim();
  const font = `12px ${css.getPropertyValue("--font").trim()}`;
  const axis = { stroke: colour("--muted"), font, ticks: { show: false } };
  plot = new uPlot({
    ...size(),
    legend: { show: false },
    cursor: { show: false },
    padding: [10, 14, 0, 0],
    scales: { x: { time: false }, y: { range: [0, 101] } },
    axes: [
      { ...axis, grid: { show: false }, size: 30, space: 64, incrs: STEPS, values: (_, splits) => splits.map((second) => age(second * 1000)) },
      { ...axis, size: 46, splits: () => [0, ...GUIDES], values: (_, splits) => splits.map((percent) => `${percent}%`),
        grid: { stroke: colour("--guide"), width: 1, dash: [2, 4] } },
    ],
    series: [{}, ...used.map((channel) => ({
      stroke: colour(`--channel-${channel}`), width: 2, dash: DASHES[channel], points: { show: false },
    }))],
  }, values, plotBox);
  mark(plotBox, "aria-label", t("curve.label", { channel: used.map((channel) => t(`channel.${channel}`)).join(", ") }));
}

const size = () => ({ width: Math.max(200, plotBox.clientWidth), height: Math.max(120, plotBox.clientHeight) });

new ResizeObserver(() => { if (plot && plotBox.clientWidth) plot.setSize(size()); }).observe(plotBox);

function drawMarks(view, used) {
  const lines = [...used, ...(used.length > 1 ? ["all"] : [])].filter((channel) => view.marks[channel]);
  const look = JSON.stringify([view?.id, lines.map((channel) => view.marks[channel])]);
  if (marksBox.dataset.look === look) return;
  marksBox.dataset.look = look;
  marksBox.replaceChildren(...(lines.length ? [h("table", {},
    h("caption", {}, t("curve.marks")),
    h("thead", {}, h("tr", {}, h("td"), ...GUIDES.map((percent) => h("th", { scope: "col" }, `${percent}%`)))),
    h("tbody", {}, ...lines.map((channel) => h("tr", { "data-channel": channel },
      h("th", { scope: "row" }, h("i", { class: "swatch", "aria-hidden": "true" }), t(`channel.${channel}`)),
      ...view.marks[channel].map((seconds) => h("td", {}, seconds === null ? "–" : age(seconds * 1000)))))))] : []));
}
