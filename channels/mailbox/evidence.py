"""Evidence on its way from many small posts to few large receipts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import monotonic

import numpy as np

from broker.ledger.arrays import Receipts


class Evidence:
    """Gathers (batch, ordinal, state) for a short while and gives it out by the batch."""

    def __init__(self, flush_seconds: float, flush_reports: int) -> None:
        self._flush_seconds = flush_seconds
        self._flush_reports = flush_reports
        self._gathered: dict[int, list[tuple[int, int, int]]] = {}
        self._count = 0
        self._wake = asyncio.Event()
        self._full = asyncio.Event()
        self._closed = False

    def add(self, items: Iterable[tuple[int, int, int]], at: int) -> None:
        """Take (batch, ordinal, state word) triples that came in at `at` (UTC milliseconds, our clock)."""
        for batch, ordinal, state in items:
            self._gathered.setdefault(batch, []).append((ordinal, state, at))
            self._count += 1
        if self._count:
            self._wake.set()
        if self._count >= self._flush_reports:
            self._full.set()

    def close(self) -> None:
        """Let `listen` give out what is left and end."""
        self._closed = True
        self._wake.set()
        self._full.set()

    async def listen(self) -> AsyncIterator[Receipts]:
        """Receipts, one per batch and flush."""
        while True:
            await self._wake.wait()
            started = monotonic()
            while not self._full.is_set() and (left := started + self._flush_seconds - monotonic()) > 0:
                try:
                    await asyncio.wait_for(self._full.wait(), left)
                except TimeoutError:
                    break
            gathered, self._gathered, self._count = self._gathered, {}, 0
            if not self._closed:
                self._wake.clear()
                self._full.clear()
            for batch, items in gathered.items():
                table = np.array(items, np.int64)
                ordinals, states = table[:, 0].astype(np.uint16), table[:, 1].astype(np.uint16)
                yield Receipts(batch, ordinals, states, table[:, 2].copy())
            if self._closed and not self._gathered:
                return
