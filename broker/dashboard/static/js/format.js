// Numbers and times as people read them; all times of day are Beijing time.
import { locale, t } from "./setup.js";

const number = new Intl.NumberFormat(locale);
const zone = { timeZone: "Asia/Shanghai", hourCycle: "h23" };
const clock = new Intl.DateTimeFormat(locale, { ...zone, hour: "2-digit", minute: "2-digit", second: "2-digit" });
const moment = new Intl.DateTimeFormat(locale, {
  ...zone, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit",
});

let ahead = 0;

/** Learn the server's clock: ages are counted by it, whatever the clock of this machine says. */
export function learnClock(serverNow) {
  ahead = serverNow - Date.now();
}

export const serverNow = () => Date.now() + ahead;
export const count = (n) => number.format(n);
export const timeOfDay = (ms) => clock.format(ms);
export const dayAndTime = (ms) => moment.format(ms);

/** Percent with one decimal, rounded down: 100 % is only said when nobody is missing. */
export function share(part, whole) {
  if (!whole) return "–";
  if (part >= whole) return "100%";
  return `${(Math.floor((part * 1000) / whole) / 10).toFixed(1)}%`;
}

/** 0:07, 12:34, 1:02:03, and days beyond that; from milliseconds. */
export function age(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  const rest = `${two(minutes)}:${two(seconds % 60)}`;
  if (days) return `${days} d ${two(hours)}:${two(minutes)}`;
  return hours ? `${hours}:${rest}` : `${minutes}:${two(seconds % 60)}`;
}

/** The name of a district without what all of them have: 合川, Hechuan. */
export function shortName(name) {
  const zh = name.replace(/((土家族|苗族)+自治县|新区|区|县)$/u, "");
  const short = zh.length >= 2 && zh !== name ? zh : name;
  return short.replace(/ (District|County|New Area|(Tujia|Miao) .*)$/, "");
}

export const levelOf = (view) => view.level ?? "none";
export const levelName = (view) => t(`level.${levelOf(view)}`);
