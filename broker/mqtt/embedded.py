"""An MQTT 3.1.1 server inside the process, for the embedded form: thousands of loudspeakers, nothing lost.

Its promise: after the PUBACK a message survives the end of the process and of the machine, and reaches every
session that was subscribed, at least once (broker.mqtt.journal). It speaks what this needs: QoS 0 and 1,
persistent and clean sessions, wildcards in filters. Retained messages, wills, QoS 2 and anonymous clients are
not offered, and a client that asks for them is cut off rather than served in part. In production a full
server (Mosquitto) takes its place.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

from broker import logs
from broker.errors import FenghuoError
from broker.mqtt import journal as log
from broker.mqtt import wire
from broker.mqtt.access import Account, Accounts
from broker.mqtt.journal import Journal
from broker.mqtt.wire import Connect, Kind, MalformedPacket, Packet, Publish, Refusal, Splitter

MAX_INFLIGHT: Final = 20_000
"""Messages sent to one session and not yet acknowledged; packet ids end at 65,535."""
MAX_QUEUED: Final = 200_000
"""Messages kept for one session; beyond, the oldest is given up and counted."""
CONNECT_SECONDS: Final = 10.0
_SWEEP_SECONDS: Final = 2.0

_logger = logs.get(part="mqtt")


class MqttError(FenghuoError):
    """The MQTT server could not be started or reached."""


class _Message:
    """A message that sessions wait for; the number is its name in the journal, 0 if it is not kept."""

    __slots__ = ("number", "payload", "topic")

    def __init__(self, number: int, topic: str, payload: bytes) -> None:
        self.number = number
        self.topic = topic
        self.payload = payload


class _Session:
    """What belongs to a client id whether or not it is connected."""

    __slots__ = ("connection", "filters", "index", "inflight", "last_id", "name", "queue")

    def __init__(self, name: str, index: int) -> None:
        self.name = name
        self.index = index
        """Number in the journal; 0 for a clean session, of which nothing is kept."""
        self.filters: dict[str, int] = {}
        self.queue: deque[_Message] = deque()
        self.inflight: dict[int, _Message] = {}
        self.last_id = 0
        self.connection: _Connection | None = None

    def pump(self, limit: int) -> None:
        """Send from the queue as far as the limit of unacknowledged messages allows."""
        connection = self.connection
        if connection is None:
            return
        while self.queue and len(self.inflight) < limit:
            message = self.queue.popleft()
            number = self.last_id
            while True:
                number = number % 65_535 + 1
                if number not in self.inflight:
                    break
            self.last_id = number
            self.inflight[number] = message
            connection.send(Publish(message.topic, message.payload, number).encode())

    def resume(self) -> None:
        """Send again what the last connection left unacknowledged, same ids, DUP set (4.4)."""
        for number, message in self.inflight.items():
            assert self.connection is not None
            self.connection.send(Publish(message.topic, message.payload, number, duplicate=True).encode())


class _Connection(asyncio.Protocol):
    """One client's socket."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self.splitter = Splitter(1024)
        self.transport: asyncio.Transport | None = None
        self.account: Account | None = None
        self.session: _Session | None = None
        self.deadline = time.monotonic() + CONNECT_SECONDS
        self.patience = 0.0
        """Seconds of silence allowed: 1.5 × keep alive (3.1.2.10)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it
        self.transport = transport
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.transport = None
        self.server.left(self)

    def data_received(self, data: bytes) -> None:
        if self.patience:
            self.deadline = time.monotonic() + self.patience
        try:
            for packet in self.splitter.feed(data):
                if self.transport is None or self.transport.is_closing():
                    return
                self._handle(packet)
        except wire.UnknownProtocol:
            self.send(wire.connack(Refusal.PROTOCOL, resumed=False))
            self.close("protocol")
        except MalformedPacket as error:
            self.close(str(error))

    def send(self, data: bytes) -> None:
        """Write, unless the client has gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def close(self, why: str) -> None:
        """Cut the client off."""
        if self.transport is not None:
            _logger.debug("mqtt_client_cut_off", why=why)
            self.transport.close()

    def _handle(self, packet: Packet) -> None:
        if self.session is None:
            if packet.kind is not Kind.CONNECT:
                raise MalformedPacket("the first packet is not CONNECT")
            self._connect(Connect.decode(packet.body))
            return
        match packet.kind:
            case Kind.PUBLISH:
                if wire.asks_to_retain(packet.flags):
                    raise MalformedPacket("retained messages are not offered")
                self._publish(Publish.decode(packet.flags, packet.body))
            case Kind.PUBACK:
                self.server.acknowledged(self.session, wire.read_packet_id(packet.body))
            case Kind.SUBSCRIBE:
                number, filters = wire.read_subscribe(packet.body)
                self._subscribe(number, filters)
            case Kind.UNSUBSCRIBE:
                number, names = wire.read_unsubscribe(packet.body)
                for name in names:
                    self.server.unsubscribe(self.session, name)
                self.send(wire.unsuback(number))
            case Kind.PINGREQ:
                self.send(wire.PINGRESP)
            case Kind.DISCONNECT:
                self.close("goodbye")
            case _:
                raise MalformedPacket(f"{packet.kind.name} is not for a server")

    def _connect(self, wish: Connect) -> None:
        account = self.server.accounts.find(wish.username, wish.password)
        refusal = Refusal.NONE if account else Refusal.CREDENTIALS
        if account and wish.client_id != wish.username:
            refusal = Refusal.IDENTIFIER
        if account is None or refusal:
            self.send(wire.connack(refusal, resumed=False))
            self.close(f"refused: {refusal.name.lower()}")
            return
        self.account = account
        self.splitter = Splitter()
        self.patience = wish.keepalive * 1.5
        self.deadline = time.monotonic() + self.patience if self.patience else float("inf")
        self.server.enter(self, wish)

    def _subscribe(self, number: int, filters: list[tuple[str, int]]) -> None:
        assert self.session is not None
        assert self.account is not None
        granted: list[int] = []
        for name, qos in filters:
            if wire.valid_filter(name) and self.account.may_subscribe(name):
                self.server.subscribe(self.session, name, min(qos, 1))
                granted.append(min(qos, 1))
            else:
                granted.append(wire.SUBSCRIBE_REFUSED)
        answer = wire.suback(number, granted)
        self.server.journal.when_kept(lambda: self.send(answer))

    def _publish(self, message: Publish) -> None:
        assert self.account is not None
        if self.account.may_publish(message.topic):
            self.server.route(message.topic, message.payload, kept=bool(message.packet_id))
        else:
            # 3.3.5: either acknowledge and drop or cut off; a terminal cut off for ever would be silent.
            self.server.forbidden += 1
        if message.packet_id:
            answer = wire.puback(message.packet_id)
            self.server.journal.when_kept(lambda: self.send(answer))


