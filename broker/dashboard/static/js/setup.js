// What the server put into the page: language, words, the order of channels and counters.
const setup = JSON.parse(document.getElementById("setup").textContent);

export const language = setup.language;
export const locale = setup.locale;
export const channels = setup.channels;

/** Position of each counter in a list of counts. */
export const COUNT = Object.fromEntries(setup.counts.map((name, place) => [name, place]));
export const COUNTS = setup.counts.length;

/** The string for `key`, with {name} replaced by values; the key itself where the catalogue has none. */
export function t(key, values = {}) {
  const text = setup.words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** A name that has both languages: {zh, en}. */
export const named = (names) => names[language] || names.zh;
