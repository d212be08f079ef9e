"""Plans, batches, renditions, and the outbox that the work rows are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import NotFound
from broker.store import packing, schema
from broker.store.alerts import move, record_event
from broker.store.database import Row
from broker.store.part import Part, chunks
from broker.store.records import AlertEvent, BatchRecord, Plan, RenditionRecord, Work
from broker.types import AlertState, ChannelName, Lane

_BATCH: Final = (
    "id",
    "alert",
    "segment",
    "channel",
    "lane",
    "rendition",
    "district",
    "round",
    "expires",
    "recipients",
    "addresses",
)
_WORK: Final = ("batch", "attempt", "channel", "lane", "not_before", "ordinals")
WORK_COLUMNS: Final = (*_WORK, "taken", "low", "high")
"""The columns of `work_rows`."""
_LEDGER: Final = ("batch", "alert", "channel", "district", "received", "base", "size")
GOING_OUT: Final = (AlertState.PLANNED, AlertState.SENDING, AlertState.COMPLETED)
"""States in which evidence of an alert's batches may still come."""


class SqlDispatch(Part):
    """See broker.store.contract.Dispatch."""

    async def reserve_batches(self, n: int) -> int:
        """First of `n` consecutive batch ids."""
        return await self._reserve("batch", n)

    async def reserve_renditions(self, n: int) -> int:
        """First of `n` consecutive rendition ids."""
        return await self._reserve("rendition", n)

    async def commit_plan(self, plan: Plan, event: AlertEvent) -> bool:
        """All of the plan, or nothing."""
        _refuse_strangers(plan)

        async def work(conn: AsyncConnection) -> bool:
            if not await move(conn, plan.alert, [AlertState.RELEASED], event, round=plan.round):
                return False
            await self._write_plan(conn, plan)
            return True

        return await self._db.write(work)

    async def commit_round(self, plan: Plan, event: AlertEvent) -> bool:
        """All of a later round, or nothing."""
        _refuse_strangers(plan)
        alerts = schema.alerts
        statement = (
            sa.update(alerts)
            .where(
                alerts.c.id == plan.alert,
                alerts.c.round == plan.round - 1,
                alerts.c.state.in_([str(state) for state in GOING_OUT]),
            )
            .values(round=plan.round)
        )

        async def work(conn: AsyncConnection) -> bool:
            if not (await conn.execute(statement)).rowcount:
                return False
            if not await move(conn, plan.alert, [AlertState.COMPLETED], replace(event, state=AlertState.SENDING)):
                state = await conn.scalar(sa.select(alerts.c.state).where(alerts.c.id == plan.alert))
                await record_event(conn, replace(event, state=AlertState(str(state))))
            await self._write_plan(conn, plan)
            return True

        return await self._db.write(work)

    async def _write_plan(self, conn: AsyncConnection, plan: Plan) -> None:
        db = self._db
        known = sa.select(schema.alerts.c.received).where(schema.alerts.c.id == plan.alert)
        received = int(await conn.scalar(known) or 0)
        if plan.renditions:
            await conn.execute(sa.insert(schema.renditions), [_rendition_row(each) for each in plan.renditions])
        await db.insert_many(conn, schema.batches, _BATCH, (_batch_row(batch) for batch in plan.batches))
        firsts = (Work(batch.id, 1, batch.channel, batch.lane, plan.at) for batch in plan.batches)
        await db.insert_many(conn, schema.work, WORK_COLUMNS, work_rows(firsts))
        rows = (
            (batch.id, batch.alert, str(batch.channel), batch.district, received, plan.at, len(batch))
            for batch in plan.batches
        )
        await db.insert_many(conn, schema.ledger, _LEDGER, rows)
        planned: Counter[tuple[str, int]] = Counter()
        for batch in plan.batches:
            planned[str(batch.channel), batch.district] += len(batch)
        nothing = (0,) * 8
        async with db.slot() as slot:
            counts = [
                (plan.alert, channel, district, slot, n, *nothing)
                for (channel, district), n in sorted(planned.items())
            ]
            await db.add_up(conn, schema.counters, counts)
            await db.add_up(conn, schema.versions, [("ledger", slot, 1)])

    async def unpublished(self, limit: int) -> list[Work]:
        """Urgent lane first; within a lane what is due first, then by batch."""
        table = schema.work
        found: list[Work] = []
        async with self._db.read() as conn:
            for lane in Lane:
                query = (
                    sa.select(*(table.c[name] for name in _WORK))
                    .where(table.c.lane == str(lane), table.c.published_at.is_(None), table.c.closed_at.is_(None))
                    .order_by(table.c.not_before, table.c.batch, table.c.attempt)
                    .limit(limit - len(found))
                )
                found += [_work(row) for row in await conn.execute(query)]
                if len(found) >= limit:
                    break
        return found

    async def mark_published(self, keys: Sequence[tuple[int, int]], at: int) -> None:
        """In the order of the keys, so that two relays cannot deadlock."""
        table = schema.work
        statement = (
            sa.update(table)
            .where(table.c.batch == sa.bindparam("b"), table.c.attempt == sa.bindparam("a"))
            .values(published_at=at)
        )

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(statement, [{"b": batch, "a": attempt} for batch, attempt in sorted(keys)])

        if keys:
            await self._db.write(work)

    async def forget_published(self) -> int:
        """Unmark every open work row."""
        table = schema.work
        statement = (
            sa.update(table)
            .where(table.c.closed_at.is_(None), table.c.published_at.is_not(None))
            .values(published_at=None)
        )

        async def work(conn: AsyncConnection) -> int:
            return (await conn.execute(statement)).rowcount

        return await self._db.write(work)

    async def batch(self, batch: int) -> BatchRecord:
        """One batch. Raises NotFound."""
        (found,) = await self.batches([batch])
        return found

    async def batches(self, ids: Sequence[int]) -> list[BatchRecord]:
        """In the order of `ids`."""
        table = schema.batches
        found: dict[int, BatchRecord] = {}
        async with self._db.read() as conn:
            for some in chunks(ids):
                query = sa.select(*(table.c[name] for name in _BATCH)).where(table.c.id.in_(some))
                found.update((row.id, _batch(row)) for row in await conn.execute(query))
        missing = [batch for batch in ids if batch not in found]
        if missing:
            raise NotFound(f"no batch {', '.join(map(str, missing[:10]))}")
        return [found[batch] for batch in ids]

    async def batch_ids(
        self,
        *,
        alert: str | None = None,
        channel: ChannelName | None = None,
        expires_after: int | None = None,
    ) -> list[int]:
        """Ascending."""
        table = schema.batches
        query = sa.select(table.c.id).order_by(table.c.id)
        if alert is None:
            states = [str(state) for state in GOING_OUT]
            running = sa.select(schema.alerts.c.id).where(schema.alerts.c.state.in_(states))
            query = query.where(table.c.alert.in_(running))
        else:
            query = query.where(table.c.alert == alert)
        if channel is not None:
            query = query.where(table.c.channel == str(channel))
        if expires_after is not None:
            query = query.where(table.c.expires > expires_after)
        async with self._db.read() as conn:
            return list((await conn.execute(query)).scalars())

    async def rendition(self, rendition: int) -> RenditionRecord:
        """One rendition. Raises NotFound."""
        found = await self._renditions(schema.renditions.c.id == rendition)
        if not found:
            raise NotFound(f"no rendition {rendition}")
        return found[0]

    async def renditions(self, alert: str) -> list[RenditionRecord]:
        """All renditions of an alert, by id."""
        return await self._renditions(schema.renditions.c.alert == alert)

    async def _renditions(self, which: sa.ColumnElement[bool]) -> list[RenditionRecord]:
        query = sa.select(schema.renditions).where(which).order_by(schema.renditions.c.id)
        async with self._db.read() as conn:
            return [_rendition(row) for row in await conn.execute(query)]

    async def erase_addresses(self, alert: str) -> None:
        """Empty the sealed addresses."""
        table = schema.batches
        statement = sa.update(table).where(table.c.alert == alert).values(addresses=b"")

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(statement)

        await self._db.write(work)


