"""The transport of production: RabbitMQ, quorum queues, confirms. `docs/architecture.md` has the reasons."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity

from broker import logs
from broker.errors import Problem, TransportError
from broker.transport import topology as layout
from broker.transport.consumer import RabbitSubscription
from broker.transport.contract import LADDER_SECONDS, PARKING, Handler, Message
from broker.transport.encoding import encode
from broker.transport.link import CONNECTION_ERRORS, Link, describe
from broker.transport.publisher import Publisher
from broker.transport.settling import check_message, check_queue, parked, rung

log = logs.get(part="transport")


class RabbitTransport:
    """Queues on a RabbitMQ server or cluster, version 3.10 or later.

    `window` messages are in flight at once; `timeout` seconds are for each publish and each request; `heartbeat`
    in seconds (a silent connection is given up after about three); `drain` seconds are for what is in hand when
    closing; `watch` seconds lie between checks of each consumer. `prefix` begins the name of everything on the
    server, so that several installations can share one.
    """

    durable = True

    def __init__(
        self,
        url: str,
        shards: int = 1,
        *,
        window: int = 256,
        timeout: float = 10.0,
        heartbeat: int = 10,
        drain: float = 10.0,
        watch: float = 5.0,
        prefix: str = layout.PREFIX,
        ladder: Sequence[int] = LADDER_SECONDS,
        limits: layout.Limits | None = None,
    ) -> None:
        self._shards = shards
        self._timeout = timeout
        self._drain = drain
        self._watch = watch
        self._prefix = prefix
        self._ladder = tuple(ladder)
        self._limits = limits
        name = f"{prefix}{os.getpid()}"
        # Apart, because under a memory or disk alarm the server stops reading from connections that publish.
        self._publishing = Link(url, f"{name} publish", heartbeat=heartbeat, timeout=timeout)
        self._consuming = Link(url, f"{name} consume", heartbeat=heartbeat, timeout=timeout)
        self._publisher = Publisher(self._publishing, layout.exchange_name(prefix), window=window, timeout=timeout)
        self._subscriptions: list[RabbitSubscription] = []
        self._asking: AbstractChannel | None = None
        self._asking_lock = asyncio.Lock()
        self._version: layout.Version | None = None
        self._open = False

    async def start(self) -> None:
        """Connect and declare the topology.

        Raises TransportError if the server cannot be reached, ConfigError if it is too old, is not RabbitMQ, or
        has queues of these names with other arguments.
        """
        try:
            connection = await self._publishing.open()
            if connection.transport is None:
                raise TransportError("the connection was closed at once")
            self._version = layout.server_version(connection.transport.connection.server_properties)
            specs = self.specs()
            async with connection.channel(publisher_confirms=False) as channel:
                await layout.declare(channel, specs, prefix=self._prefix, timeout=self._timeout)
            await self._consuming.open()
        except CONNECTION_ERRORS as error:
            await self._close_links()
            raise TransportError(f"cannot set up the queues: {describe(error)}") from error
        except BaseException:
            await self._close_links()
            raise
        self._open = True
        log.info("started", server=self._publishing.place, version=self._version)

    async def close(self) -> None:
        """Stop consumers, wait for what is in hand, then close channels and connections. May be repeated."""
        if not self._open:
            return
        self._open = False
        await asyncio.gather(*(subscription.cancel() for subscription in self._subscriptions))
        try:
            async with asyncio.timeout(self._drain):
                await asyncio.gather(*(subscription.drained() for subscription in self._subscriptions))
        except TimeoutError:
            log.warning("close_deadline", seconds=self._drain)
        await asyncio.gather(*(subscription.abort() for subscription in self._subscriptions))
        self._subscriptions.clear()
        await self._publisher.close()
        await self._close_links()

    async def publish(self, queue: str, message: Message, *, delay: float = 0.0) -> None:
        """Publish and wait for the confirm.

        Raises Unroutable if there is no such queue, TransportError if no confirm came within the timeout (the
        message may then have arrived all the same), ValueError for what no transport can carry.
        """
        check_queue(queue, self._shards)
        check_message(message)
        key = layout.rung_key(self.rung(delay), queue) if delay else queue
        self._require_open()
        await self._publisher.publish(key, encode(message), message.body)

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> RabbitSubscription:
        """Call `handler` for each message, at most `prefetch` unsettled at a time.

        Raises Unroutable if there is no such queue, TransportError if it cannot be consumed now.
        """
        check_queue(queue, self._shards)
        if prefetch < 1:
            raise ValueError(f"a prefetch of {prefetch} would take nothing")
        self._require_open()
        subscription = RabbitSubscription(
            self._consuming,
            self,
            queue,
            handler,
            prefix=self._prefix,
            prefetch=prefetch,
            watch=self._watch,
            timeout=self._timeout,
        )
        await subscription.start()
        self._subscriptions.append(subscription)
        return subscription

    async def depth(self, queue: str) -> int:
        """How many messages wait in `queue` (not those in hand). Raises Unroutable, TransportError."""
        check_queue(queue, self._shards)
        self._require_open()
        try:
            async with asyncio.timeout(self._timeout), self._asking_lock:
                if self._asking is None or self._asking.is_closed:
                    connection = await self._publishing.ready()
                    self._asking = connection.channel(publisher_confirms=False)
                    await self._asking.initialize()
                state = await self._asking.declare_queue(self._prefix + queue, passive=True)
                return state.declaration_result.message_count or 0
        except ChannelNotFoundEntity as error:
            raise TransportError(f"the server has lost the queue {self._prefix}{queue}") from error
        except CONNECTION_ERRORS as error:
            raise TransportError(f"cannot ask for the depth of {queue}: {describe(error)}") from error

    async def diff(self) -> list[Problem]:
        """What the server lacks or has otherwise than we would declare it. Raises TransportError."""
        self._require_open()
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._publishing.ready()
            return await layout.diff(connection, self.specs(), timeout=self._timeout)
        except CONNECTION_ERRORS as error:
            raise TransportError(f"cannot compare the queues: {describe(error)}") from error

    @property
    def connected(self) -> bool:
        """Whether publishing could work now."""
        return self._open and self._publishing.up

    @property
    def blocked(self) -> bool:
        """Whether the server asked publishers to pause (memory or disk alarm)."""
        return self._publishing.blocked

    @property
    def healthy(self) -> bool:
        """Whether both connections are up and the server has every consumer."""
        return (
            self.connected
            and self._consuming.up
            and all(subscription.attached for subscription in self._subscriptions)
        )

    @property
    def reconnections(self) -> int:
        """How often a connection was made anew."""
        return self._publishing.reconnections + self._consuming.reconnections

    @property
    def in_flight(self) -> int:
        """How many messages wait for their confirm."""
        return self._publisher.in_flight

    @property
    def version(self) -> layout.Version:
        """The server's version. Raises TransportError before `start`."""
        if self._version is None:
            raise TransportError("the transport is not open")
        return self._version

    def specs(self) -> list[layout.QueueSpec]:
        """The queues as declared on this server. Raises ConfigError for arguments it would ignore."""
        return layout.topology(
            self._shards, self.version, prefix=self._prefix, ladder=self._ladder, limits=self._limits
        )

    def rung(self, delay: float) -> int:
        """The rung for a delay in seconds. Raises ValueError beyond the last."""
        return rung(delay, self._ladder)

    async def put_off(self, queue: str, message: Message, rung: int, failures: int) -> None:
        """Publish to a rung of the ladder of `queue`; possible while closing. Raises TransportError."""
        properties = encode(message, failures=failures)
        await self._publisher.publish(layout.rung_key(rung, queue), properties, message.body)

    async def put_aside(self, queue: str, message: Message, reason: str) -> None:
        """Publish to parking; possible while closing. Raises TransportError."""
        aside = parked(message, queue, reason)
        await self._publisher.publish(PARKING, encode(aside), aside.body)

    async def _close_links(self) -> None:
        await asyncio.gather(self._publishing.close(), self._consuming.close())

    def _require_open(self) -> None:
        if not self._open:
            raise TransportError("the transport is not open")
