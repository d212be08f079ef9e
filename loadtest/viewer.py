"""Somebody who watches the dashboard while the load runs."""

from __future__ import annotations

import asyncio
import re
from types import TracebackType
from typing import Self

import aiohttp

from loadtest.scenario import LoadTestError
from loadtest.world import World


class Viewer:
    """Signs in, holds the live stream open and throws away what it shows."""

    def __init__(self, url: str, world: World) -> None:
        self._url = url
        self._world = world
        self._task: asyncio.Task[None] | None = None
        self.received = 0
        """Bytes of the stream so far."""

    async def __aenter__(self) -> Self:
        """Sign in. Raises LoadTestError."""
        # The server's name is an address, and cookies are for names unless one says so.
        jar = aiohttp.CookieJar(unsafe=True)
        self._client = aiohttp.ClientSession(self._url, cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=None))
        async with self._client.get("/sign-in") as answer:
            form = re.search(r'name="csrf" value="([0-9a-zA-Z_-]+)"', await answer.text())
        fields = {"csrf": form[1] if form else "", "name": self._world.person, "password": self._world.password}
        async with self._client.post("/sign-in", data=fields, allow_redirects=False) as answer:
            if answer.status != 303:
                await self._client.close()
                raise LoadTestError(f"the dashboard did not let the viewer in: {answer.status}")
        self._task = asyncio.create_task(self._watch(), name="viewer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._client.close()

    async def _watch(self) -> None:
        async with self._client.get("/dashboard/events") as stream:
            stream.raise_for_status()
            async for chunk in stream.content.iter_any():
                self.received += len(chunk)
