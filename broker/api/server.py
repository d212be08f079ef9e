"""Runs an aiohttp application and knows the port it got."""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web


class Server:
    """One listening HTTP server; port 0 takes a free one, then `port` tells which."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        self.host = host
        self.port = port

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        await self._runner.setup()
        listening = socket.create_server((self.host, self.port), backlog=4096)
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        await web.SockSite(self._runner, listening).start()

    async def close(self) -> None:
        """Stop listening and end what is open."""
        await self._runner.cleanup()
        # Let transports that were just told to close do so, or the interpreter warns of open sockets.
        await asyncio.sleep(0)

    @property
    def url(self) -> str:
        """Base address without a slash at the end."""
        return f"http://{self.host}:{self.port}"
