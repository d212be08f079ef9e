"""A TCP proxy that fails on command: between a client and its server, in this process."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

_CHUNK = 64 * 1024


class FaultProxy:
    """Listens on a free port of 127.0.0.1 and passes bytes to `host:port`, until told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._budget: int | None = None
        self.port = 0
        """Where it listens."""
        self.accepted = 0
        """Connections taken so far."""
        self.passed = 0
        """Bytes passed so far, both ways."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.resume()
        self.cut()
        for pipe in tuple(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Reset every connection now; new ones are taken."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def stall(self) -> None:
        """Pass no byte more and close nothing, as a route that swallows packets."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass bytes again, take connections again, forget a byte limit."""
        self._flowing.set()
        self._refusing = False
        self._budget = None

    def refuse(self) -> None:
        """Reset every connection and all that come."""
        self._refusing = True
        self.cut()

    def cut_after(self, count: int) -> None:
        """Let `count` more bytes pass, both ways together, then reset every connection once."""
        self._budget = count

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        pipes = [
            asyncio.create_task(self._pipe(reader, far_writer)),
            asyncio.create_task(self._pipe(far_reader, writer)),
        ]
        self._pipes.update(pipes)
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)
        self._pipes.difference_update(pipes)
        self._writers -= {writer, far_writer}
        for end in (writer, far_writer):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                if self._budget is not None and len(data) >= self._budget:
                    writer.write(data[: self._budget])
                    self._budget = None
                    await writer.drain()
                    self.cut()
                    return
                if self._budget is not None:
                    self._budget -= len(data)
                self.passed += len(data)
                writer.write(data)
                await writer.drain()
