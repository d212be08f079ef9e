// The live stream: opens it, opens it again after a break, and says in which state it is.
const SILENT_MS = 40000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10000;

/** Follow the stream at `url`. `on` has snapshot, change, trouble, beat and state(name). */
export function follow(url, on) {
  let source = null;
  let wait = FIRST_WAIT_MS;
  let silence = 0;

  function heard() {
    clearTimeout(silence);
    silence = setTimeout(broken, SILENT_MS);
  }

  function open() {
    source = new EventSource(url);
    for (const name of ["snapshot", "change", "trouble", "beat"]) {
      source.addEventListener(name, (event) => {
        heard();
        if (name === "snapshot") {
          wait = FIRST_WAIT_MS;
          on.state("live");
        }
        on[name](JSON.parse(event.data));
      });
    }
    source.onerror = broken;
    heard();
  }

  // The browser's own way to reconnect gives up for good on some errors, so we do it, each page at its own pace.
  function broken() {
    clearTimeout(silence);
    source?.close();
    source = null;
    on.state("lost");
    setTimeout(again, wait * (0.5 + Math.random()));
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }

  async function again() {
    try {
      const answer = await fetch("/dashboard/session", { cache: "no-store" });
      if (answer.status === 401) {
        location.assign("/sign-in");
        return;
      }
      if (!answer.ok) throw new Error(answer.statusText);
    } catch {
      broken();
      return;
    }
    open();
  }

  // A page that is left must not count as a viewer while the browser keeps it for the way back.
  addEventListener("pagehide", () => { clearTimeout(silence); source?.close(); });
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  open();
}
