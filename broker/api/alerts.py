"""`/v1/alerts`: accept, list, state and counts, original bytes, release."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np
from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError
from multidict import MultiMapping

from broker.clock import from_ms
from broker.errors import Conflict, InputRefused, NotAllowed, NotFound, Problem
from broker.intake import tokens
from broker.intake.accept import Intake, is_id
from broker.ledger.arrays import COUNT_NAMES
from broker.metrics import Metrics
from broker.release.release import Release
from broker.store.contract import Store
from broker.store.records import AlertRecord, TokenRecord
from broker.types import AlertState

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LIMIT: Final = re.compile(r"[0-9]{1,3}", re.ASCII)
_MOST: Final = 200
"""Alerts on one page of a listing."""
BODY_SECONDS = 30.0
"""How long a body may take to come, so that nobody can hold connections open by sending slowly."""
_REFUSALS = {413: "too_large", 415: "media_type", 403: "not_allowed"}


class AlertRoutes:
    """The routes under `/v1/alerts`."""

    def __init__(
        self, store: Store, intake: Intake, release: Release, metrics: Metrics, *, released: Callable[[], None]
    ) -> None:
        self._store = store
        self._intake = intake
        self._release = release
        self._metrics = metrics
        self._released = released

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.post("/v1/alerts", self.post),
            web.get("/v1/alerts", self.list),
            web.get("/v1/alerts/{id}", self.get),
            web.get("/v1/alerts/{id}/cap", self.cap),
            web.post("/v1/alerts/{id}/release", self.release),
        ]

    async def post(self, request: web.Request) -> web.Response:
        """202 with a Location once the alert is durable; the same message again, the same answer."""
        try:
            token = await self._token(request, tokens.Scope.POST)
            body = await self._body(request)
            alert = await self._intake.accept(body, request.headers.get("Content-Type", ""), token)
        except InputRefused as error:
            self._metrics.refused.labels(_REFUSALS.get(error.status, "invalid")).inc()
            raise
        except tokens.Unauthenticated:
            self._metrics.refused.labels("unauthenticated").inc()
            raise
        except NotAllowed:
            self._metrics.refused.labels("not_allowed").inc()
            raise
        except Conflict:
            self._metrics.refused.labels("conflict").inc()
            raise
        state = alert.state
        if state is AlertState.RECEIVED:
            state = await self._release.admit(alert)
            self._metrics.accepted.labels(alert.level or "none").inc()
        if state is AlertState.RELEASED:
            self._released()
        location = f"/v1/alerts/{alert.id}"
        body_out = {
            "id": alert.id,
            "identifier": alert.identifier,
            "state": str(AlertState.RECEIVED),
            "url": location,
        }
        return web.json_response(body_out, status=202, headers={"Location": location})

    async def list(self, request: web.Request) -> web.Response:
        """The department's alerts, newest first; `?before=ID&limit=N` goes on."""
        token = await self._token(request, tokens.Scope.READ)
        limit, before = _page(request.query)
        alerts = await self._store.alerts(limit=limit, before=before)
        shown = [brief(alert) for alert in alerts if alert.department == token.department]
        following = alerts[-1].id if len(alerts) == limit else None
        return web.json_response({"alerts": shown, "next": following})

    async def get(self, request: web.Request) -> web.Response:
        """State, history and counts by channel."""
        alert = await self._own(request)
        channels: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
        for row in await self._store.counters(alert.id):
            total = channels.setdefault(row.channel, np.zeros(len(COUNT_NAMES), np.int64))
            total += np.array(row.counts, np.int64)
        events = await self._store.alert_events(alert.id)
        return web.json_response(
            brief(alert)
            | {
                "reason": alert.reason,
                "channels": {
                    name: dict(zip(COUNT_NAMES, total.tolist(), strict=True)) for name, total in channels.items()
                },
                "history": [
                    {"at": iso(event.at), "state": str(event.state), "who": event.who, "why": event.why}
                    for event in events
                ],
            }
        )

    async def cap(self, request: web.Request) -> web.Response:
        """The original bytes."""
        alert = await self._own(request)
        return web.Response(body=alert.body, headers={"Content-Type": alert.content_type})

    async def release(self, request: web.Request) -> web.Response:
        """A second person lets a waiting alert go."""
        token = await self._token(request, tokens.Scope.RELEASE)
        alert = await self._release.release(_id(request), token)
        self._released()
        return web.json_response(brief(alert))

    async def _token(self, request: web.Request, scope: tokens.Scope) -> TokenRecord:
        token = await tokens.authenticate(request.headers.get("Authorization"), self._store)
        tokens.require(token, scope)
        return token

    async def _own(self, request: web.Request) -> AlertRecord:
        token = await self._token(request, tokens.Scope.READ)
        alert = await self._store.alert(_id(request))
        if alert.department != token.department:
            raise NotAllowed("this alert is another department's")
        return alert

    async def _body(self, request: web.Request) -> bytes:
        limit = self._intake.max_bytes
        if request.content_length is not None and request.content_length > limit:
            raise _too_large(limit)
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.content.iter_chunked(65536):
                    body += chunk
                    if len(body) > limit:
                        raise _too_large(limit)
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


def _id(request: web.Request) -> str:
    """The alert's id in the path. Raises NotFound for what cannot be one, whatever the store makes of it."""
    given = request.match_info["id"]
    if not is_id(given):
        raise NotFound("no such alert")
    return given


def _page(query: MultiMapping[str]) -> tuple[int, str | None]:
    """(limit, before) of a listing. Raises InputRefused (400)."""
    problems = [
        Problem(f"query/{name[:40]}", "query.unknown", "only limit and before are known")
        for name in dict.fromkeys(query)
        if name not in ("limit", "before")
    ]
    problems += [
        Problem(f"query/{name}", "query.repeated", f"{name} is given more than once")
        for name in ("limit", "before")
        if len(query.getall(name, [])) > 1
    ]
    limit, before = query.get("limit", "50"), query.get("before")
    if not _LIMIT.fullmatch(limit) or not 1 <= int(limit) <= _MOST:
        message = f"a number from 1 to {_MOST} is expected"
        problems.append(Problem("query/limit", "query.limit", message, limit[:40]))
    if before is not None and not is_id(before):
        problems.append(Problem("query/before", "query.before", "an alert's id is expected", before[:40]))
    if problems:
        raise InputRefused(problems, status=400)
    return int(limit), before


def _too_large(limit: int) -> InputRefused:
    return InputRefused([Problem("body", "body.size", f"more than {limit} bytes")], status=413)


def brief(alert: AlertRecord) -> dict[str, object]:
    """An alert's own facts as JSON."""
    return {
        "id": alert.id,
        "identifier": alert.identifier,
        "sender": alert.sender,
        "sent": iso(alert.sent),
        "department": alert.department,
        "status": alert.status,
        "msgType": alert.msg_type,
        "level": alert.level,
        "event": alert.event,
        "headline": alert.headline,
        "state": str(alert.state),
        "received": iso(alert.received),
        "expires": iso(alert.expires),
        "released": iso(alert.released),
        "planned": iso(alert.planned),
        "completed": iso(alert.completed),
    }


def iso(ms: int | None) -> str | None:
    """ISO 8601 in UTC with milliseconds."""
    return None if ms is None else from_ms(ms).isoformat(timespec="milliseconds")
