"""A light MQTT 3.1.1 client: thousands in one process, and acknowledgements in the hands of the caller.

A message that comes in at QoS 1 is acknowledged when its taker says so, not when it is read off the socket:
what a crash catches half done is sent again by the server.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

from broker.errors import ConfigError, FenghuoError, Problem
from broker.mqtt import wire
from broker.mqtt.wire import Connect, Kind, MalformedPacket, Packet, Publish, Splitter

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


class ConnectionRefused(FenghuoError):
    """The MQTT server does not let this client in."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the MQTT server is."""

    host: str
    port: int
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, place: str, *, authority: str | None = None) -> Server:
        """From `mqtt://host[:port]` or `mqtts://…`; `authority` is a file of CA certificates.

        Raises ConfigError.
        """
        parts = urlsplit(url if "//" in url else f"mqtt://{url}")
        try:
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            port = 0
        if parts.scheme not in _PORTS or not parts.hostname or not port or parts.username or parts.path.strip("/"):
            raise ConfigError([Problem(place, "mqtt.url", "expected mqtt://host:port or mqtts://host:port", url)])
        tls = ssl.create_default_context(cafile=authority) if parts.scheme == "mqtts" else None
        return cls(parts.hostname, port, tls)


class Taker(Protocol):
    """What a connection tells its owner."""

    def received(self, connection: Connection, message: Publish) -> None:
        """A message came; at QoS 1 `connection.acknowledge(message.packet_id)` is owed."""
        ...

    def lost(self, connection: Connection, why: str) -> None:
        """The connection has ended, once, after it had been let in."""
        ...


Done = Callable[[bool], None]
"""Told True when the server has acknowledged, False when the connection ended before it did."""


class Connection(asyncio.Protocol):
    """One connection, from CONNECT to its end. Made by `connect`."""

    __slots__ = ("_closed", "_entered", "_last_id", "_pending", "_splitter", "_taker", "_transport", "_why",
                 "heard", "keepalive", "pinged", "resumed", "said")  # fmt: skip

    def __init__(self, wish: Connect, taker: Taker) -> None:
        self._taker = taker
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None
        self._pending: dict[int, Done | asyncio.Future[list[int]]] = {}
        self._last_id = 0
        self._why = "closed by the server"
        self._closed = False
        self._entered: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self.keepalive = wish.keepalive
        self.resumed = False
        """Whether the server kept the session (Session Present)."""
        self.heard = self.said = time.monotonic()
        self.pinged = False

    async def entered(self) -> None:
        """Wait for CONNACK. Raises ConnectionRefused, ConnectionResetError."""
        assert self._entered is not None
        await self._entered
        self._entered = None

    @property
    def alive(self) -> bool:
        """Whether something sent now has a chance."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def unacknowledged(self) -> int:
        """Messages and subscriptions that the server has not answered yet."""
        return len(self._pending)

    def publish(self, topic: str, payload: bytes, done: Done) -> bool:
        """Send at QoS 1. False, and `done` is never told, if there is no connection to send on."""
        if not self.alive or len(self._pending) >= 60_000:
            return False
        number = self._next_id()
        self._pending[number] = done
        self._write(Publish(topic, payload, number).encode())
        return True

    async def subscribe(self, *names: str) -> None:
        """Subscribe at QoS 1. Raises ConnectionRefused if the server grants less, ConnectionResetError."""
        number = self._next_id()
        answer: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._pending[number] = answer
        self._write(wire.subscribe(number, tuple((name, 1) for name in names)))
        granted = await answer
        if granted != [1] * len(names):
            raise ConnectionRefused(f"the MQTT server does not grant the subscription to {', '.join(names)}")

    def acknowledge(self, packet_id: int) -> None:
        """Tell the server that a message is in good hands; 0 (QoS 0) needs nothing."""
        if packet_id and self.alive:
            self._write(wire.puback(packet_id))

    def tend(self, now: float) -> None:
        """Keep the connection alive, or end it if the server is silent; call it every few seconds."""
        if not self.keepalive or not self.alive:
            return
        if self.pinged and now - self.heard > self.keepalive:
            self._why = "the server is silent"
            assert self._transport is not None
            self._transport.abort()
        elif not self.pinged and (now - self.said > self.keepalive / 2 or now - self.heard > self.keepalive / 2):
            self.pinged = True
            self._write(wire.PINGREQ)

    def close(self) -> None:
        """Say goodbye (DISCONNECT) and end."""
        if self._transport is not None:
            self._why = "closed"
            self._write(wire.DISCONNECT)
            self._transport.close()

    def abort(self) -> None:
        """End without goodbye, as a cut line does."""
        if self._transport is not None:
            self._why = "aborted"
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio: the socket is open."""
        transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio: the socket is closed."""
        why = str(exc) if exc else self._why
        self._transport = None
        self._closed = True
        waiting, self._pending = self._pending, {}
        for answer in waiting.values():
            if isinstance(answer, asyncio.Future):
                if not answer.done():
                    answer.set_exception(ConnectionResetError(why))
            else:
                answer(False)
        if self._entered is not None:
            if not self._entered.done():
                self._entered.set_exception(ConnectionResetError(why))
                return
            if self._entered.cancelled() or self._entered.exception() is not None:
                return
        self._taker.lost(self, why)

    def data_received(self, data: bytes) -> None:
        """Asyncio: bytes came."""
        self.heard = time.monotonic()
        self.pinged = False
        try:
            for packet in self._splitter.feed(data):
                if self.alive:
                    self._handle(packet)
        except MalformedPacket as error:
            self._why = str(error)
            if self._transport is not None:
                self._transport.abort()

    def _handle(self, packet: Packet) -> None:
        match packet.kind:
            case Kind.PUBLISH:
                self._taker.received(self, Publish.decode(packet.flags, packet.body))
            case Kind.PUBACK:
                done = self._pending.pop(wire.read_packet_id(packet.body), None)
                if callable(done):
                    done(True)
            case Kind.SUBACK:
                number, granted = wire.read_suback(packet.body)
                answer = self._pending.pop(number, None)
                if isinstance(answer, asyncio.Future) and not answer.done():
                    answer.set_result(granted)
            case Kind.CONNACK:
                self._admitted(packet.body)
            case Kind.PINGRESP | Kind.UNSUBACK:
                pass
            case _:
                raise MalformedPacket(f"{packet.kind.name} is not for a client")

    def _admitted(self, body: bytes) -> None:
        self.resumed, refusal = wire.read_connack(body)
        if self._entered is None or self._entered.done():
            raise MalformedPacket("a second CONNACK")
        if refusal:
            self._entered.set_exception(ConnectionRefused(f"the MQTT server says: {refusal.name.lower()}"))
        else:
            self._entered.set_result(None)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self.said = time.monotonic()
            self._transport.write(data)

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id % 65_535 + 1
            if self._last_id not in self._pending:
                return self._last_id


async def connect(server: Server, wish: Connect, taker: Taker, *, timeout: float = 10.0) -> Connection:
    """Connect and wait to be let in.

    Messages of a resumed session may reach `taker` before this returns. Raises OSError (ConnectionError,
    TimeoutError) if the server cannot be reached, ConnectionRefused if it says no.
    """
    loop = asyncio.get_running_loop()
    connection = Connection(wish, taker)
    async with asyncio.timeout(timeout):
        transport, _ = await loop.create_connection(lambda: connection, server.host, server.port, ssl=server.tls)
        try:
            transport.write(wish.encode())
            await connection.entered()
        except BaseException:
            transport.abort()
            raise
    return connection
