"""Moves what lands in the parking queue into the store, where `fenghuo parked` and the pages can look at it."""

from __future__ import annotations

from broker import logs
from broker.clock import now_ms
from broker.errors import StoreError, Unroutable
from broker.metrics import Metrics
from broker.store.contract import Store
from broker.transport.contract import LADDER_SECONDS, PARKING, Delivery, Subscription, Transport
from broker.transport.settling import unparked


class Parker:
    """Empties the parking queue."""

    def __init__(self, store: Store, transport: Transport, metrics: Metrics) -> None:
        self._store = store
        self._transport = transport
        self._metrics = metrics
        self._subscription: Subscription | None = None
        self._log = logs.get(role="parker")

    async def start(self) -> None:
        """Take parked messages."""
        self._subscription = await self._transport.consume(PARKING, self._on_delivery, prefetch=16)

    async def close(self) -> None:
        """Take no more."""
        if self._subscription is not None:
            await self._subscription.cancel()

    async def _on_delivery(self, delivery: Delivery) -> None:
        try:
            message, queue, reason = unparked(delivery.message)
        except Unroutable:
            # Dead-lettered by the server itself, which says so in headers of its own.
            message, queue, reason = delivery.message, delivery.queue, "it came back too often"
        try:
            await self._store.park(queue, reason, now_ms(), dict(message.headers), message.body)
        except StoreError as error:
            self._log.warning("parking_postponed", reason=str(error))
            await delivery.retry_later(LADDER_SECONDS[0])
            return
        self._metrics.parked.inc()
        self._log.error("message_parked", queue=queue, reason=reason)
        await delivery.ack()
