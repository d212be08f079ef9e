// Brings stream, picture and panels together.
import * as curve from "./curve.js";
import * as detail from "./detail.js";
import * as districts from "./districts.js";
import { mark, say } from "./dom.js";
import { learnClock, serverNow, timeOfDay } from "./format.js";
import * as list from "./list.js";
import * as map from "./map.js";
import * as picture from "./picture.js";
import { follow } from "./stream.js";
import { t } from "./setup.js";

const [link, linkText, clock] = ["link", "link-text", "clock"].map((id) => document.getElementById(id));
const PANELS = ["stage", "curve"].map((id) => document.getElementById(id));
const alerts = document.querySelector(".alerts");
const empty = document.getElementById("empty");
let chosen = location.hash.slice(1) || null;
let known = false;
let trouble = false;
let waiting = false;

document.getElementById("example").textContent =
  `curl ${location.origin}/v1/alerts \\\n  -H "Authorization: Bearer $TOKEN" \\\n  -H "Content-Type: application/cap+xml" \\\n  --data-binary @alert.xml`;

function choose(id) {
  chosen = id;
  districts.choose(null);
  map.follow();
  history.replaceState(null, "", `#${id}`);
  keepChoice();
  draw();
  if (matchMedia("(max-width: 759px)").matches) document.getElementById("detail").scrollIntoView();
}

/** Switching language or theme loads the page anew: take along what is being looked at. */
function keepChoice() {
  for (const anchor of document.querySelectorAll("a[data-switch]")) {
    anchor.href = anchor.getAttribute("href").replace(/#.*$/, "") + (chosen ? `#${chosen}` : "");
  }
}

/** What is chosen, or the newest alert as long as nothing is. */
function current(views) {
  if (chosen === list.ALL) return { id: list.ALL, view: null, alerts: views.filter(picture.isReal) };
  const view = picture.get(chosen) ?? views[0];
  return { id: view.id, view, alerts: [view] };
}

function draw() {
  waiting = false;
  if (!known) return;
  const views = picture.all();
  const none = views.length === 0;
  empty.hidden = !none;
  alerts.hidden = none;
  for (const panel of PANELS) panel.hidden = none;
  for (const id of ["detail", "about"]) document.getElementById(id).hidden = none;
  if (none) return;
  const now = current(views);
  // Stay with what is looked at: a newer alert must not slip under the reader's eyes.
  if (chosen === null || (chosen !== list.ALL && !picture.get(chosen))) chosen = now.id;
  mark(document.documentElement, "data-drill", now.view && !picture.isReal(now.view) ? "" : null);
  const { byDistrict } = picture.sum(now.alerts, districts.heirOf);
  list.draw(views, now.id, choose);
  detail.draw(now.view, now.alerts);
  districts.draw(byDistrict);
  map.draw(byDistrict, now.view);
  curve.draw(now.view, drawSoon);
}

function drawSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(draw);
}

function tick() {
  say(clock, timeOfDay(serverNow()));
  if (!known || document.hidden) return;
  const views = picture.all();
  list.drawAges(views);
  if (views.length) detail.drawAge(current(views).view);
}

let state = "connecting";
function showLink() {
  const shown = state === "live" && trouble ? "trouble" : state;
  mark(link, "data-state", shown);
  say(linkText, t(`link.${shown}`));
}

const on = {
  state: (name) => { state = name; showLink(); },
  snapshot: (data) => { known = true; trouble = data.trouble; showLink(); picture.replace(data.alerts); drawSoon(); },
  change: (data) => { learnClock(data.now); picture.apply(data); drawSoon(); },
  trouble: (data) => { learnClock(data.now); trouble = data.trouble; showLink(); },
  beat: (data) => learnClock(data.now),
};

keepChoice();
setInterval(tick, 1000);
follow("/dashboard/events", on);
fetch("/dashboard/districts.geojson").then((answer) => answer.json()).then((collection) => {
  districts.learn(collection.features);
  PANELS[0].hidden = false;
  map.build(collection);
  PANELS[0].hidden = picture.all().length === 0;
  drawSoon();
});
