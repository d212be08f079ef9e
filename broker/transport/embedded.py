"""Queues inside the process: nothing to install, nothing that outlives it.

What survives a restart is what the outbox in the store holds. Receipts have no outbox, so publishing them
waits until their consumer has acknowledged: then "confirmed" means "committed", as with a server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from broker import logs
from broker.errors import TransportError
from broker.transport.contract import LADDER_SECONDS, PARKING, Handler, Message, all_queues
from broker.transport.settling import MAX_DELIVERIES, abandon, check_message, check_queue, parked, rung

log = logs.get(part="transport")


class _Entry:
    """A message in a queue, with who waits for it to be settled."""

    __slots__ = ("failures", "message", "room", "settled", "withdrawn")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.room: asyncio.Semaphore | None = None
        self.settled: asyncio.Future[None] | None = None
        self.failures = 0
        self.withdrawn = False

    def finish(self) -> None:
        """Give back the place in the queue and release the publisher that waits."""
        if self.room is not None:
            self.room.release()
            self.room = None
        if self.settled is not None and not self.settled.done():
            self.settled.set_result(None)

    def withdraw(self) -> None:
        """The publisher was told that it failed and may publish again: whoever has not taken it, will not."""
        self.withdrawn = True
        if self.room is not None:
            self.room.release()
            self.room = None


class EmbeddedDelivery:
    """A message in a consumer's hands."""

    def __init__(self, queue: _Queue, entry: _Entry, consumer: EmbeddedSubscription) -> None:
        self._queue = queue
        self._entry = entry
        self._consumer = consumer
        self._settled = False

    @property
    def message(self) -> Message:
        """The message."""
        return self._entry.message

    @property
    def queue(self) -> str:
        """The queue that it came from."""
        return self._queue.name

    @property
    def settled(self) -> bool:
        """Whether it was acknowledged, put off or parked."""
        return self._settled

    async def ack(self) -> None:
        """Done: the queue forgets it."""
        self._settle()
        self._entry.finish()

    async def retry_later(self, delay: float) -> None:
        """Give it again after `delay` seconds. Raises ValueError beyond the last rung."""
        rung(delay, self._queue.transport.ladder)
        self._settle()
        self._queue.put_later(self._entry, delay)

    async def park(self, reason: str) -> None:
        """Nobody can handle it: to the parking queue."""
        self._settle()
        self._queue.transport.put_parked(parked(self.message, self.queue, reason))
        self._entry.finish()

    async def failed(self, error: Exception) -> None:
        """The handler raised: again later, and to the parking queue when that does not help."""
        self._entry.failures += 1
        if self._entry.failures >= MAX_DELIVERIES:
            await self.park(f"handler failed {self._entry.failures} times: {type(error).__name__}: {error}")
        else:
            await self.retry_later(self._queue.transport.ladder[0])

    def _settle(self) -> None:
        if self._settled:
            raise RuntimeError(f"message {self.message.id} of {self.queue} was settled twice")
        self._settled = True
        self._consumer.settled(self)


