// The list of alerts: what it is, how it stands, how far it has come.
import { h, mark, say, symbol } from "./dom.js";
import { age, count, levelName, levelOf, serverNow, share } from "./format.js";
import { isReal, sum } from "./picture.js";
import { COUNT, language, named, t } from "./setup.js";

const list = document.getElementById("alert-list");
const cards = new Map();
export const ALL = "all";

/** The headline in the page's language, else the alert's own. */
export const headline = (view) => view.headlines?.[language] ?? view.headline;

const GLYPHS = new Set(["11A", "11B", "11C", "11D"]);

/** The level's sign: colour, pictogram of the event, the word, and ticks to count. */
export function sign(view) {
  const kind = view.event.code.slice(0, 3);
  const ticks = { Red: 4, Orange: 3, Yellow: 2, Blue: 1 }[view.level] ?? 0;
  return h(
    "span",
    { class: "sign", "data-level": levelOf(view), role: "img", "aria-label": `${named(view.event)} · ${levelName(view)}` },
    symbol(GLYPHS.has(kind) ? `event-${kind}` : "event-other", "sign-glyph"),
    h("span", { class: "sign-word", "aria-hidden": "true" }, t(`level.${levelOf(view)}.short`)),
    h("span", { class: "sign-ticks", "aria-hidden": "true" },
      ...[1, 2, 3, 4].map((tick) => h("i", { class: tick <= ticks ? "on" : null }))),
  );
}

/** 演练 and the like, or null for a real warning. */
export const drillTag = (view) =>
  isReal(view) ? null : h("span", { class: "drill-tag" }, t(`status.${view.status}`));

function bar() {
  const fill = h("span", { class: "mini-fill" });
  return { fill, element: h("span", { class: "mini", "aria-hidden": "true" }, fill) };
}

function card(id, choose) {
  const parts = { progress: bar(), headline: h("span", { class: "card-headline" }), state: h("span", { class: "state" }),
    age: h("span", { class: "card-age" }), share: h("span", { class: "card-share" }), top: h("span", { class: "card-top" }),
    sign: h("span", { class: "card-sign" }) };
  const button = h("button", { type: "button", class: "card", onclick: () => choose(id) },
    parts.sign,
    h("span", { class: "card-body" },
      parts.headline,
      h("span", { class: "card-line" }, parts.top, parts.state, parts.age),
      h("span", { class: "card-line" }, parts.progress.element, parts.share)));
  return { ...parts, button, element: h("li", {}, button), look: "" };
}

/** Draw the list. `choose` is called with an id, or ALL. */
export function draw(views, chosen, choose) {
  const real = views.filter(isReal);
  const wanted = real.length > 1 ? [ALL, ...views.map((view) => view.id)] : views.map((view) => view.id);
  for (const [id, known] of cards) {
    if (!wanted.includes(id)) { known.element.remove(); cards.delete(id); }
  }
  wanted.forEach((id, place) => {
    if (!cards.has(id)) cards.set(id, card(id, choose));
    const { element } = cards.get(id);
    if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
    mark(cards.get(id).button, "aria-current", id === chosen ? "true" : null);
  });
  for (const view of views) drawAlert(cards.get(view.id), view);
  if (cards.has(ALL)) drawAll(cards.get(ALL), real);
  drawAges(views);
}

/** Only the running times. */
export function drawAges(views) {
  for (const view of views) {
    const known = cards.get(view.id);
    if (!known) continue;
    const since = age(serverNow() - view.received);
    say(known.age, `T+${since}`);
    mark(known.age, "title", t("time.since", { age: since }));
  }
}

function drawAlert(known, view) {
  const look = `${view.level} ${view.event.code} ${view.status}`;
  if (known.look !== look) {
    known.look = look;
    known.sign.replaceChildren(sign(view));
    known.top.replaceChildren(...[drillTag(view)].filter(Boolean));
    mark(known.button, "data-drill", isReal(view) ? null : "");
  }
  say(known.headline, headline(view));
  say(known.state, t(`state.${view.state}`));
  mark(known.state, "data-state", view.state);
  progress(known, sum([view]).total);
}

function drawAll(known, real) {
  if (!known.look) {
    known.look = ALL;
    mark(known.button, "data-all", "");
    known.sign.replaceChildren(h("span", { class: "sign sign-all" }, symbol("event-other", "sign-glyph")));
  }
  say(known.headline, t("alerts.all"));
  say(known.state, t("alerts.all_note", { n: real.length }));
  progress(known, sum(real).total);
}

function progress(known, total) {
  const [planned, delivered] = [total[COUNT.planned], total[COUNT.delivered]];
  known.progress.fill.style.width = planned ? `${(delivered * 100) / planned}%` : "0";
  say(known.share, planned ? share(delivered, planned) : "–");
  mark(known.share, "title", t("detail.delivered_of", { delivered: count(delivered), planned: count(planned) }));
}
