"""Bombs, floods and dribbles against the broker in a process of its own: refused within limits, its memory flat."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.support.broker import alert_xml
from tests.support.processes import Broker, serving

MIB = 1024 * 1024
BOUND = 150 * MIB
"""How much the process may grow: far above what the limits allow it, far below what the attacks would cost."""
CAP = "application/cap+xml"


def laughs() -> bytes:
    """Entities that unfold to gigabytes."""
    lines = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    text = alert_xml().replace("?>", f'?><!DOCTYPE alert [<!ENTITY l0 "雨雨雨雨">{lines}]>', 1)
    return text.replace("预计未来3小时", "&l9;").encode()


def attacks() -> Iterator[tuple[str, bytes, dict[str, str], int, str]]:
    """Name, body, headers, status, and the rule that is broken."""
    outside = (
        alert_xml()
        .replace("?>", '?><!DOCTYPE alert [<!ENTITY x SYSTEM "file:///etc/passwd">]>', 1)
        .replace("预计", "&x;")
    )
    deep = b"<alert xmlns='urn:oasis:names:tc:emergency:cap:1.2'>" + b"<info>" * 60_000
    wide = b"<alert xmlns='urn:oasis:names:tc:emergency:cap:1.2'>" + b"<info/>" * 60_000 + b"</alert>"
    yield "billion laughs", laughs(), {}, 400, "cap.xml.doctype"
    yield "an entity from outside", outside.encode(), {}, 400, "cap.xml.doctype"
    yield "deep nesting", deep, {}, 400, "cap.xml.syntax"
    yield "many elements", wide, {}, 422, "cap.elements"
    yield "50 MB", b" " * (50 * MIB), {}, 413, "body.size"
    yield "50 MB in a few bytes", gzip.compress(b" " * (50 * MIB)), {"Content-Encoding": "gzip"}, 413, "body.size"
    bomb = gzip.compress(gzip.compress(b" " * (500 * MIB), 9), 9)
    yield "a bomb in a bomb", bomb, {"Content-Encoding": "gzip"}, 400, "cap.xml"
    yield "deep JSON", b"[" * 500_000, {"Content-Type": "application/json"}, 422, "cap.depth"


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    """Without telling the length first."""
    for at in range(0, len(body), 65536):
        yield body[at : at + 65536]


class Attacker:
    """Posts what nobody should."""

    def __init__(self, broker: Broker, session: aiohttp.ClientSession, token: str) -> None:
        assert broker.command is not None
        self.process = psutil.Process(broker.command.process.pid)
        self.url = broker.url
        self.port = int(broker.url.rpartition(":")[2])
        self._session = session
        self._token = token

    @property
    def memory(self) -> int:
        """Of the server's process, in bytes."""
        return int(self.process.memory_info().rss)

    async def post(self, body: bytes, headers: dict[str, str], *, chunked: bool = False) -> tuple[int, str]:
        """The status and what was said; a server that hangs up on a flood has refused it too (status 0)."""
        sent = {"Authorization": f"Bearer {self._token}", "Content-Type": CAP, **headers}
        data: io.BytesIO | AsyncIterator[bytes] = in_chunks(body) if chunked else io.BytesIO(body)
        try:
            async with self._session.post(f"{self.url}/v1/alerts", data=data, headers=sent) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            return 0, ""


@pytest.mark.timeout(240)
async def test_whatever_is_thrown_at_it_the_broker_refuses_it_and_its_memory_stays_flat(tmp_path: Path) -> None:
    async with serving(tmp_path) as broker:
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
            attacker = Attacker(broker, session, await broker.token("met-hechuan"))
            # Once to warm up: what is loaded on first use is not what an attack costs.
            assert (await attacker.post(alert_xml().encode(), {}))[0] == 202
            for _, body, headers, *_ in attacks():
                await attacker.post(body[:1000], headers)
            before = attacker.memory

            for name, body, headers, status, rule in attacks():
                for chunked in (False, True):
                    given, said = await attacker.post(body, headers, chunked=chunked)
                    flood = len(body) > 10 * MIB
                    assert given == status or (flood and given == 0), (name, chunked, given, said)
                    assert flood or rule in said, (name, said)
            await asyncio.gather(*(attacker.post(b" " * (20 * MIB), {}, chunked=True) for _ in range(6)))
            slow = await dribblers(attacker.port, 400)
            try:
                given, said = await attacker.post(alert_xml("among-slow-ones").encode(), {})
                assert given == 202, said
                assert attacker.memory - before < BOUND
            finally:
                for writer in slow:
                    writer.transport.abort()
            assert broker.command is not None
            assert "request_failed" not in broker.command.said


async def dribblers(port: int, n: int) -> list[asyncio.StreamWriter]:
    """Connections that have begun a request and do not go on: half in its head, half in its body."""
    heads = (
        b"POST /v1/alerts HTTP/1.1\r\nHost: x\r\nX-Slow: a",
        b"POST /v1/alerts HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n<",
    )
    opened = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(n)))
    for number, (_, writer) in enumerate(opened):
        writer.write(heads[number % 2])
    return [writer for _, writer in opened]
