"""A store and our public feeds on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from lxml import etree

from broker.api.problems import middleware
from broker.api.server import Server
from broker.feeds.routes import FeedRoutes
from broker.signing.generate import new_pair
from broker.signing.sign import Signer
from broker.store.contract import Store
from broker.store.sql import open_store
from tests.support.outside import serve

ATOM = {"a": "http://www.w3.org/2005/Atom"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    folder = tmp_path_factory.mktemp("keys")
    certificate, key = new_pair("Fenghuo test")
    (folder / "own.pem").write_text(certificate)
    (folder / "own.key").write_text(key)
    (folder / "own.key").chmod(0o600)
    return Signer.load(folder / "own.pem", folder / "own.key")


@dataclass
class Feeds:
    """Our feeds as a reader sees them."""

    session: aiohttp.ClientSession
    base: str
    seen: list[int] = field(default_factory=list)

    async def call(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.base + path, headers=names) as answer:
            return answer.status, answer.headers, await answer.read()

    async def atom(self, path: str) -> Any:
        """The feed at `path`, which must be there and be XML."""
        status, headers, body = await self.call(path)
        assert status == 200, body
        assert headers["Content-Type"] == "application/atom+xml; charset=utf-8"
        return etree.fromstring(body)

    async def titles(self, path: str) -> list[str]:
        return [str(title) for title in (await self.atom(path)).xpath("a:entry/a:title/text()", namespaces=ATOM)]


@pytest.fixture
async def feeds(store: Store, signer: Signer) -> AsyncIterator[Feeds]:
    app = web.Application(middlewares=[middleware])
    serve(app, store, FeedRoutes(store, signer, fresh_s=0.0))
    server = Server(app, "127.0.0.1", 0)
    await server.start()
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Feeds(session, server.url)
    await server.close()
