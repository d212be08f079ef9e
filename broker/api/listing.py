"""Pages of a department's alerts: filters, opaque cursors, and the link to the next page (RFC 8288)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from broker.api.models import Level, State, Status
from broker.api.said import said
from broker.clock import to_ms
from broker.errors import InputRefused, Problem
from broker.intake.accept import is_id
from broker.store.contract import Alerts
from broker.store.records import AlertRecord
from broker.types import AlertState

_NUMBER: Final = re.compile(r"[0-9]{1,3}", re.ASCII)
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_CURSOR: Final = re.compile(r"[A-Za-z0-9_-]{1,120}", re.ASCII)
_MOST: Final = 200
"""Alerts on one page."""
_VERSION: Final = 1


def _whole(text: Any) -> Any:
    if isinstance(text, str):
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"a number from 1 to {_MOST} is expected")
        return int(text)
    return text


def _instant(text: Any) -> int | None:
    if text is None:
        return None
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        # Python keeps microseconds; a filter needs no more.
        return to_ms(datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text.upper())))
    except (ValueError, OverflowError):
        message = "a time as in 2026-11-24T08:00:00%2B08:00 is expected (in a query + is written %2B)"
        raise ValueError(message) from None


def _cursor(text: str) -> str:
    if not _CURSOR.fullmatch(text):
        raise ValueError("the `next` of a page is expected")
    return text


class AlertQuery(BaseModel):
    """Which alerts, and how many at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, BeforeValidator(_whole), Field(ge=1, le=_MOST)] = said(
        "Alerts on one page.", "每页条数。", default=50
    )
    cursor: Annotated[
        str | None,
        AfterValidator(lambda text: None if text is None else _cursor(text)),
        WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,120}$"}),
    ] = said("The `next` of the page before.", "上一页的 `next`。", default=None)
    state: tuple[State, ...] = said("One of these states.", "处于这些状态之一。", default=())
    status: tuple[Status, ...] = said("One of these CAP statuses.", "属于这些 CAP 状态（status）之一。", default=())
    level: tuple[Level, ...] = said("One of these levels.", "属于这些级别之一。", default=())
    since: Annotated[
        int | None, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})
    ] = said("Received at or after this time (RFC 3339).", "在此时间或之后接收（RFC 3339）。", default=None)

    @property
    def filters(self) -> list[tuple[str, str]]:
        """All but cursor and limit, as a query has them."""
        chosen = [(name, value) for name in ("state", "status", "level") for value in getattr(self, name)]
        return [*chosen, *([] if self.since is None else [("since", str(self.since))])]


async def page_of(
    store: Alerts, department: str, query: AlertQuery, given: list[tuple[str, str]]
) -> tuple[list[AlertRecord], str | None, str | None]:
    """(alerts, cursor of the next page, its Link header). `given` is the query as it came, without cursor.

    A page is cut after the department and the filters were applied, so it is full unless it is the last.
    Raises InputRefused (400) for a cursor that is not ours or belongs to other filters.
    """
    before = None if query.cursor is None else _read_cursor(query.cursor, department, query)
    alerts = await store.alerts(
        department=department,
        states=tuple(AlertState(state) for state in query.state),
        statuses=query.status,
        levels=query.level,
        since=query.since,
        before=before,
        limit=query.limit + 1,  # one more tells whether there is a next page
    )
    if len(alerts) <= query.limit:
        return alerts, None, None
    alerts = alerts[: query.limit]
    cursor = _make_cursor(alerts[-1].id, department, query)
    link = f'</v1/alerts?{urlencode([*given, ("cursor", cursor)])}>; rel="next"'
    return alerts, cursor, link


def _sum(department: str, query: AlertQuery) -> str:
    """Ties a cursor to what was asked; no secret: a cursor shows nothing that its filters do not."""
    return hashlib.sha256(json.dumps([department, query.filters]).encode()).hexdigest()[:8]


def _make_cursor(alert: str, department: str, query: AlertQuery) -> str:
    text = f"{_VERSION}.{alert}.{_sum(department, query)}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, department: str, query: AlertQuery) -> str:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        version, alert, tie = text.split(".")
    except (binascii.Error, ValueError):
        version = alert = tie = ""
    if version != str(_VERSION) or not is_id(alert):
        message = "the `next` of a page is expected"
    elif tie != _sum(department, query):
        message = "this cursor belongs to other filters: begin again without it"
    else:
        return alert
    raise InputRefused([Problem("query/cursor", "query.cursor", message, cursor[:40])], status=400)
