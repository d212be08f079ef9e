"""Knowing which alerts are over, so that nothing more of them is sent and the channel takes back what waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from broker.clock import now_ms
from broker.errors import StoreError
from broker.store.contract import Alerts


class Stops:
    """Asks the store a few times a second which alerts are cancelled or superseded.

    What is over stays over, so nothing is ever unlearnt, and a store that cannot be asked only makes news late.
    """

    def __init__(
        self, store: Alerts, withdraw: Callable[[str], Awaitable[None]], log: Any, *, interval: float
    ) -> None:
        self._store = store
        self._withdraw = withdraw
        self._log = log
        self._interval = interval
        self._over: set[str] = set()
        self._withdrawn: set[str] = set()
        self._news = asyncio.Event()
        self._deaf = False
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __contains__(self, alert: str) -> bool:
        """Whether nothing more of this alert may be sent."""
        return alert in self._over

    async def start(self) -> None:
        """Ask once, so that nothing that is over already is begun, and go on asking."""
        await self._look()
        self._task = asyncio.create_task(self._run(), name="stops")

    async def close(self, grace: float = 10.0) -> None:
        """Ask no more; a question that is under way is let end, since breaking it off costs a connection."""
        self._closing.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=grace)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self, alert: str) -> None:
        """Until nothing more of this alert may be sent."""
        while alert not in self._over:
            await self._news.wait()

    async def _run(self) -> None:
        while not await self._closed(within=self._interval):
            await self._look()

    async def _closed(self, *, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                return await self._closing.wait()
        except TimeoutError:
            return False

    async def _look(self) -> None:
        try:
            found = await self._store.over(now_ms())
        except StoreError as error:
            if not self._deaf:
                self._log.warning("stops_unknown", reason=str(error))
            self._deaf = True
            return
        if self._deaf:
            self._deaf = False
            self._log.info("stops_known_again")
        fresh = set(found) - self._over
        if fresh:
            self._over |= fresh
            # Whoever waits is woken by this event; who comes later waits for the next.
            news, self._news = self._news, asyncio.Event()
            news.set()
        for alert in found:
            if alert not in self._withdrawn:
                await self._take_back(alert)

    async def _take_back(self, alert: str) -> None:
        try:
            await self._withdraw(alert)
        except Exception:  # noqa: BLE001 - a fault of ours with one alert must not keep the others going out
            # It is tried again.
            self._log.exception("withdraw_failed", alert=alert)
        else:
            self._withdrawn.add(alert)
            self._log.info("alert_withdrawn", alert=alert)
