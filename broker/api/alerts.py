"""`/v1/alerts`: accept, list, state and counts, history, original bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from aiohttp import web

from broker.api.answering import answer, answer_json, iso
from broker.api.bodies import Bodies
from broker.api.declare import Call
from broker.api.listing import AlertQuery, page_of
from broker.cap.document import read
from broker.cap.findings import Posture
from broker.cap.limits import Limits
from broker.cap.model import MsgType
from broker.errors import InputRefused, NotAllowed, NotFound
from broker.intake.accept import Intake, form_of, is_id
from broker.ledger.arrays import COUNT_NAMES
from broker.metrics import Metrics
from broker.release.release import Release
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord, TokenRecord
from broker.types import AlertState

_TYPE: Final = "Content-Type"


class AlertCalls:
    """What the calls under `/v1/alerts` do; `broker.api.operations` declares them."""

    def __init__(
        self,
        store: Store,
        intake: Intake,
        release: Release,
        metrics: Metrics,
        bodies: Bodies,
        *,
        released: Callable[[], None],
    ) -> None:
        self._store = store
        self._intake = intake
        self._release = release
        self._metrics = metrics
        self._bodies = bodies
        self._released = released

    def count_refusal(self, code: str) -> None:
        """A post was refused."""
        self._metrics.refused.labels(code).inc()

    async def post(self, call: Call) -> web.Response:
        """202 with a Location once the alert is durable; the same message again, the same answer."""
        body = await self._body(call)
        return await self.accept(body, call.request.headers.get(_TYPE, ""), call.token)

    async def accept(self, body: bytes, content_type: str, token: TokenRecord) -> web.Response:
        """Take a message in, decide on its release, and answer 202."""
        return accepted(await self.take(body, content_type, token))

    async def take(self, body: bytes, content_type: str, token: TokenRecord) -> AlertRecord:
        """Take a message in and decide on its release."""
        alert = await self._intake.accept(body, content_type, token)
        state = alert.state
        if state is AlertState.RECEIVED:  # its first move needed more than the department's rules
            state = await self._release.admit(alert)
        if state is AlertState.RELEASED:
            self._released()
        return alert

    async def is_cancel(self, call: Call) -> bool:
        """Whether the body of a post takes a warning back: that is never put off."""
        try:
            form = form_of(call.request.headers.get(_TYPE, ""))
            reading = read(
                await self._body(call),
                form,
                limits=Limits(max_bytes=self._intake.max_bytes),
                posture=Posture.LENIENT,
            )
        except InputRefused:
            return False
        return reading.alert is not None and reading.alert.msg_type is MsgType.CANCEL

    async def _body(self, call: Call) -> bytes:
        if call.raw is None:
            call.raw = await self._bodies.read(call.request, self._intake.max_bytes)
        return call.raw

    async def list(self, call: Call) -> web.Response:
        """The department's alerts, newest first, page by page."""
        query = call.query(AlertQuery)
        given = [(name, value) for name, value in call.request.query.items() if name != "cursor"]
        alerts, cursor, link = await page_of(self._store, call.token.department, query, given)
        body = {"alerts": [brief(alert) for alert in alerts], "next": cursor}
        return answer_json(call.request, body, {} if link is None else {"Link": link})

    async def get(self, call: Call) -> web.Response:
        """State, history, relations and counts by channel."""
        alert = await self.own(call)
        channels: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
        for row in await self._store.counters(alert.id):
            total = channels.setdefault(row.channel, np.zeros(len(COUNT_NAMES), np.int64))
            total += np.array(row.counts, np.int64)
        counts = {name: dict(zip(COUNT_NAMES, total.tolist(), strict=True)) for name, total in channels.items()}
        body = brief(alert) | {"reason": alert.reason, "preview": alert.preview, "channels": counts}
        return answer_json(call.request, body | await self._relations(alert) | await self._history(alert))

    async def history(self, call: Call) -> web.Response:
        """Every move and note, oldest first."""
        return answer_json(call.request, await self._history(await self.own(call)))

    async def references(self, call: Call) -> web.Response:
        """What it refers to, and who refers to it."""
        return answer_json(call.request, await self._relations(await self.own(call)))

    async def cap(self, call: Call) -> web.Response:
        """The original bytes; their ETag is strong, for they never change."""
        alert = await self.own(call)
        return answer(call.request, alert.body, alert.content_type, digest=alert.digest, weak=False)

    async def own(self, call: Call) -> AlertRecord:
        """The alert that the path names. Raises NotFound, and NotAllowed if it is another department's."""
        given = call.request.match_info["id"]
        if not is_id(given):  # whatever the store would make of it
            raise NotFound("no such alert")
        alert = await self._store.alert(given)
        if alert.department != call.token.department:
            raise NotAllowed("this alert is another department's")
        return alert

    async def _history(self, alert: AlertRecord) -> dict[str, Any]:
        return {"history": [_step(event) for event in await self._store.alert_events(alert.id)]}

    async def _relations(self, alert: AlertRecord) -> dict[str, Any]:
        return {
            "references": [
                {
                    "sender": each.sender,
                    "identifier": each.identifier,
                    "sent": iso(each.sent),
                    "alert": each.target,
                    "url": None if each.target is None else f"/v1/alerts/{each.target}",
                }
                for each in await self._store.references(alert.id)
            ],
            "referred_by": [
                {
                    "id": each.id,
                    "department": each.department,
                    "sender": each.sender,
                    "identifier": each.identifier,
                    "sent": iso(each.sent),
                    "msgType": each.msg_type,
                    "state": str(each.state),
                    "url": f"/v1/alerts/{each.id}",
                }
                for each in await self._store.referring(alert.id)
            ],
        }


def counting(metrics: Metrics) -> Callable[[AlertRecord], None]:
    """Counts what intake keeps for the first time."""

    def count(alert: AlertRecord) -> None:
        metrics.accepted.labels(alert.level or "none").inc()

    return count


def accepted(alert: AlertRecord) -> web.Response:
    """202 with the Location of an alert that is durable."""
    location = f"/v1/alerts/{alert.id}"
    body = {
        "id": alert.id,
        "identifier": alert.identifier,
        "state": str(AlertState.RECEIVED),
        "url": location,
    }
    return web.json_response(body, status=202, headers={"Location": location})


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
        "scope": alert.scope,
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


def _step(event: AlertEvent) -> dict[str, object]:
    return {"at": iso(event.at), "state": str(event.state), "who": event.who, "why": event.why}
