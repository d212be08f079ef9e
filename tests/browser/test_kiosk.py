from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from broker.clock import now_ms
from broker.types import ChannelName
from channels.mailbox.tokens import device_token
from tests.support.mailbox import SECRET, Rig, a_batch, running

CHROMIUM = Path("/usr/bin/chromium")
SIGNAGE = ChannelName.SIGNAGE
WALL = {"width": 1920, "height": 1080}
PHONE = {"width": 390, "height": 844}
LONG = "请低洼地带、河道沿线、山洪沟口和切坡建房户立即按预案转移到安全地点，停止一切户外活动，" * 2

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        started = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield started
        await started.close()


class Kiosk:
    """A page that shows one screen, with what its console complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


async def open_kiosk(
    browser: Browser, rig: Rig, screen: str, size: dict[str, int], token: str | None = None
) -> Kiosk:
    kiosk = Kiosk(await browser.new_page(viewport=size, timezone_id="Asia/Shanghai"))  # type: ignore[arg-type]
    fragment = f"#token={device_token(SECRET, 'signage', screen) if token is None else token}"
    await kiosk.page.goto(f"{rig.channel.url}/kiosk/{screen}{fragment if token != '' else ''}")
    return kiosk


async def test_a_red_warning_fills_the_screen_and_is_reported_as_held_and_shown(
    browser: Browser, tmp_path: Path
) -> None:
    async with running(SIGNAGE, tmp_path) as rig:
        kiosk = await open_kiosk(browser, rig, "s1", WALL)
        await expect(kiosk.page.locator("#idle-word")).to_contain_text("当前无预警")
        await rig.send(a_batch(5, ["s0", "s1"], channel=SIGNAGE))
        await expect(kiosk.page.locator("#headline")).to_have_text("合川区气象台发布暴雨红色预警")
        await expect(kiosk.page.locator("#level")).to_have_text("红色预警")
        await expect(kiosk.page.locator("#line")).to_have_text("立即停止户外活动")
        await expect(kiosk.page.locator("#crawl")).to_contain_text("降雨 80 毫米")
        await expect(kiosk.page.locator("#until")).to_contain_text(":")
        await expect(kiosk.page.locator(".drill-top")).to_be_hidden()
        colour = await kiosk.page.locator("#block").evaluate("block => getComputedStyle(block).backgroundColor")
        assert colour == "rgb(200, 16, 46)"
        async with asyncio.timeout(10):
            while (5, 1, 2) not in rig.evidence:
                await asyncio.sleep(0.05)
        assert {ordinal for _, ordinal, _ in rig.evidence} == {1}
        assert kiosk.complaints == [], "the strict policy holds"
        await kiosk.page.close()


@pytest.mark.parametrize("size", [WALL, PHONE], ids=["wall", "phone"])
async def test_a_drill_is_marked_above_below_and_beside_and_long_words_are_not_cut(
    browser: Browser, tmp_path: Path, size: dict[str, int]
) -> None:
    batch = a_batch(
        5, ["s1"], channel=SIGNAGE, exercise=True, line=f"【演练】{LONG}", event_name="地质灾害气象风险"
    )
    async with running(SIGNAGE, tmp_path, [batch]) as rig:
        kiosk = await open_kiosk(browser, rig, "s1", size)
        await expect(kiosk.page.locator("#drill-word")).to_have_text("演　练")
        for strip in (".drill-top", ".drill-bottom"):
            await expect(kiosk.page.locator(strip)).to_be_in_viewport(ratio=1)
            assert "演练" in await kiosk.page.locator(strip).evaluate(
                "strip => getComputedStyle(strip, '::before').content + strip.dataset.word"
            )
        inside = """() => {
            const box = (id) => document.getElementById(id).getBoundingClientRect();
            const above = (upper, lower) => box(upper).bottom <= box(lower).top + 1;
            return above("headline", "line") && above("line", "until-label") && above("event", "level")
                && box("line").right <= innerWidth && document.documentElement.scrollWidth <= innerWidth;
        }"""
        assert await kiosk.page.evaluate(inside)
        await kiosk.page.close()


async def test_the_gravest_warning_is_shown_first_and_an_expired_one_gives_way_to_the_clock(
    browser: Browser, tmp_path: Path
) -> None:
    soon = now_ms() + 5_000
    batches = [
        a_batch(4, ["s1"], channel=SIGNAGE, level="Blue", language="en", event_name="Rainstorm", expires=soon),
        a_batch(5, ["s1"], channel=SIGNAGE, level="Orange", expires=soon),
    ]
    async with running(SIGNAGE, tmp_path, batches) as rig:
        kiosk = await open_kiosk(browser, rig, "s1", WALL)
        await expect(kiosk.page.locator("#level")).to_have_text("橙色预警")
        await expect(kiosk.page.locator("#dots li")).to_have_count(2)
        await expect(kiosk.page.locator("#idle-word")).to_contain_text("当前无预警", timeout=15_000)
        await expect(kiosk.page.locator("#warning")).to_be_hidden()
        await kiosk.page.close()


async def test_a_screen_goes_on_showing_while_the_server_is_away_and_reports_again_to_the_next_one(
    browser: Browser, tmp_path: Path
) -> None:
    batch = a_batch(5, ["s1"], channel=SIGNAGE)
    async with running(SIGNAGE, tmp_path, [batch]) as rig:
        kiosk = await open_kiosk(browser, rig, "s1", WALL)
        await expect(kiosk.page.locator("#headline")).to_be_visible()
        port = rig.channel.port
    await expect(kiosk.page.locator("#link")).to_contain_text("连接中断")
    await expect(kiosk.page.locator("#headline")).to_be_visible()
    async with running(SIGNAGE, tmp_path, [batch], port=port) as rig:
        await expect(kiosk.page.locator("#link")).to_be_hidden(timeout=20_000)
        async with asyncio.timeout(10):
            while (5, 0, 2) not in rig.evidence:
                await asyncio.sleep(0.05)
        await kiosk.page.close()


@pytest.mark.parametrize(
    ("token", "place", "words"), [("", "#idle-word", "缺少令牌"), ("wrong", "#link", "令牌无效")]
)
async def test_a_screen_without_its_token_says_so_and_claims_nothing(
    browser: Browser, tmp_path: Path, token: str, place: str, words: str
) -> None:
    async with running(SIGNAGE, tmp_path, [a_batch(5, ["s1"], channel=SIGNAGE)]) as rig:
        kiosk = await open_kiosk(browser, rig, "s1", PHONE, token)
        await expect(kiosk.page.locator(place)).to_contain_text(words)
        assert "当前无预警" not in await kiosk.page.locator("#idle-word").inner_text()
        await expect(kiosk.page.locator("#warning")).to_be_hidden()
        await kiosk.page.close()
