"""A far end that answers at once: what is left to measure is the broker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from broker.clock import now_ms
from broker.ledger.arrays import Receipts
from broker.ledger.state import DELIVERED
from broker.store.records import RenditionRecord
from broker.types import ChannelName
from channels.channel import ChannelContext, Outcomes, Stopped, Window, submitted


class InstantChannel:
    """Takes every window whole and reports each recipient as delivered, in a receipt of its own."""

    name = ChannelName.SMS
    window = 4096

    def __init__(self) -> None:
        self._evidence: deque[Receipts] = deque()
        self._wake = asyncio.Event()
        self._closed = False

    @property
    def healthy(self) -> bool:
        """Always."""
        return True

    async def start(self, context: ChannelContext) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """What is left is given out first."""
        self._closed = True
        self._wake.set()

    async def send(self, window: Window, rendition: RenditionRecord, stop: Stopped) -> Outcomes:  # noqa: ARG002
        """Sent, and evidence of the arrival follows."""
        now = now_ms()
        self._evidence.append(Receipts.uniform(window.batch, window.ordinals, DELIVERED, now))
        self._wake.set()
        return submitted(window, at=now)

    async def withdraw(self, alert: str) -> None:
        """Nothing waits here."""

    async def listen(self) -> AsyncIterator[Receipts]:
        """One piece for each window."""
        while True:
            while self._evidence:
                yield self._evidence.popleft()
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()
