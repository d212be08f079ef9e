// A screen in a browser: follows its playlist, shows what is in force, reports what it holds and shows.
// The token stands in the fragment of the address, so no server log or referrer ever sees it.

const DWELL = { Red: 15_000, Orange: 12_000, Yellow: 10_000, Blue: 10_000 };
const SILENCE_MS = 45_000;
const LONGEST_PAUSE_MS = 15_000;

const TEXT = {
  zh: {
    levels: { Red: "红色预警", Orange: "橙色预警", Yellow: "黄色预警", Blue: "蓝色预警" },
    clear: "预警解除",
    until: "有效至", sender: "发布单位", now: "现在时间",
    drill: "演练 · 演练 · 演练 · 非真实预警", drillWord: "演　练",
  },
  en: {
    levels: { Red: "RED", Orange: "ORANGE", Yellow: "YELLOW", Blue: "BLUE" },
    clear: "ALL CLEAR",
    until: "Valid until", sender: "Issued by", now: "Time now",
    drill: "EXERCISE · EXERCISE · EXERCISE · NOT A REAL WARNING", drillWord: "EXERCISE",
  },
};
const IDLE = "当前无预警 · No warnings in force";
const CONNECTING = "正在连接 · Connecting";
const SEPARATOR = "　　◆　　";

const screen = decodeURIComponent(location.pathname.split("/").pop());
const base = `/v1/screens/${encodeURIComponent(screen)}`;
const element = (id) => document.getElementById(id);
const clearing = (item) => item.phase === "clear" || item.phase === "cancel";
const locale = (item) => (item.language.startsWith("zh") ? "zh" : "en");

let token = readToken();
let items = [];
let tag = null;
let clockOffset = 0;
let current = null;
let position = -1;
let dwellTimer = 0;
let connected = false;
let fetched = false; // a playlist came over the present connection
let lastHeard = 0;
let attempt = null;
const progress = new Map(); // id → "held" | "shown"
const unreported = new Map();
let posting = false;

function readToken() {
  return new URLSearchParams(location.hash.slice(1)).get("token");
}

function now() {
  return Date.now() + clockOffset;
}

function request(path, options = {}) {
  const headers = { Authorization: `Bearer ${token}`, ...options.headers };
  return fetch(base + path, { cache: "no-store", credentials: "omit", ...options, headers });
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms * (0.5 + Math.random() / 2)));

// ---- following

async function follow() {
  let wait = 1_000;
  for (;;) {
    try {
      await listen(() => { wait = 1_000; });
    } catch (error) {
      if (error.status === 401 || error.status === 404) setLink("令牌无效 · token refused", true);
    }
    connected = fetched = false;
    if (!current) showIdle();
    setLink(element("link").dataset.fatal ? null : "连接中断，正在重连 · reconnecting");
    await pause(wait);
    wait = Math.min(wait * 2, LONGEST_PAUSE_MS);
  }
}

async function listen(onOpen) {
  attempt = new AbortController();
  lastHeard = Date.now();
  const response = await request("/events", { signal: attempt.signal });
  if (!response.ok) throw Object.assign(new Error("refused"), { status: response.status });
  onOpen();
  connected = true;
  setLink("", false);
  // A new connection may mean a server that forgot: fetch everything and report everything again.
  tag = null;
  for (const [id, state] of progress) unreported.set(id, state);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    lastHeard = Date.now();
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    if (blocks.some((block) => /^event: ?changed$/m.test(block))) await refresh();
  }
}

async function refresh() {
  const response = await request("/playlist", tag ? { headers: { "If-None-Match": tag } } : {});
  if (response.status === 304) return;
  if (!response.ok) throw Object.assign(new Error("refused"), { status: response.status });
  const date = Date.parse(response.headers.get("Date"));
  // The header counts whole seconds, so smaller differences say nothing about this screen's clock.
  if (!Number.isNaN(date)) clockOffset = Math.abs(date - Date.now()) > 2_000 ? date - Date.now() : 0;
  const playlist = await response.json();
  tag = response.headers.get("ETag");
  take(playlist.items);
}

function take(fresh) {
  fetched = true;
  const added = fresh.filter((item) => !items.some((known) => known.id === item.id));
  items = fresh;
  for (const item of fresh) note(item.id, "held");
  if (added.length || !items.some((item) => current && item.id === current.id)) {
    position = added.length ? items.indexOf(added[0]) - 1 : -1;
    next();
  } else {
    position = items.findIndex((item) => item.id === current.id);
    drawDots();
  }
}

// ---- reporting

function note(id, state) {
  const known = progress.get(id);
  if (known === "shown" || known === state) return flush();
  progress.set(id, state);
  unreported.set(id, state);
  return flush();
}

async function flush() {
  if (posting || !unreported.size) return;
  posting = true;
  try {
    while (unreported.size) {
      const sent = [...unreported].slice(0, 200);
      const body = JSON.stringify(sent.map(([id, state]) => ({ id, state })));
      const response = await request("/reports", { method: "POST", body, headers: { "Content-Type": "application/json" } });
      let settled = sent;
      if (response.status === 422) {
        const { errors = [] } = await response.json();
        const listed = new Set(errors.map((error) => Number(error.place.split("/")[1])));
        settled = listed.size ? sent.filter((_, index) => listed.has(index)) : sent;
      } else if (!response.ok) {
        throw new Error(`reports answered with ${response.status}`);
      }
      for (const [id, state] of settled) if (unreported.get(id) === state) unreported.delete(id);
    }
  } catch {
    setTimeout(flush, 2_000 + 2_000 * Math.random());
  } finally {
    posting = false;
  }
}

