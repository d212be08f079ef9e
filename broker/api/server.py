"""Runs an aiohttp application, knows the port it got, and answers what no application sees as problems too."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from broker.api.problems import MEDIA_TYPE, fault, from_http, problem

HEAD_SECONDS: Final = 75.0
"""How long a connection may be idle, or take to send a request's head: a little longer than proxies keep theirs."""
LINGER_SECONDS: Final = 5.0
"""How long the rest of a refused body is read and thrown away, so that the caller gets to read the refusal."""
_NOISE: Final = logging.getLogger("broker.api.http")
"""aiohttp reports every malformed request with a traceback; they are no errors of ours."""
_NOISE.setLevel(logging.CRITICAL)
_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _Connection(web.RequestHandler):
    """One connection. What is no HTTP at all, or fails outside every application, is answered here."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Problem+json in place of aiohttp's text; the connection is closed, for nobody knows where its next
        request would begin."""
        super().handle_error(request, status, exc, message)  # refuses if an answer was begun
        if status >= 500:
            answer = fault(request.path)
        elif isinstance(exc, LineTooLong):
            answer = problem(431, "headers-too-large", "the request line or a header is longer than 8190 bytes")
        else:
            answer = problem(status, "malformed", "this is not a request of HTTP/1.1")
        answer.force_close()
        return answer


class _Connections(web.Server):
    """Makes a handler for every connection."""

    def __init__(self, handler: _Handler, **options: Any) -> None:
        self._options = options
        super().__init__(handler, **options)

    def __call__(self) -> web.RequestHandler:
        """For one connection."""
        options = {name: value for name, value in self._options.items() if name != "request_factory"}
        return _Connection(self, loop=asyncio.get_running_loop(), **options)


class _Runner(web.AppRunner):
    """Runs the application behind connections of ours."""

    def __init__(self, app: web.Application, *, head_seconds: float, **options: Any) -> None:
        super().__init__(app, **options)
        self._head_seconds = head_seconds

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        handler = made.request_handler

        async def fenced(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await handler(request)
            except web.HTTPException as error:
                # Before an application's middlewares there is still the header Expect.
                if error.status < 400 or error.content_type == MEDIA_TYPE:
                    raise
                return from_http(error)

        return _Connections(
            fenced,
            request_factory=made.request_factory,
            access_log=None,
            logger=_NOISE,
            keepalive_timeout=self._head_seconds,
            lingering_time=LINGER_SECONDS,
        )


class Server:
    """One listening HTTP server; port 0 takes a free one, then `port` tells which.

    `head_seconds` is how long a connection may be idle or take to send the head of a request.
    """

    def __init__(self, app: web.Application, host: str, port: int, *, head_seconds: float = HEAD_SECONDS) -> None:
        self._runner = _Runner(app, head_seconds=head_seconds, access_log=None, shutdown_timeout=2.0)
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
