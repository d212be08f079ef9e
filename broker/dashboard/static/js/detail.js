// The chosen alert: what it says, how far each channel has come, what has happened to it.
import { h, mark, say } from "./dom.js";
import { age, count, dayAndTime, serverNow, share, timeOfDay } from "./format.js";
import { drillTag, headline, sign } from "./list.js";
import { isReal, notReached, sum } from "./picture.js";
import { channels, COUNT, language, named, t } from "./setup.js";

const panel = document.getElementById("detail");
const about = document.getElementById("about");
const SHOWN = ["planned", "sent", "delivered", "presented", "failed"];
const rows = new Map();
let parts = null;

function channelRow(channel) {
  const numbers = Object.fromEntries(SHOWN.map((name) => [
    name, h("dd", { "data-count": `${channel}.${name}` }, "0"),
  ]));
  const fills = Object.fromEntries(["sent", "delivered", "presented", "failed"].map((name) => [
    name, h("span", { class: `fill fill-${name}` }),
  ]));
  const row = {
    numbers, fills,
    share: h("span", { class: "channel-share" }),
    note: h("p", { class: "channel-note", hidden: true }),
  };
  row.element = h("li", { class: "channel", "data-channel": channel },
    h("div", { class: "channel-head" }, h("h3", {}, h("i", { class: "swatch", "aria-hidden": "true" }), t(`channel.${channel}`)), row.share),
    h("div", { class: "bar-track", "aria-hidden": "true" }, ...Object.values(fills)),
    h("dl", { class: "numbers" }, ...SHOWN.map((name) => h("div", { class: `n-${name}` }, h("dt", {}, t(`count.${name}`)), numbers[name]))),
    row.note);
  return row;
}

function build() {
  parts = {
    banner: h("p", { class: "drill-banner", hidden: true }),
    sign: h("div", { class: "hero-sign" }),
    headline: h("h2", { class: "headline", id: "headline" }),
    state: h("span", { class: "state" }),
    tag: h("span", {}),
    age: h("span", { class: "hero-age" }),
    share: h("p", { class: "hero-share" }),
    shareNote: h("p", { class: "hero-note" }),
    facts: h("dl", { class: "facts" }),
    reason: h("p", { class: "reason", hidden: true }),
    quiet: h("p", { class: "quiet", hidden: true }, t("detail.not_planned")),
    history: h("ol", { class: "history" }),
    historyHead: h("h3", { class: "eyebrow" }, t("detail.history")),
  };
  const list = h("ol", { class: "channels" });
  for (const channel of [...channels, "all"]) {
    rows.set(channel, channelRow(channel));
    list.append(rows.get(channel).element);
  }
  parts.channels = h("div", {}, h("h3", { class: "eyebrow" }, t("detail.channels")), list);
  panel.replaceChildren(
    parts.banner,
    h("div", { class: "hero" }, parts.sign,
      h("div", { class: "hero-text" }, parts.headline, h("p", { class: "hero-line" }, parts.tag, parts.state, parts.age))),
    parts.reason,
    h("div", { class: "reach" }, parts.share, parts.shareNote),
    parts.quiet, parts.channels);
  about.replaceChildren(parts.facts, parts.historyHead, parts.history);
}

/** Draw one alert, or the sum of several when `view` is null. */
export function draw(view, alerts) {
  if (!parts) build();
  const { byChannel, total } = sum(alerts);
  panel.hidden = false;
  about.hidden = view === null;
  const drill = view !== null && !isReal(view);
  mark(panel, "data-drill", drill ? "" : null);
  parts.banner.hidden = !drill;
  parts.tag.replaceChildren(...[view && drillTag(view)].filter(Boolean));
  if (drill) say(parts.banner, t(`status.banner.${view.status}`));
  parts.sign.replaceChildren(...(view ? [sign(view)] : []));
  say(parts.headline, view ? headline(view) : t("alerts.all"));
  say(parts.state, view ? t(`state.${view.state}`) : t("alerts.all_note", { n: alerts.length }));
  mark(parts.state, "data-state", view ? view.state : "all");
  parts.reason.hidden = !view?.reason;
  if (view?.reason) say(parts.reason, `${t("detail.reason")} · ${view.reason}`);
  drawReach(total, byChannel);
  drawFacts(view);
  drawHistory(view);
  drawAge(view);
}

/** Only the running time. */
export function drawAge(view) {
  if (parts) say(parts.age, view ? t("time.since", { age: age(serverNow() - view.received) }) : "");
}

function drawReach(total, byChannel) {
  const planned = total[COUNT.planned];
  parts.quiet.hidden = planned > 0;
  parts.channels.hidden = planned === 0;
  say(parts.share, share(total[COUNT.delivered], planned));
  say(parts.shareNote, t("detail.delivered_of", { delivered: count(total[COUNT.delivered]), planned: count(planned) }));
  const used = channels.filter((channel) => byChannel[channel][COUNT.planned] > 0);
  for (const channel of channels) rows.get(channel).element.hidden = !used.includes(channel);
  rows.get("all").element.hidden = used.length < 2;
  for (const channel of used) drawChannel(rows.get(channel), byChannel[channel]);
  drawChannel(rows.get("all"), total);
}

function drawChannel(row, counts) {
  const planned = counts[COUNT.planned];
  const shown = { ...Object.fromEntries(SHOWN.map((name) => [name, counts[COUNT[name]]])), failed: notReached(counts) };
  for (const name of SHOWN) {
    say(row.numbers[name], count(shown[name]));
    mark(row.numbers[name], "data-zero", shown[name] ? null : "");
  }
  for (const [name, fill] of Object.entries(row.fills)) fill.style.width = planned ? `${(shown[name] * 100) / planned}%` : "0";
  say(row.share, share(counts[COUNT.delivered], planned));
  const notes = ["withheld", "expired"].filter((name) => counts[COUNT[name]]).map((name) => t(`count.${name}`, { n: count(counts[COUNT[name]]) }));
  row.note.hidden = !notes.length;
  say(row.note, notes.join(" · "));
}

function drawFacts(view) {
  const over = view && view.expires <= serverNow();
  const areas = view ? (view.areas?.[language] ?? Object.values(view.areas ?? {})[0] ?? []) : [];
  const facts = view ? [
    [t("detail.department"), named(view.department)],
    [t("detail.area"), areas.join(" · ")],
    ["", t(over ? "time.ended" : "time.until", { time: dayAndTime(view.expires) })],
    [t("detail.identifier"), view.identifier],
  ].filter(([, value]) => value) : [];
  const look = JSON.stringify(facts);
  if (parts.facts.dataset.look === look) return;
  parts.facts.dataset.look = look;
  parts.facts.replaceChildren(...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function drawHistory(view) {
  const events = view?.history ?? [];
  parts.historyHead.hidden = !events.length;
  const look = JSON.stringify([view?.id, events]);
  if (parts.history.dataset.look === look) return;
  parts.history.dataset.look = look;
  parts.history.replaceChildren(...events.map((event) => h("li", {},
    h("time", { datetime: new Date(event.at).toISOString(), title: dayAndTime(event.at) }, timeOfDay(event.at)),
    h("div", {}, h("span", { class: "state", "data-state": event.state }, t(`state.${event.state}`)),
      h("p", { class: "history-who" }, [event.who, event.why].filter(Boolean).join(" · "))))));
}