def _refuse_strangers(plan: Plan) -> None:
    strangers = {batch.alert for batch in plan.batches} | {rendition.alert for rendition in plan.renditions}
    if strangers - {plan.alert}:
        raise ValueError("a plan holds batches and renditions of its own alert only")
    if {batch.round for batch in plan.batches} - {plan.round}:
        raise ValueError("a plan holds batches of its own round only")


def work_rows(items: Iterable[Work]) -> Iterator[Row]:
    """Rows for fresh work: its columns, never taken, nothing done."""
    for item in items:
        ordinals = packing.pack_optional(item.ordinals, packing.U2)
        yield (item.batch, item.attempt, str(item.channel), str(item.lane), item.not_before, ordinals, 0, 0, 0)


def _rendition_row(rendition: RenditionRecord) -> dict[str, Any]:
    return {
        "id": rendition.id,
        "alert": rendition.alert,
        "segment": rendition.segment,
        "channel": str(rendition.channel),
        "language": rendition.language,
        "template": rendition.template,
        "content": rendition.content,
    }


def _rendition(row: sa.Row[Any]) -> RenditionRecord:
    return RenditionRecord(
        row.id, row.alert, row.segment, ChannelName(row.channel), row.language, row.template, row.content
    )


def _batch_row(batch: BatchRecord) -> Row:
    return (
        batch.id,
        batch.alert,
        batch.segment,
        str(batch.channel),
        str(batch.lane),
        batch.rendition,
        batch.district,
        batch.round,
        batch.expires,
        packing.pack(batch.recipients, packing.U4),
        batch.addresses,
    )


def _batch(row: sa.Row[Any]) -> BatchRecord:
    return BatchRecord(
        id=row.id,
        alert=row.alert,
        segment=row.segment,
        channel=ChannelName(row.channel),
        lane=Lane(row.lane),
        rendition=row.rendition,
        district=row.district,
        round=row.round,
        expires=row.expires,
        recipients=packing.unpack(row.recipients, packing.U4),
        addresses=bytes(row.addresses),
    )


def _work(row: sa.Row[Any]) -> Work:
    return Work(
        row.batch,
        row.attempt,
        ChannelName(row.channel),
        Lane(row.lane),
        row.not_before,
        packing.unpack_optional(row.ordinals, packing.U2),
    )
