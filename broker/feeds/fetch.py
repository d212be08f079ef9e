"""Fetching what strangers serve: bounded in size, time and redirects, and never from inside our own network.

A feed tells us addresses to fetch. Whoever writes the feed must not be able to make us call services that only we
can reach, so every connection is checked where it is made, after the name was resolved, and at every redirect.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from broker.clock import now_ms, to_ms
from broker.errors import FenghuoError
from broker.webaddress import is_address, is_public, shown

ACCEPT: Final = (
    "application/cap+xml, application/atom+xml, application/rss+xml, application/xml, text/xml, */*;q=0.1"
)
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MOST_REDIRECTS: Final = 5
_PASSING: Final = (408, 425, 429)
_LONGEST_HEADER: Final = 500


class FetchError(FenghuoError):
    """Nothing could be fetched."""

    def __init__(self, message: str, *, passing: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.passing = passing
        """Whether it may be otherwise at the next try."""
        self.retry_after_s = retry_after_s


class NotPublic(OSError):
    """The name leads to no public address."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a server gave; `body` is None when it has not changed."""

    url: str
    """Where it came from in the end, after redirects."""
    body: bytes | None = field(repr=False)
    etag: str | None = None
    last_modified: str | None = None


class _PublicResolver(AbstractResolver):
    """Resolves names, and leaves out addresses that are not public."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        good = [each for each in found if is_public(each["host"])]
        if not good:
            raise NotPublic(f"{host} has no public address")
        return good

    async def close(self) -> None:
        await self._inner.close()


class Fetcher:
    """GET with limits; an asynchronous context manager."""

    def __init__(self, *, allow_private: bool = False, seconds: float = 30.0, connections: int = 4) -> None:
        self._allow_private = allow_private
        self._seconds = seconds
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        resolver: AbstractResolver = ThreadedResolver() if self._allow_private else _PublicResolver()
        connector = aiohttp.TCPConnector(
            resolver=resolver, use_dns_cache=False, limit=self._connections, force_close=True
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=15),
            # What is packed could be larger by far than what we are willing to read.
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": ACCEPT, "Accept-Encoding": "identity", "User-Agent": "fenghuo-feed/1"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()
        # Let transports that were just told to close do so.
        await asyncio.sleep(0)

    async def get(
        self, url: str, *, max_bytes: int, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """The document at `url`. With `etag` or `last_modified`, a server may answer that it is unchanged.

        Raises FetchError, whose message holds no query string.
        """
        conditions = {"If-None-Match": etag, "If-Modified-Since": None if etag else last_modified}
        headers = {name: value for name, value in conditions.items() if value is not None}
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(url, headers, max_bytes)
        except TimeoutError:
            message = f"{shown(url)} did not answer within {self._seconds:g} seconds"
            raise FetchError(message, passing=True) from None
        except aiohttp.InvalidURL:
            raise FetchError(f"the address {shown(url)} cannot be read") from None
        except aiohttp.ClientConnectorCertificateError:
            raise FetchError(f"the certificate of {shown(url)} is not good", passing=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            cause: BaseException = getattr(error, "os_error", error)
            if isinstance(cause, NotPublic) or isinstance(error.__cause__, NotPublic):
                raise FetchError(f"{shown(url)} is not a public address") from None
            raise FetchError(f"{shown(url)} cannot be reached: {type(error).__name__}", passing=True) from None

    async def _follow(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Fetched:
        assert self._session is not None
        at = self._checked(url, None)
        for _ in range(_MOST_REDIRECTS + 1):
            async with self._session.get(at, headers=headers, allow_redirects=False) as answer:
                if answer.status in _REDIRECTS and "Location" in answer.headers:
                    at = self._checked(answer.headers["Location"], at)
                    continue
                if answer.status == 304 and headers:
                    return Fetched(str(at), None)
                if answer.status != 200:
                    raise _refused(answer)
                if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                    raise FetchError(f"{shown(str(at))} sends it packed although it was asked not to")
                body = await _bounded(answer, max_bytes)
                return Fetched(str(at), body, _short(answer, "ETag"), _short(answer, "Last-Modified"))
        raise FetchError(f"{shown(url)} redirects more than {_MOST_REDIRECTS} times")

    def _checked(self, url: str, before: URL | None) -> URL:
        """The address to go to. Raises FetchError for one that we must not."""
        try:
            at = URL(url) if before is None else before.join(URL(url))
            host = at.host
        except ValueError:
            raise FetchError("the address cannot be read") from None
        if at.scheme not in ("http", "https") or not host:
            raise FetchError(f"{shown(str(at))} is no http or https address")
        if before is not None and before.scheme == "https" and at.scheme == "http":
            raise FetchError(f"{shown(str(before))} redirects from https to http")
        if before is not None and at.user is not None:
            raise FetchError(f"{shown(str(before))} redirects to an address with a user in it")
        if not self._allow_private and is_address(host) and not is_public(host):
            raise FetchError(f"{shown(str(at))} is not a public address")
        return at


async def _bounded(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    too_large = f"{shown(str(answer.url))} is larger than {max_bytes} bytes"
    if (answer.content_length or 0) > max_bytes:
        raise FetchError(too_large)
    body = bytearray()
    async for chunk in answer.content.iter_chunked(65_536):
        body += chunk
        if len(body) > max_bytes:
            raise FetchError(too_large)
    return bytes(body)


def _refused(answer: aiohttp.ClientResponse) -> FetchError:
    passing = answer.status >= 500 or answer.status in _PASSING
    message = f"{shown(str(answer.url))} answers {answer.status}"
    return FetchError(message, passing=passing, retry_after_s=_retry_after(answer.headers.get("Retry-After")))


def _retry_after(text: str | None) -> float | None:
    """Seconds (RFC 9110, 10.2.3: a number or a date), within a day."""
    if not text:
        return None
    try:
        seconds = float(text) if text.isdigit() else (to_ms(parsedate_to_datetime(text)) - now_ms()) / 1000
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), 86_400.0)


def _short(answer: aiohttp.ClientResponse, name: str) -> str | None:
    value: Any = answer.headers.get(name)
    return value if value is not None and len(value) <= _LONGEST_HEADER else None
