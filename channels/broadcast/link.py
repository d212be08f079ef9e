"""The broadcaster's connection to the MQTT server: one persistent session, held while the channel lives."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque

from broker import logs
from broker.mqtt.client import Connection, ConnectionRefused, Done, Server, connect
from broker.mqtt.wire import Connect, Publish


class Link:
    """Connects, comes back by itself, and queues what comes in until it is taken and acknowledged.

    A packet id belongs to its connection: what is acknowledged only after that has ended comes again.
    """

    def __init__(self, server: Server, wish: Connect, filters: tuple[str, ...], *, reconnect: float) -> None:
        self._server = server
        self._wish = wish
        self._filters = filters
        self._reconnect = reconnect
        self._connection: Connection | None = None
        self._ready = asyncio.Event()
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._arrived: deque[tuple[Connection, Publish]] = deque()
        self._waiting = asyncio.Event()
        self._log = logs.get(channel="broadcast")
        self.closed = False

    @property
    def up(self) -> bool:
        """Whether messages can be published now."""
        return self._ready.is_set() and self._connection is not None and self._connection.alive

    async def start(self, patience: float) -> None:
        """Begin, and wait up to `patience` seconds for the first connection.

        Raises ConnectionRefused if the server does not accept the account; a server that cannot be reached is
        tried again for ever.
        """
        try:
            await self._open()
        except OSError as error:
            self._log.warning("mqtt_unreachable", reason=str(error))
        self._task = asyncio.create_task(self._hold(), name="broadcast-link")
        try:
            await asyncio.wait_for(self._ready.wait(), patience)
        except TimeoutError:
            pass

    async def close(self) -> None:
        """Say goodbye; the session stays with the server."""
        self.closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            self._connection.close()
        self._ready.clear()
        self._waiting.set()

    def publish(self, topic: str, payload: bytes, done: Done) -> bool:
        """Send at QoS 1; False if there is no connection, and `done` is never told."""
        return self.up and self._connection is not None and self._connection.publish(topic, payload, done)

    async def take(self) -> list[tuple[Connection, Publish]]:
        """Everything that has come in, with its connection; empty only once closed."""
        while not self._arrived and not self.closed:
            self._waiting.clear()
            await self._waiting.wait()
        taken = list(self._arrived)
        self._arrived.clear()
        return taken

    def received(self, connection: Connection, message: Publish) -> None:
        """Queue what came (Taker)."""
        self._arrived.append((connection, message))
        self._waiting.set()

    def lost(self, connection: Connection, why: str) -> None:
        """A connection has ended (Taker)."""
        if connection is self._connection:
            self._ready.clear()
            self._lost.set()
        if not self.closed:
            self._log.warning("mqtt_lost", reason=why)

    async def _open(self) -> None:
        self._lost.clear()
        self._connection = None
        connection = await connect(self._server, self._wish, self)
        self._connection = connection
        await connection.subscribe(*self._filters)
        if connection.alive:
            self._ready.set()

    async def _hold(self) -> None:
        pause = 0.1
        while True:
            if not self.up:
                try:
                    await self._open()
                    pause = 0.1
                except (OSError, ConnectionRefused) as error:
                    self._log.warning("mqtt_unreachable", reason=str(error))
                    if self._connection is not None:
                        self._connection.abort()
                    await asyncio.sleep(pause * (0.5 + random.random()))
                    pause = min(pause * 2, self._reconnect)
                    continue
            try:
                await asyncio.wait_for(self._lost.wait(), 1.0)
            except TimeoutError:
                if self._connection is not None:
                    self._connection.tend(time.monotonic())
