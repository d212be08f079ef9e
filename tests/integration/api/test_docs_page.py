"""The page about the API in a real browser: complete, in both languages, on a desk and on a phone."""

from __future__ import annotations

import pytest

from broker.api.codes import CODES
from tests.support.broker import Api
from tests.support.browser import WIDTHS, chromium, opened, overflow


@pytest.mark.parametrize("width", sorted(WIDTHS))
async def test_the_page_shows_every_call_in_both_languages_and_fits(api: Api, width: int) -> None:
    async with chromium() as browser, opened(browser, width) as (page, faults):
        for language, title in (("zh", "烽火接口文档"), ("en", "Fenghuo API")):
            await page.goto(f"{api.server.url}/docs?lang={language}")
            assert await page.title() == title
            assert await page.get_attribute("html", "lang") == {"zh": "zh-CN", "en": "en"}[language]
            assert await overflow(page) == 0
            for operation in api.served.operations:
                assert operation.summary.in_(language) in await page.inner_text(f"#{operation.name}")
        assert faults.none(), faults


async def test_links_lead_to_the_other_language_to_problems_and_to_calls(api: Api) -> None:
    async with chromium() as browser, opened(browser) as (page, faults):
        await page.goto(f"{api.server.url}/docs")
        assert await page.get_attribute("html", "lang") == "zh-CN"  # as the browser prefers
        await page.click("text=English")
        assert await page.get_attribute("html", "lang") == "en"
        await page.click("nav.contents a[href='#cancelAlert']")
        assert await page.locator("#cancelAlert").is_visible()
        await page.click("#cancelAlert a:has-text('idempotency-key-reused')")
        assert page.url.endswith("/problems/idempotency-key-reused?lang=en")
        assert CODES["idempotency-key-reused"].title.en in await page.inner_text("main")
        await page.click(".top a:has-text('Problem codes')")
        assert await page.locator(".problem").count() == len(CODES)
        broken = await page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.href)")
        for address in sorted(set(broken)):
            assert (await page.request.get(address)).status == 200, address
        assert faults.none(), faults


async def test_every_problem_that_is_answered_names_a_page_that_explains_it(api: Api) -> None:
    for path, status in (("/v1/alerts", 401), ("/nowhere", 404), ("/v1/alerts?x=1", 400)):
        answer = await api.call("GET", path, department=None if status == 401 else "met-hechuan")
        assert answer.status == status
        page = await api.call(
            "GET", answer.json()["type"], department=None, headers={"Accept-Language": "en-GB,en"}
        )
        assert (page.status, page.media_type) == (200, "text/html")
        assert CODES[answer.json()["code"]].title.en in page.body.decode()
    for name in CODES:
        assert (await api.call("HEAD", f"/problems/{name}", department=None)).status == 200


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/problems", "/docs/style.css"])
async def test_what_is_known_is_not_sent_again_and_nothing_comes_from_elsewhere(api: Api, path: str) -> None:
    first = await api.call("GET", path, department=None)

    again = await api.call("GET", path, department=None, headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status, again.body) == (304, b"")
    assert "default-src 'none'" in first.headers["Content-Security-Policy"]
    assert b"<script" not in first.body
    assert b"http://" not in first.body.replace(b"http://www.w3.org", b"")