class EmbeddedSubscription:
    """A running consumer."""

    def __init__(self, queue: _Queue, handler: Handler, prefetch: int) -> None:
        self._queue = queue
        self._handler = handler
        self._prefetch = prefetch
        self._in_hand: set[EmbeddedDelivery] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def has_room(self) -> bool:
        """Whether another message may be handed over now."""
        return len(self._in_hand) < self._prefetch

    def take(self, entry: _Entry) -> None:
        """Hand a message over, in a task of its own."""
        delivery = EmbeddedDelivery(self._queue, entry, self)
        self._in_hand.add(delivery)
        self._idle.clear()
        task = asyncio.create_task(self._handle(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def settled(self, delivery: EmbeddedDelivery) -> None:
        """A message left the hands of this consumer."""
        self._in_hand.discard(delivery)
        self._mark_idle()
        self._queue.pump()

    async def cancel(self) -> None:
        """Take no more messages; those in hand may still be settled."""
        self._queue.remove(self)

    async def drained(self) -> None:
        """Wait until nothing is in hand and no handler runs."""
        await self._idle.wait()

    async def abort(self) -> None:
        """Cancel the handlers that still run."""
        await abandon(self._tasks)

    async def _handle(self, delivery: EmbeddedDelivery) -> None:
        try:
            await self._handler(delivery)
        except Exception as error:
            log.exception("handler_failed", queue=delivery.queue, id=delivery.message.id)
            if not delivery.settled:
                await delivery.failed(error)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._mark_idle()

    def _mark_idle(self) -> None:
        if not self._in_hand and not self._tasks:
            self._idle.set()


class _Queue:
    """One queue: those waiting in order, and consumers taking turns."""

    def __init__(self, transport: EmbeddedTransport, name: str, capacity: int) -> None:
        self.transport = transport
        self.name = name
        self.room = asyncio.Semaphore(capacity)
        # Receipts of one shard are merged by one tracker at a time, as the server's single active consumer.
        self.single = name.startswith("receipts.")
        self.confirmed_by_consumer = self.single or name == PARKING
        self._waiting: deque[_Entry] = deque()
        self._consumers: deque[EmbeddedSubscription] = deque()
        self._timers: set[asyncio.TimerHandle] = set()
        self._confirms: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return sum(not entry.withdrawn for entry in self._waiting)

    def put(self, entry: _Entry) -> None:
        self._waiting.append(entry)
        self.pump()

    def put_later(self, entry: _Entry, delay: float) -> None:
        def due() -> None:
            self._timers.discard(timer)
            self.put(entry)

        timer = asyncio.get_running_loop().call_later(delay, due)
        self._timers.add(timer)

    def add(self, consumer: EmbeddedSubscription) -> None:
        self._consumers.append(consumer)
        self.pump()

    def remove(self, consumer: EmbeddedSubscription) -> None:
        if consumer in self._consumers:
            self._consumers.remove(consumer)
            self.pump()

    def pump(self) -> None:
        """Hand over what waits, for as long as a consumer has room."""
        while self._waiting:
            if self._waiting[0].withdrawn:
                self._waiting.popleft()
                continue
            consumer = self._next_consumer()
            if consumer is None:
                return
            consumer.take(self._waiting.popleft())

    def stop(self) -> None:
        """Nothing comes any more: no timers, no consumers, and publishers that wait are told."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._consumers.clear()
        self._waiting.clear()
        for confirm in self._confirms:
            if not confirm.done():
                confirm.set_exception(TransportError("the transport was closed before the consumer was done"))
        # Wakes the first publisher that waits for room; finding the transport closed, it wakes the next.
        self.room.release()

    async def confirmed(self, confirm: asyncio.Future[None]) -> None:
        """Wait until a message is settled. Raises TransportError when the transport closes before."""
        self._confirms.add(confirm)
        try:
            await confirm
        finally:
            self._confirms.discard(confirm)

    def _next_consumer(self) -> EmbeddedSubscription | None:
        candidates = 1 if self.single else len(self._consumers)
        for consumer in list(self._consumers)[:candidates]:
            if consumer.has_room:
                if not self.single:
                    self._consumers.remove(consumer)
                    self._consumers.append(consumer)
                return consumer
        return None


class EmbeddedTransport:
    """Queues in process, for one process that plays all roles.

    `capacity` messages fit into a queue; a publisher waits for room, and for the consumer of receipts, at most
    `timeout` seconds. Closing waits at most `drain` seconds for what is in hand.
    """

    durable = False

    def __init__(
        self,
        shards: int = 1,
        *,
        capacity: int = 10_000,
        timeout: float = 30.0,
        drain: float = 10.0,
        ladder: Sequence[int] = LADDER_SECONDS,
    ) -> None:
        self.ladder = tuple(ladder)
        self._shards = shards
        self._timeout = timeout
        self._drain = drain
        self._capacity = capacity
        self._queues: dict[str, _Queue] = {}
        self._subscriptions: list[EmbeddedSubscription] = []
        self._open = False

    async def start(self) -> None:
        """Open the queues, empty."""
        if not self._open:
            self._queues = {name: _Queue(self, name, self._capacity) for name in all_queues(self._shards)}
            self._open = True

    async def close(self) -> None:
        """Stop consumers, wait for what is in hand, tell the publishers that still wait. May be repeated."""
        if not self._open:
            return
        self._open = False
        for subscription in self._subscriptions:
            await subscription.cancel()
        try:
            async with asyncio.timeout(self._drain):
                await asyncio.gather(*(subscription.drained() for subscription in self._subscriptions))
        except TimeoutError:
            log.warning("close_deadline", seconds=self._drain)
        for subscription in self._subscriptions:
            await subscription.abort()
        self._subscriptions.clear()
        for queue in self._queues.values():
            queue.stop()

    async def publish(self, queue: str, message: Message, *, delay: float = 0.0) -> None:
        """Publish.

        A batch: returns once there is room for it. Receipts and parked messages: returns once their consumer
        has settled them. Raises Unroutable for a queue that does not exist, TransportError when that takes
        longer than the timeout or the transport closes, ValueError for what no transport can carry.
        """
        check_queue(queue, self._shards)
        check_message(message)
        if delay:
            rung(delay, self.ladder)
        target = self._queues[queue]
        self._require_open()
        entry = _Entry(message)
        try:
            async with asyncio.timeout(self._timeout + delay):
                await self._enqueue(target, entry, delay)
                if entry.settled is not None:
                    await target.confirmed(entry.settled)
                else:
                    # A publisher in a loop must not keep the consumers from running.
                    await asyncio.sleep(0)
        except TimeoutError:
            entry.withdraw()
            raise TransportError(f"{queue} took no message within {self._timeout:g} s") from None
        except asyncio.CancelledError:
            if entry.settled is not None:
                entry.withdraw()
            raise

    async def _enqueue(self, target: _Queue, entry: _Entry, delay: float) -> None:
        await target.room.acquire()
        entry.room = target.room
        if not self._open:
            entry.withdraw()
            raise TransportError("the transport was closed")
        if target.confirmed_by_consumer:
            entry.settled = asyncio.get_running_loop().create_future()
        if delay:
            target.put_later(entry, delay)
        else:
            target.put(entry)

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> EmbeddedSubscription:
        """Call `handler` for each message, at most `prefetch` unsettled at a time."""
        check_queue(queue, self._shards)
        if prefetch < 1:
            raise ValueError(f"a prefetch of {prefetch} would take nothing")
        self._require_open()
        subscription = EmbeddedSubscription(self._queues[queue], handler, prefetch)
        self._subscriptions.append(subscription)
        self._queues[queue].add(subscription)
        return subscription

    async def depth(self, queue: str) -> int:
        """How many messages wait in `queue` (not those in hand, not those put off)."""
        check_queue(queue, self._shards)
        self._require_open()
        return len(self._queues[queue])

    def put_parked(self, message: Message) -> None:
        """Into the parking queue, at once and whatever its size: parking must never hold up the way."""
        self._queues[PARKING].put(_Entry(message))

    @property
    def connected(self) -> bool:
        """Whether publishing could work now."""
        return self._open

    @property
    def blocked(self) -> bool:
        """Never: no server asks for a pause."""
        return False

    def _require_open(self) -> None:
        if not self._open:
            raise TransportError("the transport is not open")
