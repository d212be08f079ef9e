// The districts as a table, and the card with one district's numbers; map and table share what is chosen.
import { h, mark, say } from "./dom.js";
import { count, share } from "./format.js";
import { notReached } from "./picture.js";
import { channels, COUNT, named, t } from "./setup.js";

const view = document.getElementById("table-view");
const card = document.getElementById("district-card");
const COLUMNS = ["planned", "sent", "delivered", "presented", "failed"];
const properties = new Map();
const heirs = new Map();
const rows = new Map();
let body = null;
let chosen = null;
let latest = new Map();

/** Learn names and which former codes each district takes in. */
export function learn(features) {
  for (const feature of features) {
    properties.set(feature.properties.code, feature.properties);
    for (const code of feature.properties.folds) heirs.set(code, feature.properties.code);
  }
}

export const heirOf = (code) => heirs.get(code) ?? code;
export const nameOf = (code) => (properties.has(code) ? named(properties.get(code)) : code);

const numbersOf = (counts) => ({
  ...Object.fromEntries(COLUMNS.map((name) => [name, counts[COUNT[name]]])), failed: notReached(counts),
});

/** Show the numbers of a district, or close the card with null. */
export function choose(code) {
  chosen = code;
  drawCard();
}

function build() {
  body = h("tbody");
  view.replaceChildren(h("table", { class: "districts" },
    h("caption", { class: "unseen" }, t("map.caption")),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("map.district")),
      ...COLUMNS.map((name) => h("th", { scope: "col", class: `n-${name}` }, t(`count.${name}`))),
      h("th", { scope: "col" }, t("count.share")))),
    body));
}

/** Draw the table; `byDistrict` as picture.sum gives it. */
export function draw(byDistrict) {
  latest = byDistrict;
  if (!body) build();
  const order = [...byDistrict.keys()].sort((a, b) =>
    byDistrict.get(b).total[COUNT.planned] - byDistrict.get(a).total[COUNT.planned] || (a < b ? -1 : 1));
  for (const [code, row] of rows) {
    if (!byDistrict.has(code)) { row.element.remove(); rows.delete(code); }
  }
  order.forEach((code, place) => {
    if (!rows.has(code)) rows.set(code, tableRow(code));
    const row = rows.get(code);
    if (body.children[place] !== row.element) body.insertBefore(row.element, body.children[place] ?? null);
    const numbers = numbersOf(byDistrict.get(code).total);
    for (const name of COLUMNS) {
      say(row.cells[name], count(numbers[name]));
      mark(row.cells[name], "data-zero", numbers[name] ? null : "");
    }
    say(row.share, share(numbers.delivered, numbers.planned));
    row.fill.style.width = numbers.planned ? `${(numbers.delivered * 100) / numbers.planned}%` : "0";
  });
  drawCard();
}

function tableRow(code) {
  const cells = Object.fromEntries(COLUMNS.map((name) => [name, h("td", { class: `n-${name}`, "data-cell": `${code}.${name}` })]));
  const row = { cells, share: h("span"), fill: h("span", { class: "mini-fill" }) };
  row.element = h("tr", {},
    h("th", { scope: "row" }, h("button", { type: "button", class: "plain", onclick: () => choose(code) }, nameOf(code))),
    ...Object.values(cells),
    h("td", { class: "share-cell" }, h("span", { class: "mini", "aria-hidden": "true" }, row.fill), row.share));
  return row;
}

function drawCard() {
  const place = chosen === null ? null : latest.get(chosen);
  card.hidden = chosen === null;
  if (chosen === null) { card.dataset.look = ""; return; }
  const look = JSON.stringify([chosen, place]);
  if (card.dataset.look === look) return;
  card.dataset.look = look;
  const about = properties.get(chosen);
  const notes = [
    about?.approximate ? t("map.approximate") : null,
    about?.folds.length ? t("map.folds", { codes: about.folds.join(", ") }) : null,
  ].filter(Boolean);
  const used = place ? channels.filter((channel) => place.byChannel[channel]) : [];
  const line = (name, counts) => h("tr", {}, h("th", { scope: "row" }, name),
    ...Object.values(numbersOf(counts)).map((n) => h("td", {}, count(n))));
  card.replaceChildren(
    h("div", { class: "card-title" }, h("h3", {}, nameOf(chosen)),
      place ? h("span", { class: "channel-share" }, share(place.total[COUNT.delivered], place.total[COUNT.planned])) : null,
      h("button", { type: "button", class: "close", "aria-label": t("map.close"), onclick: () => choose(null) }, "×")),
    place
      ? h("table", {}, h("thead", {}, h("tr", {}, h("td"), ...COLUMNS.map((name) => h("th", { scope: "col" }, t(`count.${name}`))))),
        h("tbody", {}, ...used.map((channel) => line(t(`channel.${channel}`), place.byChannel[channel])),
          used.length > 1 ? line(t("channel.all"), place.total) : null))
      : h("p", { class: "quiet" }, t("map.legend.none")),
    ...notes.map((note) => h("p", { class: "quiet" }, note)));
}

addEventListener("keydown", (event) => { if (event.key === "Escape" && chosen !== null) choose(null); });

const [asMap, asTable] = [document.getElementById("as-map"), document.getElementById("as-table")];
function show(table) {
  mark(asMap, "aria-pressed", String(!table));
  mark(asTable, "aria-pressed", String(table));
  document.getElementById("map-view").hidden = table;
  document.getElementById("legend").hidden = table;
  mark(document.getElementById("stage"), "data-as", table ? "table" : "map");
  view.hidden = !table;
}
asMap.addEventListener("click", () => show(false));
asTable.addEventListener("click", () => show(true));
