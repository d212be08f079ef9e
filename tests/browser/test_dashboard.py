"""The live page in a real Chromium: both languages, desk and phone, numbers, live updates, breaks, bad text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from broker.dashboard.sessions import Sessions
from broker.ledger.state import DELIVERED, PRESENTED, Rank, Reason, word
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.types import AlertState
from tests.support.browser import WIDTHS, chromium, opened, overflow
from tests.support.dashboard import Ledgered, Running, running

SENT = word(Rank.SENT, attempt=1)
FAILED = word(Rank.FAILED, attempt=1, reason=Reason.UNDELIVERABLE)
SIZES = (1400, 60, 320, 12, 1100, 40, 260, 9)
DISTRICTS = (500117, 500117, 500117, 500117, 500151, 500151, 500151, 500151)
SHOWN = ("planned", "sent", "delivered", "presented", "failed")


@pytest.fixture
async def store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/fenghuo.db")
    await store.start()
    yield store
    await store.close()


@pytest.fixture
async def browser():
    async with chromium() as browser:
        yield browser


async def sign_in(page: Page, run: Running, language: str = "zh", theme: str = "dark") -> None:
    """Sign in as a person does."""
    await page.goto(f"{run.url}/sign-in?theme={theme}")
    await page.goto(f"{run.url}/sign-in?lang={language}")
    await page.fill("#name", run.name)
    await page.fill("#password", run.password)
    await page.click("button[type=submit]")
    await expect(page.locator("#link")).to_have_attribute("data-state", "live")


async def shown(page: Page) -> dict[str, dict[str, int]]:
    """The numbers by channel that the page shows now."""
    found: dict[str, dict[str, int]] = {}
    pairs: list[list[str]] = await page.eval_on_selector_all(
        "[data-count]", "all => all.map(each => [each.dataset.count, each.textContent])"
    )
    for key, text in pairs:
        channel, _, name = key.partition(".")
        found.setdefault(channel, {})[name] = int(text.replace(",", ""))
    return found


async def wanted(ledgered: Ledgered, alert: str) -> dict[str, dict[str, int]]:
    """What the store's counters say, with `failed` as every final state that is not arrival."""
    totals = await ledgered.totals(alert)
    found = {
        channel: {name: counts[name] for name in SHOWN} | {"failed": counts["final"] - counts["delivered"]}
        for channel, counts in totals.items()
    }
    found["all"] = {name: sum(counts[name] for counts in found.values()) for name in SHOWN}
    return found


async def settle(page: Page, numbers: dict[str, dict[str, int]]) -> None:
    """Wait until the page shows these sums; every single number is compared afterwards."""
    for name in SHOWN:
        cell = page.locator(f'[data-count="all.{name}"]')
        await expect(cell).to_have_text(f"{numbers['all'][name]:,}", timeout=15_000)
    assert await shown(page) == numbers


