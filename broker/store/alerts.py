"""Accepted alerts, their states and the audit of their moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import NotFound
from broker.store import schema
from broker.store.part import Part
from broker.store.records import AlertEvent, AlertRecord
from broker.store.statements import Prepared
from broker.types import AlertState

_FIELDS: Final = tuple(field.name for field in fields(AlertRecord))
STAMPS: Final = {
    AlertState.RELEASED: "released",
    AlertState.PLANNED: "planned",
    AlertState.COMPLETED: "completed",
}
"""States whose moment the alert itself remembers."""


def select_alerts() -> sa.Select[Any]:
    """All columns of alerts in the order that `alert_of` takes them."""
    return sa.select(*(schema.alerts.c[name] for name in _FIELDS))


_BY_ID: Final = Prepared(select_alerts().where(schema.alerts.c.id == sa.bindparam("wanted")))
_BY_DIGEST: Final = Prepared(
    select_alerts().where(schema.alerts.c.digest == sa.bindparam("wanted")).order_by(schema.alerts.c.id).limit(1)
)


class SqlAlerts(Part):
    """See broker.store.contract.Alerts."""

    async def alert(self, alert: str) -> AlertRecord:
        """One alert. Raises NotFound."""
        async with self._db.read() as conn:
            rows = await self._db.fetch(conn, _BY_ID, {"wanted": alert})
        if not rows:
            raise NotFound(f"no alert {alert}")
        return alert_of(rows[0])

    async def alert_by_digest(self, digest: bytes) -> AlertRecord | None:
        """The first alert whose body has this SHA-256."""
        async with self._db.read() as conn:
            rows = await self._db.fetch(conn, _BY_DIGEST, {"wanted": digest})
        return alert_of(rows[0]) if rows else None

    async def alerts(
        self,
        *,
        states: Sequence[AlertState] = (),
        limit: int = 100,
        before: str | None = None,
        department: str | None = None,
        statuses: Sequence[str] = (),
        levels: Sequence[str] = (),
        since: int | None = None,
    ) -> list[AlertRecord]:
        """Newest first, without the body."""
        table = schema.alerts
        query = sa.select(*brief_columns()).order_by(table.c.id.desc()).limit(limit)
        if states:
            query = query.where(table.c.state.in_([str(state) for state in states]))
        if before is not None:
            query = query.where(table.c.id < before)
        if department is not None:
            query = query.where(table.c.department == department)
        if statuses:
            query = query.where(table.c.status.in_(statuses))
        if levels:
            query = query.where(table.c.level.in_(levels))
        if since is not None:
            query = query.where(table.c.received >= since)
        async with self._db.read() as conn:
            return [alert_of(row) for row in await conn.execute(query)]

    async def move_alert(
        self,
        alert: str,
        allowed_from: Sequence[AlertState],
        event: AlertEvent,
        *,
        reason: str | None = None,
        preview: str | None = None,
    ) -> bool:
        """Compare-and-set; raises NotFound if there is no such alert at all."""

        async def work(conn: AsyncConnection) -> bool:
            if await move(conn, alert, allowed_from, event, reason=reason, preview=preview):
                return True
            if await conn.scalar(sa.select(schema.alerts.c.id).where(schema.alerts.c.id == alert)) is None:
                raise NotFound(f"no alert {alert}")
            return False

        return await self._db.write(work)

    async def alert_events(self, alert: str) -> list[AlertEvent]:
        """Oldest first."""
        table = schema.alert_events
        query = (
            sa.select(table.c.alert, table.c.at, table.c.state, table.c.who, table.c.why)
            .where(table.c.alert == alert)
            .order_by(table.c.id)
        )
        async with self._db.read() as conn:
            return [
                AlertEvent(row.alert, row.at, AlertState(row.state), row.who, row.why)
                for row in await conn.execute(query)
            ]


async def move(
    conn: AsyncConnection,
    alert: str,
    allowed_from: Sequence[AlertState],
    event: AlertEvent,
    *,
    reason: str | None = None,
    preview: str | None = None,
    round: int | None = None,  # noqa: A002 - the domain's word, and the column's name
) -> bool:
    """Within a write: set the alert's state if it is one of `allowed_from`, and record the event."""
    table = schema.alerts
    values: dict[str, Any] = {"state": str(event.state)}
    if event.state in STAMPS:
        values[STAMPS[event.state]] = event.at
    given = {"reason": reason, "preview": preview, "round": round}
    values |= {name: value for name, value in given.items() if value is not None}
    allowed = [str(state) for state in allowed_from]
    done = await conn.execute(
        sa.update(table).where(table.c.id == alert, table.c.state.in_(allowed)).values(values)
    )
    if not done.rowcount:
        return False
    await record_event(conn, event)
    return True


async def record_event(conn: AsyncConnection, event: AlertEvent) -> None:
    """Within a write: add to the audit."""
    await conn.execute(sa.insert(schema.alert_events).values({**asdict(event), "state": str(event.state)}))


def brief_columns() -> list[sa.ColumnElement[Any]]:
    """The columns of an alert with an empty body, for listings."""
    table = schema.alerts
    return [sa.literal(b"", sa.LargeBinary).label("body") if name == "body" else table.c[name] for name in _FIELDS]


def alert_of(row: Sequence[Any]) -> AlertRecord:
    """The record of a row of `brief_columns`, or of `select_alerts`."""
    values = dict(zip(_FIELDS, row, strict=True))
    values["state"] = AlertState(values["state"])
    return AlertRecord(**values)
