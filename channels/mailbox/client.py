"""The devices' side of HTTP/1.1, lean enough to stand in for thousands of them in one process.

Only what devices need: requests without pipelining on kept connections, bodies with a length or in chunks
(RFC 9112 §6, §7.1), and streams of server-sent events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

_HEAD_LIMIT: Final = 32_768
_TIMEOUT_SECONDS: Final = 15.0


class HttpFailure(ConnectionError):
    """The server went away or does not speak HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the channel is."""

    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Origin:
        """From `http://host:port`. Raises ValueError for anything else."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise ValueError(f"expected http://host:port, not {url!r}")
        return cls(parts.hostname, parts.port or 80)

    def head(self, method: str, target: str, *fields: str) -> bytes:
        """The head of a request but for its last empty line, so that fields can be added."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}:{self.port}", *fields]
        return ("\r\n".join(lines) + "\r\n").encode("ascii")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response."""

    status: int
    head: bytes
    body: bytes

    def field(self, name: str) -> str | None:
        """The value of a header field, if it is there."""
        return _field(self.head, name)


@dataclass(frozen=True, slots=True)
class SentEvent:
    """One server-sent event."""

    name: str
    data: bytes
    identifier: str | None


def parse_events(buffer: bytes) -> tuple[list[SentEvent], bytes]:
    """The whole events at the start of `buffer`, and the rest (HTML, section 9.2.6). Comments are dropped."""
    blocks = buffer.replace(b"\r\n", b"\n").split(b"\n\n")
    rest = blocks.pop()
    events = []
    for block in blocks:
        name, identifier, data = "message", None, []
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value.decode()
            elif field == b"id":
                identifier = value.decode()
        if data:
            events.append(SentEvent(name, b"\n".join(data), identifier))
    return events, rest


class _BodyReader:
    """Cuts one response out of a connection's bytes."""

    __slots__ = ("_buffer", "_chunked", "_left", "head", "status")

    def __init__(self) -> None:
        self._buffer = b""
        self._chunked = False
        self._left: int | None = None
        self.head = b""
        self.status = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Body bytes that `data` brought, and whether the response is complete. Raises HttpFailure."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self.status and not self._read_head():
            return b"", False
        if self._chunked:
            return self._read_chunks()
        if self._left is None:
            body, self._buffer = self._buffer, b""
            return body, False
        body, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left -= len(body)
        return body, self._left == 0

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _HEAD_LIMIT:
                raise HttpFailure("the response's head does not end")
            return False
        self.head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        if not self.head.startswith(b"HTTP/1.1 ") or not self.head[9:12].isdigit():
            raise HttpFailure("not an HTTP/1.1 response")
        self.status = int(self.head[9:12])
        self._chunked = (_field(self.head, "Transfer-Encoding") or "").lower() == "chunked"
        length = _field(self.head, "Content-Length")
        if self.status in (204, 304):
            self._chunked, self._left = False, 0
        elif length is not None:
            self._left = int(length)
        return True

    def _read_chunks(self) -> tuple[bytes, bool]:
        body = b""
        while (line := self._buffer.find(b"\r\n")) >= 0:
            try:
                size = int(self._buffer[:line].split(b";")[0], 16)
            except ValueError:
                raise HttpFailure("a chunk without a size") from None
            end = line + 2 + size + 2
            if len(self._buffer) < end:
                break
            body += self._buffer[line + 2 : end - 2]
            self._buffer = self._buffer[end:]
            if size == 0:
                return body, True
        return body, False


class Connection(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader = _BodyReader()
        self._body: list[bytes] = []
        self._answer: asyncio.Future[Answer] | None = None
        self.served = 0
        """Requests that were answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._answer is None or self._answer.done():
            self.close()
            return
        try:
            body, complete = self._reader.feed(data)
        except HttpFailure as error:
            self._answer.set_exception(error)
            self.close()
            return
        if body:
            self._body.append(body)
        if complete:
            self.served += 1
            self._answer.set_result(Answer(self._reader.status, self._reader.head, b"".join(self._body)))
            if (_field(self._reader.head, "Connection") or "").lower() == "close":
                self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(HttpFailure(f"connection lost: {exc or 'closed by the server'}"))

    @property
    def usable(self) -> bool:
        """Whether another request can be made."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()

    async def request(self, data: bytes) -> Answer:
        """Send a whole request and wait for its response. Raises HttpFailure or TimeoutError."""
        if self._transport is None or self._transport.is_closing():
            raise HttpFailure("not connected")
        self._reader, self._body = _BodyReader(), []
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await self._answer
        except BaseException:
            self.close()
            raise


class Pool:
    """A few kept connections that many devices use in turn."""

    def __init__(self, origin: Origin, size: int, requests_per_connection: int) -> None:
        self._origin = origin
        self._turns = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._most = requests_per_connection
        self.opened = 0
        """Connections made so far."""

    async def request(self, data: bytes) -> Answer:
        """Make a request on a free connection. Raises OSError (HttpFailure among them) or TimeoutError."""
        async with self._turns:
            while self._idle and not self._idle[-1].usable:
                self._idle.pop()
            connection = self._idle.pop() if self._idle else await self._connect()
            answer = await connection.request(data)
            if connection.served >= self._most:
                connection.close()
            elif connection.usable:
                self._idle.append(connection)
            return answer

    def close(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            self._idle.pop().close()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            _, connection = await loop.create_connection(Connection, self._origin.host, self._origin.port)
        self.opened += 1
        return connection


class EventStream(asyncio.Protocol):
    """A held stream of server-sent events, told by callbacks."""

    def __init__(self, request: bytes, on_event: Callable[[SentEvent], None]) -> None:
        self._request = request
        self._on_event = on_event
        self._transport: asyncio.Transport | None = None
        self._reader = _BodyReader()
        self._rest = b""
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[int] = loop.create_future()
        """The status of the response, once its head is there."""
        self.ended: asyncio.Future[None] = loop.create_future()

    @classmethod
    async def open(cls, origin: Origin, request: bytes, on_event: Callable[[SentEvent], None]) -> EventStream:
        """Connect and wait for the response's head. Raises OSError or TimeoutError, also for a refusal."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            _, stream = await loop.create_connection(lambda: cls(request, on_event), origin.host, origin.port)
            try:
                status = await stream.opened
            except BaseException:
                stream.close()
                raise
        if status != 200:
            stream.close()
            raise HttpFailure(f"the stream was refused with status {status}")
        return stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            body, complete = self._reader.feed(data)
        except HttpFailure:
            self.close()
            return
        if self._reader.status and not self.opened.done():
            self.opened.set_result(self._reader.status)
        if body and self._reader.status == 200:
            events, self._rest = parse_events(self._rest + body)
            for event in events:
                self._on_event(event)
        if complete:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if not self.opened.done():
            self.opened.set_exception(HttpFailure(f"connection lost: {exc or 'closed by the server'}"))
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()


def _field(head: bytes, name: str) -> str | None:
    wanted = f"\r\n{name.lower()}:".encode("ascii")
    start = head.lower().find(wanted)
    if start < 0:
        return None
    start += len(wanted)
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip().decode("latin-1")
