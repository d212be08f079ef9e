"""One connection to the server that comes back by itself.

The client library can restore connections too, but waits a fixed time before each attempt (so all processes
return at the same instant), declares again what it once declared, and holds channels weakly. Here: growing
waits with jitter, and whoever uses the connection opens its channels anew.
"""

from __future__ import annotations

import asyncio
import random

import aio_pika
import aiormq
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from yarl import URL

from broker import logs
from broker.errors import TransportError

log = logs.get(part="transport")

CONNECTION_ERRORS = (AMQPError, OSError, TimeoutError, RuntimeError)
"""What the client library raises when the server or the way to it fails."""


class Backoff:
    """Growing waits, each drawn between half and the whole, so that many do not return at once."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = self._next = first
        self._longest = longest

    def reset(self) -> None:
        """Begin with the first wait again."""
        self._next = self._first

    def next(self) -> float:
        """The next wait in seconds."""
        wait, self._next = self._next, min(self._next * 2, self._longest)
        return wait * random.uniform(0.5, 1.0)


class Link:
    """A connection under supervision. `timeout` seconds are for each attempt, `heartbeat` is in seconds."""

    def __init__(self, url: str, name: str, *, heartbeat: int, timeout: float) -> None:
        self._url = URL(url)
        self._name = name
        self._heartbeat = heartbeat
        self._timeout = timeout
        self._connection: AbstractConnection | None = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self.reconnections = 0
        """How often the connection was made anew."""

    @property
    def place(self) -> str:
        """The address without credentials, for messages."""
        return f"{self._url.host}:{self._url.port or 5672}{self._url.path}"

    @property
    def up(self) -> bool:
        """Whether there is a connection now, as far as anyone can know."""
        return self._up.is_set()

    @property
    def blocked(self) -> bool:
        """Whether the server asked to pause publishing."""
        return self._connection is not None and self.up and _is_blocked(self._connection)

    async def open(self) -> AbstractConnection:
        """Connect for the first time. Raises TransportError at once if that fails."""
        try:
            connection = await self._connect()
        except CONNECTION_ERRORS as error:
            raise TransportError(f"no connection to RabbitMQ at {self.place}: {describe(error)}") from error
        self._supervisor = asyncio.create_task(self._supervise(), name=f"link {self._name}")
        return connection

    async def ready(self) -> AbstractConnection:
        """The connection, waiting until there is one."""
        while True:
            await self._up.wait()
            if self._connection is not None:
                return self._connection

    async def channel(self, *, publisher_confirms: bool) -> aiormq.Channel:
        """A new channel of the client library's lower layer, on the connection once there is one.

        The lower layer tells of cancelled consumers and need not wait for the socket; the upper one hides both.
        Messages that no queue takes raise.
        """
        connection = await self.ready()
        if connection.transport is None:
            raise ChannelInvalidStateError("the connection is closing")
        channel = await connection.transport.connection.channel(
            publisher_confirms=publisher_confirms, on_return_raises=True, timeout=self._timeout
        )
        assert isinstance(channel, aiormq.Channel)
        return channel

    async def close(self) -> None:
        """Close for good. May be repeated."""
        if self._supervisor is not None:
            await end_task(self._supervisor)
            self._supervisor = None
        self._up.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            await _close(connection, self._timeout)

    async def _supervise(self) -> None:
        backoff = Backoff(0.1, 5.0)
        while True:
            await self._down.wait()
            lost, self._connection = self._connection, None
            if lost is not None:
                await _close(lost, self._timeout)
            try:
                await self._connect()
            except CONNECTION_ERRORS as error:
                log.warning("reconnect_failed", link=self._name, reason=describe(error))
                await asyncio.sleep(backoff.next())
            else:
                backoff.reset()
                self.reconnections += 1
                log.info("reconnected", link=self._name)

    async def _connect(self) -> AbstractConnection:
        # The timeout is ours: for its own, the client library makes the attempt a task, and when a failure meets
        # our cancellation nobody reads that task's error.
        async with asyncio.timeout(self._timeout):
            connection = await aio_pika.connect(
                self._url, heartbeat=self._heartbeat, client_properties={"connection_name": self._name}
            )

        def lost(_: object, error: BaseException | None) -> None:
            if self._connection is connection:
                log.warning("connection_lost", link=self._name, reason=describe(error))
                self._up.clear()
                self._down.set()

        self._connection = connection
        self._down.clear()
        self._up.set()
        connection.close_callbacks.add(lost)
        if connection.transport is None or connection.transport.connection.is_closed:
            lost(connection, None)
        return connection


async def _close(connection: AbstractConnection, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            await connection.close()
    except asyncio.CancelledError:
        if being_cancelled():
            raise
    except CONNECTION_ERRORS as error:
        log.debug("close_failed", reason=describe(error))


def being_cancelled() -> bool:
    """Whether somebody cancels the current task.

    The client library also answers with CancelledError when a channel dies under a call.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task until it is done.

    Once is not enough: the client library uses `asyncio.wait_for`, which in Python 3.11 swallows a cancellation
    that meets the answer it waits for.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.5)


def describe(error: BaseException | None) -> str:
    """An error in a few words; some of the client library's have no text."""
    if error is None:
        return "closed"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _is_blocked(connection: AbstractConnection) -> bool:
    # The client library keeps this to itself (and goes on writing); a contract test against a server under
    # alarm tells when it moves.
    underlay = connection.transport.connection if connection.transport is not None else None
    unblocked = getattr(underlay, "_Connection__connection_unblocked", None)
    return isinstance(unblocked, asyncio.Event) and not unblocked.is_set()
