"""For tests of feeds and callbacks: alerts that went out, and a web server that does as each test says."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from aiohttp import web

from broker.api import published
from broker.api.gate import Gate
from broker.api.server import Server
from broker.cap.document import read
from broker.cap.segments import segments
from broker.clock import now_ms, to_ms
from broker.feeds.routes import FeedRoutes
from broker.intake.accept import new_id
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord, ReferenceRecord
from broker.types import AlertState

S = AlertState
_numbers = count(1)

_INFO = """<info><language>{language}</language><category>Met</category><event>{event}</event>
<urgency>Immediate</urgency><severity>{severity}</severity><certainty>Likely</certainty>
<eventCode><valueName>GB/T 35561</valueName><value>11B03</value></eventCode>
<expires>2036-06-18T12:00:00+08:00</expires><senderName>{who}</senderName><headline>{headline}</headline>
<description>{description}</description>
<area><areaDesc>x</areaDesc>
<geocode><valueName>GB/T 2260</valueName><value>500117</value></geocode></area></info>"""


def info(language: str = "zh-CN", severity: str = "Extreme", headline: str = "暴雨预警", **more: str) -> str:
    """One info of a message."""
    told = {"event": "暴雨", "who": "合川区气象台", "description": "强降雨 & <大风>".replace("&", "&amp;")} | more
    told["description"] = told["description"].replace("<", "&lt;")
    return _INFO.format(language=language, severity=severity, headline=headline, **told)


def cap(
    *infos: str, identifier: str | None = None, references: str = "", kind: str = "Alert", **more: str
) -> bytes:
    """A message of these infos."""
    told = {"sender": "hechuan-met@warning.example", "sent": "2026-06-18T09:30:00+08:00", "status": "Actual"} | more
    identifier = identifier or f"id-{next(_numbers)}"
    refers = f"<references>{references}</references>" if references else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">'
        f"<identifier>{identifier}</identifier><sender>{told['sender']}</sender><sent>{told['sent']}</sent>"
        f"<status>{told['status']}</status><msgType>{kind}</msgType><scope>Public</scope>{refers}"
        f"{''.join(infos)}</alert>\n"
    ).encode()


async def keep(
    store: Store, body: bytes, /, *, content_type: str = "application/cap+xml", **changes: Any
) -> AlertRecord:
    """Keep a message as it was received."""
    alert = read(body, "json" if "json" in content_type else "xml").alert
    assert alert is not None
    at = now_ms()
    parts = segments(alert)
    record = AlertRecord(
        id=new_id(at),
        sender=alert.sender,
        identifier=alert.identifier,
        sent=to_ms(alert.sent.instant),
        department="met-hechuan",
        status=str(alert.status),
        msg_type=str(alert.msg_type),
        level=None if not parts or parts[0].level is None else str(parts[0].level),
        event="11B03",
        headline=next((each.headline for each in alert.infos if each.headline), ""),
        content_type=content_type,
        digest=hashlib.sha256(body).digest(),
        body=body,
        received=at,
        expires=at + 3_600_000,
        state=S.RECEIVED,
        author="token-1",
        scope=str(alert.scope),
    )
    record = replace(record, **changes)
    named = [
        ReferenceRecord(record.id, each.sender, each.identifier, to_ms(each.sent.instant))
        for each in alert.references
    ]
    return await store.add_alert(record, AlertEvent(record.id, at, record.state, "token-1", "posted"), named)


async def went_out(store: Store, body: bytes, /, *, at: int | None = None, **how: Any) -> AlertRecord:
    """Keep a message and let it go out."""
    record = await keep(store, body, **how)
    for before, after in ((S.RECEIVED, S.RELEASED), (S.RELEASED, S.PLANNED)):
        await moved(store, record, before, after, at=at)
    return record


async def moved(
    store: Store, record: AlertRecord, before: AlertState, after: AlertState, *, at: int | None = None
) -> None:
    """Move an alert that is in `before`."""
    event = AlertEvent(record.id, now_ms() if at is None else at, after, "somebody", f"is {after} now")
    assert await store.move_alert(record.id, (before,), event)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Call:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Far:
    """A web server of somebody else; `answers` says what it does at each path."""

    server: Server
    answers: dict[str, Handler | bytes]
    calls: list[Call] = field(default_factory=list)

    def url(self, path: str = "/") -> str:
        return self.server.url + path

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(call.path == path for call in self.calls)


@asynccontextmanager
async def far_end(port: int = 0, **answers: Handler | bytes) -> AsyncIterator[Far]:
    """A server on the loopback; `answers` are named by path without the slash."""
    known: dict[str, Handler | bytes] = {f"/{name}": answer for name, answer in answers.items()}

    async def handle(request: web.Request) -> web.StreamResponse:
        far.calls.append(Call(request.method, request.path, dict(request.headers), await request.read()))
        answer = far.answers.get(request.path)
        if answer is None:
            return web.Response(status=404)
        if isinstance(answer, bytes):
            return web.Response(body=answer, content_type="application/xml")
        return await answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    far = Far(Server(app, "127.0.0.1", port), known)
    await far.server.start()
    try:
        yield far
    finally:
        await far.server.close()


def serve(app: web.Application, store: Store, feeds: FeedRoutes) -> None:
    """The public feeds in `app`, as the broker serves them."""
    gate = Gate(store)
    app.add_routes([gate.route(operation) for operation in published.operations(feeds)])
