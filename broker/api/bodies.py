"""Reads the bodies of requests: not too large, not too slowly, and not too many at once for the memory there is."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError

from broker.api.problems import Busy
from broker.errors import InputRefused, Problem

BODY_SECONDS = 30.0
"""How long a body may take to come, so that nobody can hold connections open by sending slowly."""
BODY_BYTES: Final = 64 * 1024 * 1024
"""How many bytes of bodies may be held at once, over all connections."""
_HELD: Final = web.RequestKey("held", int)


class Bodies:
    """The bodies that this process holds; `most` is how many bytes they may be together."""

    def __init__(self, most: int = BODY_BYTES) -> None:
        self._most = most
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes held now."""
        return self._held

    def free(self, request: web.Request) -> None:
        """Forget what was read of a request that is answered; safe to repeat."""
        self._held -= request.pop(_HELD, 0)

    async def read(self, request: web.Request, limit: int) -> bytes:
        """The whole body, unpacked if it came packed.

        Raises InputRefused (413 over `limit` bytes, 408 after BODY_SECONDS, 400 if it ends early or is not what
        its encoding says) and Busy.
        """
        if request.content_length is not None and request.content_length > limit:
            raise too_large(limit)
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.content.iter_chunked(65536):
                    body += chunk
                    if len(body) > limit:
                        raise too_large(limit)
                    self._hold(request, len(chunk))
        except TimeoutError as error:
            message = f"the body was not there after {BODY_SECONDS:g} seconds"
            raise InputRefused([Problem("body", "body.slow", message)], status=408) from error
        except (web.RequestPayloadError, PayloadEncodingError) as error:
            message = "the body is not what Content-Encoding and Transfer-Encoding say"
            raise InputRefused([Problem("body", "body.encoding", message)], status=400) from error
        except ConnectionError as error:
            # Nobody is left to read this, but it must not look like a fault of ours.
            raise InputRefused([Problem("body", "body.cut", "the connection ended")], status=400) from error
        return bytes(body)

    def _hold(self, request: web.Request, n: int) -> None:
        if self._held + n > self._most:
            raise Busy
        self._held += n
        request[_HELD] = request.get(_HELD, 0) + n


def too_large(limit: int) -> InputRefused:
    """The refusal of a body of more than `limit` bytes."""
    return InputRefused([Problem("body", "body.size", f"more than {limit} bytes")], status=413)