class EmbeddedServer:
    """The server. `journal` None keeps nothing beyond the process (tests only)."""

    def __init__(
        self,
        accounts: Accounts,
        journal: Path | None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        sync: bool = True,
    ) -> None:
        self.accounts = accounts
        self.journal = Journal(journal, sync=sync)
        self.journal.on_failure = self._journal_failed
        self.connections: set[_Connection] = set()
        self.forbidden = 0
        """Messages dropped because their sender may not write the topic."""
        self.given_up = 0
        """Messages given up because a session's queue was full."""
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._sessions: dict[str, _Session] = {}
        self._exact: dict[str, dict[_Session, int]] = {}
        self._wild: dict[str, dict[_Session, int]] = {}
        self._next_message = 1
        self._next_index = 1

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port

    @property
    def connected(self) -> int:
        """How many clients are connected and let in."""
        return sum(session.connection is not None for session in self._sessions.values())

    async def start(self) -> None:
        """Read the journal and listen. Raises MqttError, JournalError."""
        self._recover()
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(self), self._host, self._port, backlog=4096
            )
        except OSError as error:
            await self.journal.close()
            raise MqttError(f"cannot listen on {self._host}:{self._port}: {error.strerror}") from error
        self._port = int(self._server.sockets[0].getsockname()[1])
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Cut everybody off and close the journal; what was promised is in it."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close("the server stops")
        while self.connections:
            await asyncio.sleep(0.005)
        if self._server is not None:
            await self._server.wait_closed()
        await self.journal.close()

    def enter(self, connection: _Connection, wish: Connect) -> None:
        """Join a connection to its session, taking over from an earlier connection of the same client."""
        session = self._sessions.get(wish.client_id)
        if session is not None and session.connection is not None:
            session.connection.close("taken over")
            session.connection = None
        if session is not None and (wish.clean or not session.index):
            self._forget(session)
            session = None
        resumed = session is not None
        if session is None:
            session = self._begin(wish.client_id, persistent=not wish.clean)
        session.connection = connection
        connection.session = session
        connection.send(wire.connack(Refusal.NONE, resumed=resumed))
        session.resume()
        session.pump(MAX_INFLIGHT)

    def left(self, connection: _Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection = None
            if not session.index:
                self._forget(session)

    def subscribe(self, session: _Session, name: str, qos: int) -> None:
        """Add a subscription."""
        if session.filters.get(name) == qos:
            return
        session.filters[name] = qos
        self._table(name).setdefault(name, {})[session] = qos
        if session.index:
            self.journal.append(log.filter_record(session.index, name, qos))

    def unsubscribe(self, session: _Session, name: str) -> None:
        """Remove a subscription, if there is one."""
        if session.filters.pop(name, None) is None:
            return
        self._drop_filter(session, name)
        if session.index:
            self.journal.append(log.unfilter_record(session.index, name))

    def route(self, topic: str, payload: bytes, *, kept: bool) -> None:
        """Hand a message to all who subscribed; `kept` is QoS 1."""
        keepers: list[_Session] = []
        passing: list[_Session] = []
        for session, qos in self._readers(topic).items():
            (keepers if kept and qos else passing).append(session)
        plain = Publish(topic, payload).encode() if passing else b""
        for session in passing:
            if session.connection is not None:
                session.connection.send(plain)
        if not keepers:
            return
        lasting = [session.index for session in keepers if session.index]
        number = self._next_message if lasting else 0
        if lasting:
            self._next_message += 1
            self.journal.append(log.message_record(number, topic, payload, lasting))
        message = _Message(number, topic, payload)
        for session in keepers:
            self._enqueue(session, message)

    def acknowledged(self, session: _Session, packet_id: int) -> None:
        """A client has taken a message."""
        message = session.inflight.pop(packet_id, None)
        if message is None:
            return
        if session.index and message.number:
            self.journal.append(log.ack_record(session.index, message.number))
        session.pump(MAX_INFLIGHT)

    def _enqueue(self, session: _Session, message: _Message) -> None:
        if len(session.queue) >= MAX_QUEUED:
            oldest = session.queue.popleft()
            self.given_up += 1
            _logger.warning("mqtt_queue_full_oldest_given_up", session=session.name)
            if session.index and oldest.number:
                self.journal.append(log.ack_record(session.index, oldest.number))
        session.queue.append(message)
        session.pump(MAX_INFLIGHT)

    def _readers(self, topic: str) -> dict[_Session, int]:
        readers = dict(self._exact.get(topic, {}))
        for name, sessions in self._wild.items():
            if wire.matches(topic, name):
                for session, qos in sessions.items():
                    readers[session] = max(qos, readers.get(session, 0))
        return readers

    def _table(self, name: str) -> dict[str, dict[_Session, int]]:
        return self._wild if "+" in name or "#" in name else self._exact

    def _drop_filter(self, session: _Session, name: str) -> None:
        table = self._table(name)
        table[name].pop(session, None)
        if not table[name]:
            del table[name]

    def _begin(self, name: str, *, persistent: bool) -> _Session:
        session = _Session(name, self._next_index if persistent else 0)
        if persistent:
            self._next_index += 1
            self.journal.append(log.client_record(session.index, name))
        self._sessions[name] = session
        return session

    def _forget(self, session: _Session) -> None:
        for name in session.filters:
            self._drop_filter(session, name)
        del self._sessions[session.name]
        if session.index:
            self.journal.append(log.gone_record(session.index))

    def _recover(self) -> None:
        found = self.journal.open()
        messages = {number: _Message(number, *content) for number, content in found.messages.items()}
        for name, stored in found.sessions.items():
            session = _Session(name, stored.index)
            session.filters = dict(stored.filters)
            session.queue.extend(messages[number] for number in stored.pending)
            self._sessions[name] = session
            for topics, qos in stored.filters.items():
                self._table(topics).setdefault(topics, {})[session] = qos
        self._next_message = found.next_message
        self._next_index = found.next_index

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            for connection in self._silent(now):
                connection.close("silent")

    def _silent(self, now: float) -> Iterator[_Connection]:
        return iter([connection for connection in self.connections if connection.deadline < now])

    def _journal_failed(self) -> None:
        _logger.critical("mqtt_journal_cannot_be_written")
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close("the journal cannot be written")
