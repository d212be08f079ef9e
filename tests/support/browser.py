"""A real Chromium for tests of pages, and a record of everything that went wrong in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright

_STAY_OFFLINE = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
"""Nothing but the test may use the network, and tests run as root in containers with a small /dev/shm."""

WIDTHS = {1440: 900, 390: 844}
"""The two sizes that every page must fit: a desk and a phone; width → height in CSS pixels."""


@dataclass
class Faults:
    """What a page complained of since it was opened."""

    console: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and exceptions that nothing caught."""
    requests: list[str] = field(default_factory=list)
    """Requests that failed or were answered with 400 and above."""

    def watch(self, page: Page) -> None:
        """Begin to listen."""
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.console.append(f"exception: {error}"))
        page.on("requestfailed", self._on_failed)
        page.on("response", self._on_response)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.console.append(f"{message.type}: {message.text}")

    def _on_failed(self, request: Request) -> None:
        # Leaving a page aborts its stream; that is no failure.
        if "ERR_ABORTED" not in (request.failure or ""):
            self.requests.append(f"{request.method} {request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.requests.append(f"{response.request.method} {response.url}: {response.status}")

    def none(self) -> bool:
        """Whether all went well."""
        return not self.console and not self.requests


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium; FENGHUO_CHROMIUM names another one."""
    path = os.environ.get("FENGHUO_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(_STAY_OFFLINE))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser, width: int = 1440, height: int | None = None
) -> AsyncIterator[tuple[Page, Faults]]:
    """A page in a context of its own (no shared cookies), and what it complains of."""
    size = {"width": width, "height": height or WIDTHS.get(width, 900)}
    context = await browser.new_context(viewport=size, locale="zh-CN", timezone_id="Asia/Shanghai")  # type: ignore[arg-type]
    try:
        page = await context.new_page()
        faults = Faults()
        faults.watch(page)
        yield page, faults
    finally:
        await context.close()


async def overflow(page: Page) -> int:
    """By how many CSS pixels the page is wider than its window; 0 when it fits."""
    wider: int = await page.evaluate(
        "Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth)"
    )
    return wider
