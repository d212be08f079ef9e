"""What alerts refer to, who refers to them, and the previews that people were shown before release."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import NotFound
from broker.store import schema
from broker.store.alerts import alert_of, brief_columns, record_event
from broker.store.dispatch import GOING_OUT
from broker.store.part import Part
from broker.store.records import AlertEvent, AlertRecord, PreviewRecord, ReferenceRecord
from broker.types import OVER

_FOLLOWING: Final = ("Update", "Cancel")
_PREVIEW: Final = tuple(field.name for field in fields(PreviewRecord))


class SqlChains(Part):
    """See broker.store.contract.Alerts."""

    async def note_alert(self, event: AlertEvent) -> None:
        """Add to the history. Raises NotFound."""

        async def work(conn: AsyncConnection) -> None:
            known = sa.select(schema.alerts.c.id).where(schema.alerts.c.id == event.alert)
            if await conn.scalar(known) is None:
                raise NotFound(f"no alert {event.alert}")
            await record_event(conn, event)

        await self._db.write(work)

    async def references(self, alert: str) -> list[ReferenceRecord]:
        """In the order of the message."""
        own, others = schema.alert_references, schema.alerts
        query = (
            sa.select(own.c.alert, own.c.sender, own.c.identifier, own.c.sent, others.c.id)
            .select_from(own.outerjoin(others, _same(own, others)))
            .where(own.c.alert == alert)
            .order_by(own.c.position)
        )
        async with self._db.read() as conn:
            return [ReferenceRecord(*row) for row in await conn.execute(query)]

    async def referring(self, alert: str) -> list[AlertRecord]:
        """Oldest first, without the body."""
        own, others = schema.alert_references, schema.alerts.alias("named")
        naming = (
            sa.select(own.c.alert)
            .select_from(own.join(others, _same(own, others)))
            .where(others.c.id == alert, own.c.alert != alert)
        )
        query = sa.select(*brief_columns()).where(schema.alerts.c.id.in_(naming)).order_by(schema.alerts.c.id)
        async with self._db.read() as conn:
            return [alert_of(row) for row in await conn.execute(query)]

    async def over(self, since: int) -> list[str]:
        """Ids, ascending."""
        table = schema.alerts
        query = (
            sa.select(table.c.id)
            .where(table.c.state.in_([str(state) for state in OVER]), table.c.expires > since)
            .order_by(table.c.id)
        )
        async with self._db.read() as conn:
            return list((await conn.execute(query)).scalars())

    async def followers(self, since: int) -> list[AlertRecord]:
        """Oldest first, without the body."""
        table = schema.alerts
        query = (
            sa.select(*brief_columns())
            .where(
                table.c.state.in_([str(state) for state in GOING_OUT]),
                table.c.msg_type.in_(_FOLLOWING),
                table.c.expires > since,
            )
            .order_by(table.c.id)
        )
        async with self._db.read() as conn:
            return [alert_of(row) for row in await conn.execute(query)]

    async def add_preview(self, preview: PreviewRecord) -> None:
        """Keep it, in place of an earlier one of the same id."""
        table = schema.previews

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(sa.delete(table).where(table.c.id == preview.id))
            await conn.execute(sa.insert(table).values(asdict(preview)))

        await self._db.write(work)

    async def preview(self, preview: str) -> PreviewRecord:
        """One preview. Raises NotFound."""
        table = schema.previews
        query = sa.select(*(table.c[name] for name in _PREVIEW)).where(table.c.id == preview)
        async with self._db.read() as conn:
            row = (await conn.execute(query)).first()
        if row is None:
            raise NotFound("no such preview")
        return PreviewRecord(**dict(zip(_PREVIEW, row, strict=True)))


def _same(references: sa.FromClause, alerts: sa.FromClause) -> sa.ColumnElement[bool]:
    """Identity of CAP 1.2, 3.2.1: identifier, sender and sent together."""
    return sa.and_(*(references.c[name] == alerts.c[name] for name in ("identifier", "sender", "sent")))
