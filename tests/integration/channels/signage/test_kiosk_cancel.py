"""A screen in a browser, when the warning that it shows is replaced or taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import async_playwright, expect

from broker.clock import now_ms
from broker.types import ChannelName
from channels.mailbox.tokens import device_token
from tests.support.mailbox import SECRET, a_batch, running

CHROMIUM = Path("/usr/bin/chromium")
SIGNAGE = ChannelName.SIGNAGE
WARNING = "urn:oid:2.49.0.0.156.1"


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")
async def test_a_screen_changes_to_the_update_then_to_the_all_clear_and_that_ends_by_itself(tmp_path: Path) -> None:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    async with async_playwright() as playwright, running(SIGNAGE, tmp_path) as rig:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        page = await browser.new_page(viewport={"width": 1920, "height": 1080})
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"{rig.channel.url}/kiosk/s1#token={device_token(SECRET, 'signage', 's1')}")
        await rig.send(a_batch(5, ["s1"], channel=SIGNAGE))
        await expect(page.locator("#level")).to_have_text("红色预警")
        await expect(page.locator(".sign-danger")).to_be_visible()
        await expect(page.locator(".sign-clear")).to_be_hidden()

        update = {"alert": "u1", "phase": "update", "replaces": [WARNING], "level": "Yellow", "headline": "降级"}
        await rig.send(a_batch(6, ["s1"], channel=SIGNAGE, **update))
        await expect(page.locator("#headline")).to_have_text("降级")
        await expect(page.locator("#level")).to_have_text("黄色预警")
        await expect(page.locator("#dots li")).to_have_count(0)

        await rig.channel.withdraw("u1")
        await rig.channel.withdraw(WARNING)
        await expect(page.locator("#idle-word")).to_contain_text("当前无预警")
        cancel = {"alert": "c1", "phase": "cancel", "replaces": [WARNING, "u1"], "headline": "预警解除"}
        await rig.send(a_batch(7, ["s1"], channel=SIGNAGE, **cancel, expires=now_ms() + 8_000))
        await expect(page.locator("#level")).to_have_text("预警解除")
        await expect(page.locator(".sign-danger")).to_be_hidden()
        await expect(page.locator(".sign-clear")).to_be_visible()
        colour = await page.locator("#block").evaluate("block => getComputedStyle(block).backgroundColor")
        assert colour == "rgb(46, 125, 50)", "no level's colour"
        await expect(page.locator("#idle-word")).to_contain_text("当前无预警", timeout=30_000)
        assert complaints == []
        await browser.close()
