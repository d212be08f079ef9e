"""Consuming: handlers run in tasks of our own, and a consumer that vanished is noticed and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import aiormq
import aiormq.abc
from pamqp.commands import Basic

from broker import logs
from broker.errors import TransportError
from broker.transport.contract import Handler
from broker.transport.delivery import RabbitDelivery, Returns
from broker.transport.encoding import decode
from broker.transport.link import CONNECTION_ERRORS, Backoff, Link, being_cancelled, describe, end_task
from broker.transport.settling import abandon

log = logs.get(part="transport")

_STUCK_CHECKS = 2
"""Checks in a row that find messages waiting and none coming before a consumer counts as dead."""


class RabbitSubscription:
    """A consumer on a channel of its own, under supervision.

    `watch` is the time in seconds between two checks that it is still alive; `timeout` is for each request.
    """

    def __init__(
        self,
        link: Link,
        returns: Returns,
        queue: str,
        handler: Handler,
        *,
        prefix: str,
        prefetch: int,
        watch: float,
        timeout: float,
    ) -> None:
        self._link = link
        self._returns = returns
        self._queue = queue
        self._name = prefix + queue
        self._prefix = prefix
        self._handler = handler
        self._prefetch = prefetch
        self._watch = watch
        self._timeout = timeout
        self._channel: aiormq.Channel | None = None
        self._tag: str | None = None
        self._lost = asyncio.Event()
        self._in_hand: set[RabbitDelivery] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._delivered = 0
        self._supervisor: asyncio.Task[None] | None = None
        self._finisher: asyncio.Task[None] | None = None

    @property
    def queue(self) -> str:
        """The queue that it consumes."""
        return self._queue

    @property
    def attached(self) -> bool:
        """Whether the server has this consumer now, as far as anyone can know."""
        return self._channel is not None and not self._channel.is_closed and not self._lost.is_set()

    async def start(self) -> None:
        """Attach. Raises TransportError if that fails; later losses are repaired in the background."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._attach()
        except CONNECTION_ERRORS as error:
            raise TransportError(f"cannot consume {self._name}: {describe(error)}") from error
        self._supervisor = asyncio.create_task(self._supervise(), name=f"consumer {self._name}")

    async def cancel(self) -> None:
        """Take no more messages; those in hand may still be settled. May be repeated."""
        if self._supervisor is None:
            return
        supervisor, self._supervisor = self._supervisor, None
        await end_task(supervisor)
        if self._channel is not None and self._tag is not None and not self._channel.is_closed:
            await self._quietly(self._channel.basic_cancel(self._tag, timeout=self._timeout))
        self._finisher = asyncio.create_task(self._finish(), name=f"drain {self._name}")

    async def drained(self) -> None:
        """After `cancel`: wait until nothing is in hand and no handler runs."""
        if self._finisher is not None:
            await asyncio.shield(self._finisher)

    async def abort(self) -> None:
        """After `cancel`: cancel the handlers that still run, give back what is in hand."""
        if self._finisher is not None:
            await end_task(self._finisher)
        await abandon(self._tasks)
        await self._close_channel()

    def settled(self, delivery: RabbitDelivery) -> None:
        """A message left the hands of this consumer."""
        self._in_hand.discard(delivery)
        self._mark_idle()

    async def _finish(self) -> None:
        await self._idle.wait()
        await self._close_channel()

    async def _supervise(self) -> None:
        backoff = Backoff(0.1, 5.0)
        while True:
            await self._until_lost()
            log.warning("consumer_lost", queue=self._name)
            while True:
                try:
                    async with asyncio.timeout(self._timeout):
                        await self._attach()
                except asyncio.CancelledError:
                    if being_cancelled():
                        raise
                except CONNECTION_ERRORS as error:
                    log.warning("attach_failed", queue=self._name, reason=describe(error))
                else:
                    log.info("consumer_attached", queue=self._name)
                    backoff.reset()
                    break
                await asyncio.sleep(backoff.next())

    async def _attach(self) -> None:
        """Consume, on the channel that there is if it lives: what is in hand can then still be settled."""
        self._forget_stale()
        channel = self._channel
        if channel is None or channel.is_closed:
            channel = await self._link.channel(publisher_confirms=False)
            channel.on_consumer_cancel_callbacks.add(self._cancelled_by_server)
            channel.closing.add_done_callback(self._channel_died)
            self._channel = channel
            # For each consumer, never for the channel: quorum queues answer that by closing the connection.
            await channel.basic_qos(prefetch_count=self._prefetch, timeout=self._timeout)
        self._lost.clear()
        # Passively: the queue is there as declared or this is an error, never a queue of another make.
        await channel.queue_declare(self._name, passive=True, timeout=self._timeout)
        consumed = await channel.basic_consume(self._name, self._receiver(channel), timeout=self._timeout)
        self._tag = consumed.consumer_tag
        if channel.is_closed:
            self._lost.set()

    def _receiver(self, channel: aiormq.abc.AbstractChannel) -> aiormq.abc.ConsumerCallback:
        async def receive(delivered: aiormq.abc.DeliveredMessage) -> None:
            tag = delivered.delivery_tag
            if tag is None:
                return
            message, failures = decode(delivered, self._queue, self._prefix)
            self._delivered += 1
            delivery = RabbitDelivery(self, self._returns, channel, tag, message, failures)
            self._in_hand.add(delivery)
            self._idle.clear()
            # Not in this task: it belongs to the channel and is cancelled with it.
            task = asyncio.create_task(self._handle(delivery))
            self._tasks.add(task)
            task.add_done_callback(self._forget)

        return receive

    async def _handle(self, delivery: RabbitDelivery) -> None:
        try:
            await self._handler(delivery)
        except Exception as error:
            log.exception("handler_failed", queue=self._name, id=delivery.message.id)
            if not delivery.settled:
                await delivery.failed(error)

    def _channel_died(self, _: object) -> None:
        if self._channel is None or self._channel.is_closed:
            self._lost.set()
        self._forget_stale()

    def _cancelled_by_server(self, frame: Basic.Cancel) -> None:
        if frame.consumer_tag == self._tag:
            self._lost.set()

    async def _until_lost(self) -> None:
        seen, stuck = self._delivered, 0
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(self._watch):
                    await self._lost.wait()
            except TimeoutError:
                waiting = await self._check()
                stuck = stuck + 1 if waiting and seen == self._delivered and not self._in_hand else 0
                seen = self._delivered
                if stuck >= _STUCK_CHECKS:
                    log.warning("consumer_stuck", queue=self._name)
                    await self._close_channel()
                    self._lost.set()

    async def _check(self) -> bool:
        """Whether messages wait although this consumer could have them. Sets lost if the server has no consumer.

        Of a queue with a single active consumer, the others rightly get nothing.
        """
        channel = self._channel
        if channel is None or channel.is_closed:
            self._lost.set()
            return False
        try:
            state = await channel.queue_declare(self._name, passive=True, timeout=self._timeout)
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            self._lost.set()
            return False
        except CONNECTION_ERRORS as error:
            log.warning("check_failed", queue=self._name, reason=describe(error))
            await self._close_channel()
            self._lost.set()
            return False
        if not state.consumer_count or self._tag not in channel.consumers:
            if not self._in_hand:
                await self._close_channel()
            self._lost.set()
        return bool(state.message_count) and not self._queue.startswith("receipts.")

    def _forget_stale(self) -> None:
        self._in_hand = {delivery for delivery in self._in_hand if not delivery.stale}
        self._mark_idle()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._mark_idle()

    def _mark_idle(self) -> None:
        if not self._tasks and all(delivery.stale for delivery in self._in_hand):
            self._idle.set()

    async def _close_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None and not channel.is_closed:
            await self._quietly(channel.close(timeout=self._timeout))
        self._forget_stale()

    async def _quietly(self, request: Awaitable[object]) -> None:
        try:
            await request
        except asyncio.CancelledError:
            if being_cancelled():
                raise
        except CONNECTION_ERRORS as error:
            log.debug("wind_down", queue=self._name, reason=describe(error))
