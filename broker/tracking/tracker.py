"""Takes receipts from its shards, merges them into the ledger in groups, and only then acknowledges them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from broker import logs
from broker.errors import NotFound, StoreError
from broker.ledger.arrays import Receipts
from broker.metrics import Metrics
from broker.store.contract import Store
from broker.transport.contract import Delivery, Subscription, Transport, receipts_queue
from broker.transport.wire import WireError, decode_receipts

_GROUP = 1024
"""Messages in one merge at most. While one group is merged the next one gathers, so that groups grow with the
load and nobody waits when there is none."""
_CLOSING_S = 0.02
_PAUSE_S = 0.5


class Tracker:
    """Keeps the ledger of one or more shards."""

    def __init__(self, store: Store, transport: Transport, metrics: Metrics, *, shards: Sequence[int]) -> None:
        self._store = store
        self._transport = transport
        self._metrics = metrics
        self._shards = shards
        self._waiting: asyncio.Queue[tuple[Delivery, Receipts]] = asyncio.Queue()
        self._subscriptions: list[Subscription] = []
        self._merger: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._log = logs.get(role="tracker")

    async def start(self) -> None:
        """Take receipts."""
        self._merger = asyncio.create_task(self._merge_forever(), name="tracker")
        for shard in self._shards:
            self._subscriptions.append(
                await self._transport.consume(receipts_queue(shard), self._on_delivery, prefetch=2 * _GROUP)
            )

    async def run(self) -> None:
        """Until closed; raises what killed the merging task."""
        assert self._merger is not None
        await asyncio.wait({self._merger})
        if not self._merger.cancelled():
            self._merger.result()

    async def close(self, grace: float = 10.0) -> None:
        """Take no more, merge what is in hand, stop."""
        for subscription in self._subscriptions:
            await subscription.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while not self._waiting.empty() or not self._idle.is_set():
                    await asyncio.sleep(_CLOSING_S)
        if self._merger is not None:
            self._merger.cancel()
            await asyncio.gather(self._merger, return_exceptions=True)

    async def _on_delivery(self, delivery: Delivery) -> None:
        try:
            receipts = decode_receipts(delivery.message)
        except WireError as error:
            await delivery.park(f"unreadable: {error}")
            return
        self._waiting.put_nowait((delivery, receipts))

    async def _merge_forever(self) -> None:
        while True:
            group = [await self._waiting.get()]
            self._idle.clear()
            while len(group) < _GROUP and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            await self._merge(group)
            self._idle.set()

    async def _merge(self, group: list[tuple[Delivery, Receipts]]) -> None:
        while True:
            try:
                with self._metrics.merge_seconds.time():
                    await self._store.merge([receipts for _, receipts in group])
            except (NotFound, IndexError) as error:
                await self._merge_one_by_one(group, error)
                return
            except StoreError as error:
                # Nothing is acknowledged, so nothing is lost: wait for the store and try the same again.
                self._log.warning("merge_postponed", messages=len(group), reason=str(error))
                await asyncio.sleep(_PAUSE_S)
            else:
                self._metrics.merged.inc(sum(len(receipts) for _, receipts in group))
                for delivery, _ in group:
                    await delivery.ack()
                return

    async def _merge_one_by_one(self, group: list[tuple[Delivery, Receipts]], error: Exception) -> None:
        """Find the receipts that fit no batch and park them; the others must not suffer."""
        if len(group) > 1:
            for entry in group:
                await self._merge([entry])
            return
        delivery, receipts = group[0]
        self._log.error("receipts_parked", batch=receipts.batch, reason=str(error))
        await delivery.park(str(error))
