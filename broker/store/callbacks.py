"""Who is told of the states of alerts, and what they were told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import ClaimLost, NotFound
from broker.store import schema
from broker.store.outside_records import CallbackRecord, DeliveryOutcome, DeliveryRecord
from broker.store.part import Part
from broker.types import AlertState

SETTLED_MS: Final = 120_000
"""After so long no transaction commits any more. Ids are given before the commit, so an event may become visible
after one with a higher id: a cursor that had passed it would lose it."""
_WAITING: Final = str(DeliveryOutcome.WAITING)
_CALLBACK: Final = tuple(field.name for field in fields(CallbackRecord))
_DELIVERY: Final = tuple(field.name for field in fields(DeliveryRecord))


class SqlCallbacks(Part):
    """See broker.store.outside_contract.Callbacks."""

    async def add_callback(self, callback: CallbackRecord) -> None:
        """Keep it, with the cursor at the present. Raises StoreError."""
        table, events = schema.callbacks, schema.alert_events
        row = {name: getattr(callback, name) for name in _CALLBACK}
        row["states"] = [str(state) for state in callback.states]

        async def work(conn: AsyncConnection) -> None:
            row["cursor"] = int(await conn.scalar(sa.select(sa.func.max(events.c.id))) or 0)
            await conn.execute(sa.insert(table).values(row))

        await self._db.write(work)

    async def callbacks(self, department: str | None = None) -> list[CallbackRecord]:
        """Oldest first."""
        table = schema.callbacks
        query = sa.select(*(table.c[name] for name in _CALLBACK)).order_by(table.c.created, table.c.id)
        if department is not None:
            query = query.where(table.c.department == department)
        async with self._db.read() as conn:
            return [_callback(row) for row in (await conn.execute(query)).mappings()]

    async def callback(self, callback: str) -> CallbackRecord:
        """One callback. Raises NotFound."""
        table = schema.callbacks
        query = sa.select(*(table.c[name] for name in _CALLBACK)).where(table.c.id == callback)
        async with self._db.read() as conn:
            row = (await conn.execute(query)).mappings().first()
        if row is None:
            raise NotFound(f"no callback {callback}")
        return _callback(row)

    async def remove_callback(self, callback: str) -> bool:
        """Delete it and its deliveries."""
        table, deliveries = schema.callbacks, schema.callback_deliveries

        async def work(conn: AsyncConnection) -> bool:
            # Locks it first, so that nobody makes a delivery of it between the two statements.
            await conn.execute(sa.update(table).where(table.c.id == callback).values(cursor=table.c.cursor))
            await conn.execute(sa.delete(deliveries).where(deliveries.c.callback == callback))
            return bool((await conn.execute(sa.delete(table).where(table.c.id == callback))).rowcount)

        return await self._db.write(work)

    async def spread_events(self, now: int, *, limit: int = 200) -> int:
        """Make the deliveries that are missing."""
        made = 0
        for callback in await self.callbacks():
            made += await self._spread(callback, now, limit)
        return made

    async def _spread(self, callback: CallbackRecord, now: int, limit: int) -> int:
        table, events = schema.callbacks, schema.alert_events
        # The lock makes two processes take turns; the unique key would keep them from telling twice anyway.
        lock = (
            sa.update(table)
            .where(table.c.id == callback.id)
            .values(cursor=table.c.cursor)
            .returning(*(table.c[name] for name in _CALLBACK))
        )

        async def work(conn: AsyncConnection) -> int:
            row = (await conn.execute(lock)).mappings().first()
            if row is None:
                return 0
            found = _callback(row)
            missing = (await conn.execute(_missing(found, limit))).all()
            for event in missing:
                values = {
                    "callback": found.id,
                    "event": event.id,
                    "alert": event.alert,
                    "state": event.state,
                    "at": event.at,
                    "why": event.why,
                    "created": now,
                    "next_try": now,
                    "attempts": 0,
                    "taken": 0,
                    "outcome": _WAITING,
                }
                await conn.execute(self._db.insert_new(schema.callback_deliveries, values))
            last = await conn.scalar(sa.select(sa.func.max(events.c.id)).where(_settled(found, now)))
            if last is not None:
                # A full page may not be all: never past what has become a delivery.
                reached = min(last, missing[-1].id) if len(missing) == limit else last
                await conn.execute(sa.update(table).where(table.c.id == found.id).values(cursor=reached))
            return len(missing)

        # Looked at before anything is locked: most of the time there is nothing to do.
        return await self._db.write(work) if await self._to_spread(callback, now) else 0

    async def _to_spread(self, callback: CallbackRecord, now: int) -> bool:
        """Whether a delivery is missing, or the cursor can move on."""
        passed = sa.select(schema.alert_events.c.id).where(_settled(callback, now)).limit(1)
        async with self._db.read() as conn:
            if (await conn.execute(_missing(callback, 1))).first() is not None:
                return True
            return (await conn.execute(passed)).first() is not None

    async def due_callbacks(self, now: int) -> list[str]:
        """By id."""
        table = schema.callback_deliveries
        query = sa.select(table.c.callback).where(_due(table, now)).distinct().order_by(table.c.callback)
        async with self._db.read() as conn:
            return list((await conn.execute(query)).scalars())

    async def due_deliveries(self, callback: str, now: int, *, limit: int) -> list[DeliveryRecord]:
        """The first of each alert."""
        table = schema.callback_deliveries
        earlier = table.alias("earlier")
        held_back = (
            sa.select(sa.literal(1))
            .where(
                earlier.c.callback == table.c.callback,
                earlier.c.alert == table.c.alert,
                earlier.c.outcome == _WAITING,
                earlier.c.event < table.c.event,
            )
            .exists()
        )
        query = (
            sa.select(*(table.c[name] for name in _DELIVERY))
            .where(table.c.callback == callback, _due(table, now), ~held_back)
            .order_by(table.c.next_try, table.c.event)
            .limit(limit)
        )
        async with self._db.read() as conn:
            return [_delivery(row) for row in (await conn.execute(query)).mappings()]

    async def claim_delivery(self, delivery: DeliveryRecord, *, now: int, lease_ms: int) -> DeliveryRecord | None:
        """Raise `taken` if it is still what was read."""
        table = schema.callback_deliveries
        statement = (
            sa.update(table)
            .where(table.c.id == delivery.id, table.c.taken == delivery.taken, _due(table, now))
            .values(taken=table.c.taken + 1, lease_until=now + lease_ms)
        )

        async def work(conn: AsyncConnection) -> bool:
            return bool((await conn.execute(statement)).rowcount)

        return replace(delivery, taken=delivery.taken + 1) if await self._db.write(work) else None

    async def close_delivery(self, delivery: DeliveryRecord) -> None:
        """Keep the outcome. Raises ClaimLost."""
        table = schema.callback_deliveries
        kept = ("next_try", "attempts", "closed", "status", "error")
        values: dict[str, Any] = {name: getattr(delivery, name) for name in kept}
        values |= {"outcome": str(delivery.outcome), "lease_until": None}
        statement = (
            sa.update(table)
            .where(table.c.id == delivery.id, table.c.taken == delivery.taken, table.c.outcome == _WAITING)
            .values(values)
        )

        async def work(conn: AsyncConnection) -> None:
            if not (await conn.execute(statement)).rowcount:
                raise ClaimLost(f"the delivery {delivery.public_id} is another's now, or gone")

        await self._db.write(work)

    async def deliveries(
        self, *, callback: str | None = None, outcomes: Sequence[DeliveryOutcome] = (), limit: int = 100
    ) -> list[DeliveryRecord]:
        """Newest first."""
        table = schema.callback_deliveries
        query = sa.select(*(table.c[name] for name in _DELIVERY)).order_by(table.c.id.desc()).limit(limit)
        if callback is not None:
            query = query.where(table.c.callback == callback)
        if outcomes:
            query = query.where(table.c.outcome.in_([str(outcome) for outcome in outcomes]))
        async with self._db.read() as conn:
            return [_delivery(row) for row in (await conn.execute(query)).mappings()]

    async def forget_deliveries(self, before: int) -> int:
        """Delete what was closed long ago; events that old are never looked at again."""
        table = schema.callback_deliveries
        statement = sa.delete(table).where(table.c.outcome != _WAITING, table.c.closed < before)

        async def work(conn: AsyncConnection) -> int:
            return (await conn.execute(statement)).rowcount

        return await self._db.write(work)


def _missing(callback: CallbackRecord, limit: int) -> sa.Select[Any]:
    """Events of the department, after the cursor, that are no delivery of the callback yet."""
    events, alerts, deliveries = schema.alert_events, schema.alerts, schema.callback_deliveries
    there = (
        sa.select(sa.literal(1))
        .where(deliveries.c.callback == callback.id, deliveries.c.event == events.c.id)
        .exists()
    )
    query = (
        sa.select(events.c.id, events.c.alert, events.c.at, events.c.state, events.c.why)
        .select_from(events.join(alerts, alerts.c.id == events.c.alert))
        .where(events.c.id > callback.cursor, alerts.c.department == callback.department, ~there)
        .order_by(events.c.id)
        .limit(limit)
    )
    if callback.states:
        query = query.where(events.c.state.in_([str(state) for state in callback.states]))
    return query


def _settled(callback: CallbackRecord, now: int) -> sa.ColumnElement[bool]:
    """Events after the cursor that are old enough for it to pass."""
    events = schema.alert_events
    return sa.and_(events.c.id > callback.cursor, events.c.at <= now - SETTLED_MS)


def _due(table: sa.FromClause, now: int) -> sa.ColumnElement[bool]:
    return sa.and_(
        table.c.outcome == _WAITING,
        table.c.next_try <= now,
        sa.or_(table.c.lease_until.is_(None), table.c.lease_until <= now),
    )


def _callback(row: sa.RowMapping) -> CallbackRecord:
    values: dict[str, Any] = dict(row)
    values["sealed"] = bytes(values["sealed"])
    values["states"] = tuple(AlertState(state) for state in values["states"])
    return CallbackRecord(**values)


def _delivery(row: sa.RowMapping) -> DeliveryRecord:
    values: dict[str, Any] = dict(row)
    values["state"] = AlertState(values["state"])
    values["outcome"] = DeliveryOutcome(values["outcome"])
    return DeliveryRecord(**values)