async def spread(ledgered: Ledgered, alert: str, share: float) -> None:
    """Send everything and let `share` of it arrive, half of that be presented, and two of each batch fail."""
    for batch in ledgered.plans[alert].batches:
        arrived = int((len(batch) - 2) * share)
        await ledgered.report(batch.id, len(batch), SENT)
        await ledgered.report(batch.id, arrived, DELIVERED)
        await ledgered.report(batch.id, arrived // 2, PRESENTED)
        await ledgered.report(batch.id, 2, FAILED, first=len(batch) - 2)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("language", ["zh", "en"])
async def test_the_page_shows_the_ledgers_numbers_and_follows_it_without_a_reload(
    store: Store, browser: Browser, language: str, width: int
):
    ledgered = Ledgered(store)
    alert = await ledgered.post(name="01A", ago=30)
    await ledgered.plan(alert, sizes=SIZES, districts=DISTRICTS)
    theme = "dark" if language == "zh" else "light"
    async with running(store) as run, opened(browser, width) as (page, faults):
        await sign_in(page, run, language, theme)
        await settle(page, await wanted(ledgered, "01A"))
        await page.evaluate("window.stayed = true")
        for share in (0.3, 0.95):
            await spread(ledgered, "01A", share)
            await settle(page, await wanted(ledgered, "01A"))
        await ledgered.move("01A", AlertState.COMPLETED)
        done = {"zh": "已完成", "en": "Completed"}[language]
        await expect(page.locator(".hero-line .state")).to_have_text(done)
        headline = {"zh": "发布暴雨红色预警", "en": "RED rainstorm warning"}[language]
        await expect(page.locator("#headline")).to_contain_text(headline)
        await expect(page.locator("#plot canvas")).to_be_visible()
        assert await page.evaluate("window.stayed") is True
        assert await overflow(page) == 0
        assert faults.none(), faults
        assert page.url.startswith(run.url)


@pytest.mark.parametrize("width", WIDTHS)
async def test_the_table_and_the_map_tell_the_same_of_a_district(store: Store, browser: Browser, width: int):
    ledgered = Ledgered(store)
    await ledgered.plan(await ledgered.post(name="01A"), sizes=SIZES, districts=DISTRICTS)
    await spread(ledgered, "01A", 0.6)
    mine = [row.counts for row in await store.counters("01A") if row.district == 500117]
    planned, delivered = (sum(counts[place] for counts in mine) for place in (0, 2))
    async with running(store) as run, opened(browser, width) as (page, faults):
        await sign_in(page, run)
        percent = f"{int(delivered * 1000 / planned) / 10:.1f}%"
        await expect(page.locator(".district-label", has_text="合川")).to_have_text(f"合川 {percent}")
        await expect(page.locator("path.step-half")).to_have_count(2)
        await page.focus("#as-table")
        await page.keyboard.press("Enter")
        await expect(page.locator('[data-cell="500117.planned"]')).to_have_text(f"{planned:,}")
        await expect(page.locator('[data-cell="500117.delivered"]')).to_have_text(f"{delivered:,}")
        await page.locator("tr", has_text="合川区").get_by_role("button").press("Enter")
        card = page.locator("#district-card")
        await expect(card).to_contain_text("合川区")
        await expect(card.locator("tbody tr").last).to_contain_text(f"{delivered:,}")
        assert await overflow(page) == 0
        await page.keyboard.press("Escape")
        await expect(card).to_be_hidden()
        assert faults.none(), faults


async def test_clicking_a_district_on_the_map_opens_its_numbers(store: Store, browser: Browser):
    ledgered = Ledgered(store)
    await ledgered.plan(await ledgered.post(name="01A"), sizes=(100, 10, 10, 10))
    async with running(store) as run, opened(browser) as (page, faults):
        await sign_in(page, run)
        district = page.locator("path.step-0")
        await expect(district).to_have_count(1)
        await district.dispatch_event("click")
        await expect(page.locator("#district-card")).to_contain_text("合川区")
        assert faults.none(), faults


@pytest.mark.parametrize("width", WIDTHS)
async def test_before_the_first_alert_the_page_explains_how_to_post_one(store: Store, browser: Browser, width: int):
    async with running(store) as run, opened(browser, width) as (page, faults):
        await sign_in(page, run)
        await expect(page.locator("#empty")).to_contain_text("还没有预警")
        await expect(page.locator("#example")).to_contain_text(f"{run.url}/v1/alerts")
        assert await overflow(page) == 0
        await Ledgered(store).post(name="01A")
        await expect(page.locator("#headline")).to_contain_text("暴雨红色预警")
        await expect(page.locator("#empty")).to_be_hidden()
        assert faults.none(), faults


@pytest.mark.parametrize("width", WIDTHS)
async def test_a_drill_is_unmistakable_and_left_out_of_the_sum(store: Store, browser: Browser, width: int):
    ledgered = Ledgered(store)
    for name, status in (("01A", "Actual"), ("02B", "Actual"), ("03C", "Exercise")):
        await ledgered.plan(await ledgered.post(name=name, status=status), sizes=(100, 10, 10, 10))
    async with running(store) as run, opened(browser, width) as (page, faults):
        await sign_in(page, run)
        banner = page.locator(".drill-banner")
        await expect(banner).to_have_text("演练 · 不是真实预警")
        await expect(banner).to_be_visible()
        border = await page.eval_on_selector("#main", "each => getComputedStyle(each).borderImageSource")
        assert "gradient" in border
        await expect(page.locator(".card[data-drill]")).to_have_count(1)
        assert await overflow(page) == 0
        await page.locator(".card[data-all]").click()
        await expect(banner).to_be_hidden()
        await expect(page.locator('[data-count="all.planned"]')).to_have_text("260")
        assert faults.none(), faults


async def test_markup_in_an_alert_is_shown_as_the_text_that_it_is(store: Store, browser: Browser):
    evil = """</script><script>window.hit=1</script><img src=x onerror="window.hit=1">'"&amp;"""
    ledgered = Ledgered(store)
    alert = await ledgered.post(name="01A", headline=evil)
    await ledgered.plan(alert, sizes=(10,), districts=(500117,))
    async with running(store) as run, opened(browser) as (page, faults):
        await sign_in(page, run)
        await expect(page.locator("#headline")).to_have_text(evil)
        await expect(page.locator(".card-headline").first).to_have_text(evil)
        assert await page.evaluate("window.hit") is None
        assert await page.locator("#main img[src=x]").count() == 0
        assert faults.none(), faults


async def test_after_a_break_the_page_comes_back_by_itself_with_what_it_missed(store: Store, browser: Browser):
    ledgered = Ledgered(store)
    await ledgered.plan(await ledgered.post(name="01A"), sizes=SIZES, districts=DISTRICTS)
    sessions = Sessions()
    async with opened(browser) as (page, faults):
        async with running(store, sessions=sessions) as run:
            await sign_in(page, run)
            await settle(page, await wanted(ledgered, "01A"))
            await page.evaluate("window.stayed = true")
        await expect(page.locator("#link")).to_have_attribute("data-state", "lost")
        await spread(ledgered, "01A", 0.5)
        person = (run.name, run.password)
        async with running(store, port=run.server.port, sessions=sessions, person=person):
            await expect(page.locator("#link")).to_have_attribute("data-state", "live", timeout=30_000)
            await settle(page, await wanted(ledgered, "01A"))
            assert await page.evaluate("window.stayed") is True
        refused = [each for each in faults.console if "ERR_" not in each]
        assert refused == []


async def test_after_a_restart_that_forgot_the_session_the_page_asks_to_sign_in(store: Store, browser: Browser):
    await Ledgered(store).post(name="01A")
    async with opened(browser) as (page, _faults):
        async with running(store) as run:
            await sign_in(page, run)
        async with running(store, port=run.server.port, person=(run.name, run.password)) as again:
            await page.wait_for_url(re.compile("/sign-in"), timeout=30_000)
            await sign_in(page, again)
            await expect(page.locator("#headline")).to_contain_text("暴雨")


async def test_the_choice_survives_switching_language_and_theme(store: Store, browser: Browser):
    ledgered = Ledgered(store)
    for which, name in enumerate(("01A", "02B", "03C")):
        await ledgered.post(which, name=name)
    async with running(store) as run, opened(browser) as (page, faults):
        await sign_in(page, run)
        await page.locator(".card", has_text="山洪").click()
        await page.locator("a[data-switch]").first.click()
        await expect(page.locator("#headline")).to_contain_text("flash flood")
        await page.get_by_role("link", name="Switch between dark and light").click()
        await expect(page.locator("html")).to_have_attribute("data-theme", "light")
        await expect(page.locator("#headline")).to_contain_text("flash flood")
        await page.get_by_role("button", name="Sign out").click()
        await page.wait_for_url(re.compile("/sign-in"))
        assert faults.none(), faults


async def test_two_viewers_see_an_alert_that_is_stopped_with_its_reason(store: Store, browser: Browser):
    ledgered = Ledgered(store)
    await ledgered.post(name="01A")
    async with running(store) as run, opened(browser) as (one, _), opened(browser, 390) as (other, _):
        for page in (one, other):
            await sign_in(page, run, "en")
        why = "the area <b>cannot</b> be resolved"
        event: Any = (await store.alert_events("01A"))[0]
        stopped = type(event)("01A", event.at + 10, AlertState.STOPPED, "dispatcher", why)
        assert await store.move_alert("01A", [AlertState.RELEASED], stopped, reason=why)
        for page in (one, other):
            await expect(page.locator(".reason")).to_have_text(f"Reason · {why}")
            await expect(page.locator(".hero-line .state")).to_have_text("Stopped")
            assert await overflow(page) == 0


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", WIDTHS)
async def test_all_text_has_the_contrast_that_wcag_aa_asks_for(
    store: Store, browser: Browser, width: int, theme: str
):
    ledgered = Ledgered(store)
    for which, name, status in ((0, "01A", "Actual"), (1, "02B", "Exercise"), (2, "03C", "Actual")):
        await ledgered.plan(await ledgered.post(which, name=name, status=status), sizes=SIZES, districts=DISTRICTS)
        await spread(ledgered, name, 0.9)
    async with running(store) as run, opened(browser, width) as (page, _faults):
        await sign_in(page, run, "zh", theme)
        for card in await page.locator(".card").all():
            await card.click()
            poor: list[str] = await page.evaluate(CONTRAST)
            assert poor == []
        # The measure itself must notice bad colours.
        await page.evaluate("document.documentElement.style.setProperty('--muted', '#7f7f7f80')")
        assert await page.evaluate(CONTRAST) != []


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = rgba(getComputedStyle(each).backgroundColor);
      if (colour[3] > 0.8) return colour;
    }
    return rgba("white");
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest("script, noscript, .skip")) continue;
    const style = getComputedStyle(element);
    const [front, back] = [light(rgba(style.color)), light(ground(element))];
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${element.className}: ${element.textContent}`);
  }
  return poor;
}"""