// ---- showing

function next() {
  clearTimeout(dwellTimer);
  items = items.filter((item) => item.expires > now());
  if (!items.length) {
    current = null;
    position = -1;
    showIdle();
    return;
  }
  position = (position + 1) % items.length;
  const item = items[position];
  if (!current || current.id !== item.id) show(item);
  drawDots();
  const left = item.expires - now();
  dwellTimer = setTimeout(next, Math.min(DWELL[item.level] ?? 10_000, Math.max(left, 50)));
}

function show(item) {
  current = item;
  const words = TEXT[locale(item)];
  const body = document.body;
  body.dataset.state = "warning";
  body.dataset.level = item.level;
  body.dataset.phase = item.phase;
  body.dataset.exercise = item.exercise ? "yes" : "no";
  element("warning").lang = item.language;
  element("idle").hidden = true;
  element("warning").hidden = false;
  element("event").textContent = item.event_name;
  element("level").textContent = clearing(item) ? words.clear : words.levels[item.level];
  element("drill-word").textContent = item.exercise ? words.drillWord : "";
  for (const strip of document.querySelectorAll(".drill")) strip.dataset.word = words.drill;
  element("headline").textContent = item.headline;
  element("line").textContent = item.line;
  element("until-label").textContent = words.until;
  element("until").textContent = formatUntil(item);
  element("sender-label").textContent = words.sender;
  element("sender").textContent = item.sender_name;
  element("now-label").textContent = words.now;
  startCrawl(item.crawl);
  tick();
  fit();
  // Only what a browser has really painted counts as shown.
  requestAnimationFrame(() => setTimeout(() => { if (current === item && !document.hidden) note(item.id, "shown"); }, 0));
}

function showIdle() {
  const body = document.body;
  body.dataset.state = token && fetched ? "idle" : "fault";
  delete body.dataset.level;
  delete body.dataset.phase;
  delete body.dataset.exercise;
  element("warning").hidden = true;
  element("idle").hidden = false;
  // Without a fresh playlist nobody knows that nothing is in force.
  element("idle-word").textContent = !token ? "缺少令牌 · Token missing" : fetched ? IDLE : CONNECTING;
}

function startCrawl(text) {
  const crawl = element("crawl");
  crawl.textContent = text.split(/\s*\n\s*/).filter(Boolean).join(SEPARATOR);
  crawl.style.animation = "none";
  const width = crawl.scrollWidth;
  // Wide screens are read from afar: a tenth of the width a second can be followed.
  crawl.style.setProperty("--crawl-seconds", `${Math.max(12, width / (innerWidth / 10))}s`);
  crawl.style.animation = "";
}

// Long words get smaller letters rather than being cut: the action first, for it has the largest.
function fit() {
  const [block, action, line] = [element("block"), element("action"), element("line")];
  const event = element("event");
  shrink("event", () => (
    block.scrollHeight > block.clientHeight + 1 || event.scrollWidth > event.clientWidth + 1 || lines(event) > 2
  ));
  set("line", 1);
  shrink("headline", () => lines(element("headline")) > 3);
  shrink("line", () => line.offsetHeight > action.clientHeight, 0.6);
  shrink("headline", () => line.offsetHeight > action.clientHeight, 0.6);
  shrink("line", () => line.offsetHeight > action.clientHeight, 0.3);
}

function set(name, scale) {
  element(name).style.setProperty(`--${name}-fit`, scale.toFixed(2));
}

function shrink(name, tooLarge, least = 0.5) {
  let scale = 1;
  for (set(name, scale); scale > least && tooLarge(); set(name, scale)) scale -= 0.04;
}

function lines(target) {
  return Math.round(target.offsetHeight / parseFloat(getComputedStyle(target).lineHeight));
}

function drawDots() {
  const dots = element("dots");
  dots.replaceChildren(
    ...(items.length > 1 ? items : []).map((item, index) => {
      const dot = document.createElement("li");
      dot.classList.toggle("on", index === position);
      return dot;
    }),
  );
}

const pad = (number) => String(number).padStart(2, "0");

function formatTime(date) {
  return `${pad(date.getHours())}:${pad(date.getMinutes())}`;
}

function formatUntil(item) {
  const end = new Date(item.expires);
  const day = locale(item) === "zh"
    ? `${end.getMonth() + 1}月${end.getDate()}日`
    : end.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return end.toDateString() === new Date(now()).toDateString() ? formatTime(end) : `${day} ${formatTime(end)}`;
}

function tick() {
  const date = new Date(now());
  element("idle-clock").textContent = formatTime(date);
  element("idle-date").textContent = date.toLocaleDateString("zh-CN", { year: "numeric", month: "long", day: "numeric", weekday: "long" });
  element("now").textContent = formatTime(date);
  if (current && current.expires <= now()) next();
  if (connected && Date.now() - lastHeard > SILENCE_MS) attempt.abort();
}

function setLink(text, fatal) {
  const link = element("link");
  if (fatal === true) link.dataset.fatal = "yes";
  if (fatal === false) delete link.dataset.fatal;
  if (text === null) return;
  link.textContent = text;
  link.hidden = !text;
}

addEventListener("resize", () => { if (current) { fit(); startCrawl(current.crawl); } });
addEventListener("hashchange", () => { token = readToken(); attempt?.abort(); });
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && current) note(current.id, "shown");
});

setInterval(tick, 1_000);
tick();
showIdle();
if (token) {
  follow();
}
