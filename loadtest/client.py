"""A lean HTTP client for load: many connections kept alive, one request at a time on each, nothing else.

It writes prepared bytes and reads as much of an answer as it needs, so that it is not what is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import urlsplit

from loadtest.scenario import LoadTestError

_ANSWER_SECONDS: Final = 60.0
_SHOWN: Final = 500


@dataclass(slots=True)
class Slice:
    """What one slice of time brought."""

    answered: list[int] = field(default_factory=list)
    """The numbers of the requests that were answered 202."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from writing a request to the end of its answer, in the same order."""
    seconds: float = 0.0
    """From the first request to the last answer."""

    @property
    def per_second(self) -> float:
        """Answers in a second."""
        return len(self.answered) / self.seconds


def request(host: str, path: str, body: bytes, *, token: str) -> bytes:
    """A POST of a CAP message as bytes."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/cap+xml\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client:
    """Connections to one server."""

    def __init__(self, url: str, connections: int) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.host = parts.netloc
        self._address = parts.hostname, parts.port
        self._wanted = connections
        self._lines: list[_Line] = []

    async def open(self) -> None:
        """Connect. Raises OSError."""
        loop = asyncio.get_running_loop()
        for _ in range(self._wanted):
            _, line = await loop.create_connection(_Line, *self._address)
            self._lines.append(line)

    async def close(self) -> None:
        """Hang up."""
        for line in self._lines:
            line.hang_up()
        await asyncio.gather(*(line.gone for line in self._lines))
        self._lines = []

    async def run(
        self, requests: Iterator[tuple[int, bytes]], seconds: float, *, into: Slice | None = None
    ) -> Slice:
        """Send requests for so long, or until there are no more, and wait for the last answer.

        As many are under way at once as there are connections.

        Raises LoadTestError for any answer but 202, and when one does not come; what came before is in `into`.
        """
        loop = asyncio.get_running_loop()
        slice_ = Slice() if into is None else into
        began = time.perf_counter()
        done = [line.start(requests, began + seconds, slice_, loop.create_future()) for line in self._lines]
        try:
            async with asyncio.timeout(seconds + _ANSWER_SECONDS):
                await asyncio.gather(*done)
        except TimeoutError:
            raise LoadTestError(f"no answer after {_ANSWER_SECONDS:g} s") from None
        slice_.seconds = time.perf_counter() - began
        return slice_


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._number = -1
        self._written = 0.0
        self._until = 0.0
        self._requests: Iterator[tuple[int, bytes]] = iter(())
        self._slice = Slice()
        self._done: asyncio.Future[None] | None = None

    def start(
        self, requests: Iterator[tuple[int, bytes]], until: float, slice_: Slice, done: asyncio.Future[None]
    ) -> asyncio.Future[None]:
        """Take requests until the time `until` (by the clock for intervals)."""
        self._requests, self._until, self._slice, self._done = requests, until, slice_, done
        self._next()
        return done

    def hang_up(self) -> None:
        """Close the connection."""
        if self._transport is None:
            self.gone.set_result(None)
        else:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport comes."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is one by its methods only

    def connection_lost(self, exc: Exception | None) -> None:
        """In the midst of a request it is a failure."""
        self.gone.set_result(None)
        self._fail(f"the server hung up: {exc}")

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        received = self._received = self._received + data
        end = received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = received[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        length = int(head[at + 17 : head.find(b"\r\n", at + 17)]) if at >= 0 else 0
        if len(received) < end + length:
            return
        self._received = b""
        if received[9:12] != b"202":
            self._fail(f"refused: {received[:_SHOWN].decode(errors='replace')}")
            return
        self._slice.answered.append(self._number)
        self._slice.latencies.append(time.perf_counter() - self._written)
        self._next()

    def _next(self) -> None:
        assert self._transport is not None
        assert self._done is not None
        self._written = time.perf_counter()
        if self._written >= self._until:
            self._end()
            return
        following = next(self._requests, None)
        if following is None:
            self._end()
            return
        self._number, data = following
        self._transport.write(data)

    def _end(self) -> None:
        assert self._done is not None
        if not self._done.done():
            self._done.set_result(None)

    def _fail(self, why: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(LoadTestError(why))
