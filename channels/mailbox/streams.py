"""Held streams of server-sent events, written without a task switch per device.

Events are written straight to the socket's transport in HTTP/1.1 chunks (RFC 9112 §7.1), so that telling
thousands of devices is one loop over sockets. A reader that leaves too much unread is dropped: its device
comes back and catches up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from aiohttp import web

from channels.mailbox.problems import problem

EVENT_STREAM: Final = "text/event-stream"
HEADERS: Final = {"Content-Type": EVENT_STREAM, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
PREAMBLE: Final = b"retry: 2000\n\n"
"""Milliseconds that a plain EventSource waits before it comes back."""
NOTHING: Final = b":\n\n"
"""A comment: the heartbeat, and the answer of a stream that has nothing to tell."""
_SLICE: Final = 256


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Stream:
    """One device's open stream."""

    __slots__ = ("_limit", "_transport", "done", "last")

    def __init__(self, transport: asyncio.Transport, limit: int, last: int) -> None:
        self._transport = transport
        self._limit = limit
        self.last = last
        """The highest event id written; the device's Last-Event-ID when it returns."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def write(self, data: bytes) -> None:
        """Write events; a stream whose reader is too far behind is ended instead."""
        if self.done.done():
            return
        if self._transport.is_closing():
            self.end()
        elif self._transport.get_write_buffer_size() > self._limit:
            self._transport.abort()
            self.end()
        else:
            self._transport.write(chunk(data))

    def end(self) -> None:
        """Let the handler that holds this stream finish."""
        if not self.done.done():
            self.done.set_result(None)


class Streams:
    """The held streams by device; a device has one, the newest."""

    def __init__(self, most: int, limit: int, heartbeat_seconds: float) -> None:
        self._most = most
        self._limit = limit
        self._heartbeat_seconds = heartbeat_seconds
        self._streams: dict[str, Stream] = {}
        self._beating: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many are held."""
        return len(self._streams)

    def get(self, device: str) -> Stream | None:
        """The device's stream, if it holds one."""
        return self._streams.get(device)

    def start(self) -> None:
        """Begin to send heartbeats."""
        self._beating = asyncio.create_task(self._beat(), name="stream heartbeats")

    async def close(self) -> None:
        """End every stream."""
        if self._beating is not None:
            self._beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beating
        for stream in self._streams.values():
            stream.end()

    async def hold(
        self, request: web.Request, device: str, last: int, opening: Callable[[Stream], bytes]
    ) -> web.StreamResponse:
        """Answer `request` with a stream until it ends. `opening` gives the first events.

        `opening` is called at the same instant at which the stream begins to be told of new things, so nothing
        falls between the two.
        """
        if len(self._streams) >= self._most and device not in self._streams:
            return problem(503, None, Retry_After="5")
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            return response
        stream = Stream(transport, self._limit, last)
        stream.write(PREAMBLE + opening(stream))
        former = self._streams.get(device)
        self._streams[device] = stream
        if former is not None:
            former.end()
        try:
            await stream.done
        finally:
            if self._streams.get(device) is stream:
                del self._streams[device]
        return response

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            for index, stream in enumerate(list(self._streams.values())):
                stream.write(NOTHING)
                if index % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)
