"""The relay: publishes work rows that are not yet marked, with confirms, then marks them.

A work row is the outbox entry, so a crash between confirm and mark publishes a batch twice; the claim decides
who sends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from broker import logs
from broker.clock import now_ms
from broker.errors import StoreError, TransportError
from broker.metrics import Metrics
from broker.store.contract import Store
from broker.store.records import BatchRecord, Work
from broker.transport.contract import LADDER_SECONDS, Transport, batch_queue
from broker.transport.wire import encode_batch

_GROUP = 256
_PAUSE_S = 0.5


class Relay:
    """Empties the outbox into the transport."""

    def __init__(self, store: Store, transport: Transport, metrics: Metrics, *, interval: float = 0.2) -> None:
        self._store = store
        self._transport = transport
        self._metrics = metrics
        self._interval = interval
        self._wake = asyncio.Event()
        self._log = logs.get(role="relay")

    def wake(self) -> None:
        """There is something in the outbox now."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        if not self._transport.durable:
            again = await self._store.forget_published()
            if again:
                self._log.info("outbox_published_anew", batches=again)
        while True:
            try:
                if await self.once():
                    continue
            except (StoreError, TransportError) as error:
                self._log.warning("relay_postponed", reason=str(error))
                await asyncio.sleep(_PAUSE_S)
            self._wake.clear()
            try:
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def once(self) -> int:
        """Publish one group of work rows; how many. Rows whose publish failed stay for the next time."""
        if self._transport.blocked:
            return 0
        works = await self._store.unpublished(_GROUP)
        if not works:
            return 0
        batches = await self._store.batches([work.batch for work in works])
        results = await asyncio.gather(
            *(self._publish(work, batch) for work, batch in zip(works, batches, strict=True)),
            return_exceptions=True,
        )
        confirmed = [
            (work.batch, work.attempt) for work, result in zip(works, results, strict=True) if result is None
        ]
        if confirmed:
            await self._store.mark_published(confirmed, now_ms())
        self._raise_first(results)
        return len(confirmed)

    async def _publish(self, work: Work, batch: BatchRecord) -> None:
        # Never beyond the ladder: the clock of the worker that set the time may be ahead of ours.
        delay = min(max(0.0, (work.not_before - now_ms()) / 1000), LADDER_SECONDS[-1])
        with self._metrics.confirm_seconds.time():
            await self._transport.publish(
                batch_queue(work.channel, work.lane), encode_batch(batch, work), delay=delay
            )
        self._metrics.published.labels(work.channel, work.lane).inc()

    @staticmethod
    def _raise_first(results: Sequence[BaseException | None]) -> None:
        for result in results:
            if result is not None:
                raise result
