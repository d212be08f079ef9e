// The picture of all alerts, put together from a snapshot and the changes that follow it.
import { channels, COUNT, COUNTS } from "./setup.js";

const views = new Map();

/** All alerts, newest first: ids are ordered by time. */
export const all = () => [...views.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
export const get = (id) => views.get(id);

export function replace(alerts) {
  views.clear();
  for (const view of alerts) views.set(view.id, view);
}

/** Apply one change as the server's broker/dashboard/views.py describes it. */
export function apply({ alerts, gone }) {
  for (const patch of alerts) {
    const view = views.get(patch.id) ?? { id: patch.id, cells: {}, curve: {} };
    Object.assign(view, patch.set ?? {});
    for (const [channel, cells] of Object.entries(patch.cells ?? {})) {
      view.cells[channel] = Object.assign(view.cells[channel] ?? {}, cells);
    }
    for (const [channel, curves] of Object.entries(patch.curve ?? {})) {
      view.curve[channel] ??= {};
      for (const [milestone, { keep, points }] of Object.entries(curves)) {
        view.curve[channel][milestone] = [...(view.curve[channel][milestone] ?? []).slice(0, keep), ...points];
      }
    }
    views.set(view.id, view);
  }
  for (const id of gone) views.delete(id);
}

export const isReal = (view) => view.status === "Actual";

const zeros = () => new Array(COUNTS).fill(0);
const add = (total, counts) => counts.forEach((n, place) => { total[place] += n; });

/** Final without having arrived. */
export const notReached = (counts) => counts[COUNT.failed] + counts[COUNT.withheld] + counts[COUNT.expired];

/** Sums over alerts: by channel, by district (and there by channel), and of everything. */
export function sum(alerts, heirOf = (district) => district) {
  const byChannel = Object.fromEntries(channels.map((channel) => [channel, zeros()]));
  const byDistrict = new Map();
  const total = zeros();
  for (const view of alerts) {
    for (const [channel, cells] of Object.entries(view.cells)) {
      for (const [district, counts] of Object.entries(cells)) {
        const heir = heirOf(district);
        if (!byDistrict.has(heir)) byDistrict.set(heir, { total: zeros(), byChannel: {} });
        const place = byDistrict.get(heir);
        add(place.total, counts);
        add((place.byChannel[channel] ??= zeros()), counts);
        add((byChannel[channel] ??= zeros()), counts);
        add(total, counts);
      }
    }
  }
  return { byChannel, byDistrict, total };
}
