"""Who sends what: compare-and-set with a lease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import ClaimLost
from broker.ledger.arrays import Ordinals
from broker.store import packing, schema
from broker.store.dispatch import WORK_COLUMNS, work_rows
from broker.store.part import Part, chunks
from broker.store.records import Claim, FarIds, OpenWork, Work
from broker.store.statements import Prepared, now
from broker.types import ChannelName

_work = schema.work
_this = (_work.c.batch == sa.bindparam("batch_"), _work.c.attempt == sa.bindparam("attempt_"))
_held = (
    *_this,
    _work.c.owner == sa.bindparam("owner_"),
    _work.c.taken == sa.bindparam("taken_"),
    _work.c.closed_at.is_(None),
)
_CLAIM: Final = Prepared(
    sa.update(_work)
    .where(*_this, _work.c.closed_at.is_(None), _work.c.lease_until.is_(None) | (_work.c.lease_until <= now()))
    .values(owner=sa.bindparam("owner_"), lease_until=now() + sa.bindparam("lease_"), taken=_work.c.taken + 1)
    .returning(_work.c.taken, _work.c.low, _work.c.high, _work.c.ordinals, _work.c.retry)
)
_MARK: Final = Prepared(
    sa.update(_work)
    .where(*_held)
    .values(
        low=sa.bindparam("low_"),
        high=sa.bindparam("high_"),
        lease_until=now() + sa.bindparam("lease_"),
        retry=sa.func.coalesce(sa.bindparam("retry_", type_=sa.LargeBinary), _work.c.retry),
    )
    .returning(_work.c.batch)
)
_CLOSE: Final = Prepared(
    sa.update(_work).where(*_held).values(closed_at=now(), owner=None, lease_until=None).returning(_work.c.batch)
)
_FAR: Final = ("channel", "batch", "attempt", "ordinals", "width", "ids")
_KEEP: Final = Prepared(
    sa.insert(schema.far_ids)
    .values({name: sa.bindparam(f"{name}_") for name in _FAR})
    .returning(schema.far_ids.c.id)
)


class SqlClaims(Part):
    """See broker.store.contract.Claims."""

    async def claim(self, batch: int, attempt: int, owner: str, lease_ms: int) -> Claim | None:
        """Take it, also from the same owner once the lease has run out: that hold is then void."""
        values = {"batch_": batch, "attempt_": attempt, "owner_": owner, "lease_": lease_ms}

        async def work(conn: AsyncConnection) -> Claim | None:
            rows = await self._db.fetch(conn, _CLAIM, values)
            if not rows:
                return None
            taken, low, high, ordinals, retry = rows[0]
            return Claim(
                batch,
                attempt,
                owner,
                low,
                high,
                packing.unpack_optional(ordinals, packing.U2),
                packing.unpack(retry or b"", packing.U2),
                taken,
            )

        return await self._db.write(work, single=True)

    async def work_open(self, batch: int, attempt: int) -> bool:
        """Whether it exists and is not closed."""
        table = schema.work
        query = sa.select(table.c.batch).where(
            table.c.batch == batch, table.c.attempt == attempt, table.c.closed_at.is_(None)
        )
        async with self._db.read() as conn:
            return (await conn.execute(query)).first() is not None

    async def mark(
        self,
        claim: Claim,
        *,
        low: int,
        high: int,
        lease_ms: int,
        far_ids: FarIds | None = None,
        retry: Ordinals | None = None,
    ) -> None:
        """Move the window in doubt and renew the lease. Raises ClaimLost."""
        values = {
            **_identity(claim),
            "low_": low,
            "high_": high,
            "lease_": lease_ms,
            "retry_": packing.pack_optional(retry, packing.U2),
        }
        kept = None if far_ids is None else _far_row(far_ids)

        async def work(conn: AsyncConnection) -> None:
            if not await self._db.fetch(conn, _MARK, values):
                raise _lost(claim)
            if kept is not None:
                await self._db.fetch(conn, _KEEP, kept)

        await self._db.write(work, single=kept is None)

    async def close_work(self, claim: Claim, *, far_ids: FarIds | None = None, retry: Work | None = None) -> None:
        """Close it and open the next attempt. Raises ClaimLost."""
        values = _identity(claim)
        kept = None if far_ids is None else _far_row(far_ids)

        async def work(conn: AsyncConnection) -> None:
            if not await self._db.fetch(conn, _CLOSE, values):
                raise _lost(claim)
            if kept is not None:
                await self._db.fetch(conn, _KEEP, kept)
            if retry is not None:
                await self._db.insert_many(conn, schema.work, WORK_COLUMNS, work_rows([retry]))

        await self._db.write(work, single=kept is None and retry is None)

    async def release_claims(self) -> int:
        """Void every lease; windows in doubt stay in doubt."""
        table = schema.work
        statement = (
            sa.update(table)
            .where(table.c.closed_at.is_(None), table.c.owner.is_not(None))
            .values(owner=None, lease_until=None)
        )

        async def work(conn: AsyncConnection) -> int:
            return (await conn.execute(statement)).rowcount

        return await self._db.write(work)

    async def far_ids(self, channel: ChannelName, batches: Sequence[int]) -> list[FarIds]:
        """In the order in which they were kept."""
        table = schema.far_ids
        found: list[tuple[int, FarIds]] = []
        async with self._db.read() as conn:
            for some in chunks(list(dict.fromkeys(batches))):
                query = sa.select(table).where(table.c.channel == str(channel), table.c.batch.in_(some))
                found += [(row.id, _far_ids(row)) for row in await conn.execute(query)]
        return [kept for _, kept in sorted(found, key=lambda pair: pair[0])]

    async def open_work(self, alert: str) -> int:
        """How many work rows are not closed."""
        work, batches = schema.work, schema.batches
        query = (
            sa.select(sa.func.count())
            .select_from(work.join(batches, batches.c.id == work.c.batch))
            .where(batches.c.alert == alert, work.c.closed_at.is_(None))
        )
        async with self._db.read() as conn:
            return int(await conn.scalar(query) or 0)

    async def open_works(self, alert: str) -> list[OpenWork]:
        """By batch and attempt."""
        work, batches = schema.work, schema.batches
        held = work.c.owner.is_not(None) & (work.c.lease_until > now())
        query = (
            sa.select(
                *(work.c[name] for name in ("batch", "attempt", "taken", "low", "high")),
                sa.func.coalesce(held, sa.false()),
                work.c.ordinals,
                work.c.retry,
            )
            .select_from(work.join(batches, batches.c.id == work.c.batch))
            .where(batches.c.alert == alert, work.c.closed_at.is_(None))
            .order_by(work.c.batch, work.c.attempt)
        )
        async with self._db.read() as conn:
            return [
                OpenWork(
                    *row[:5],
                    held=bool(row[5]),
                    ordinals=packing.unpack_optional(row[6], packing.U2),
                    retry=packing.unpack(row[7] or b"", packing.U2),
                )
                for row in await conn.execute(query)
            ]

    async def stop_work(self, works: Sequence[OpenWork]) -> int:
        """Close those that stand as they were read and have no running lease."""
        table = schema.work
        statement = (
            sa.update(table)
            .where(
                *_this,
                table.c.taken == sa.bindparam("taken_"),
                table.c.low == sa.bindparam("low_"),
                table.c.high == sa.bindparam("high_"),
                table.c.closed_at.is_(None),
                table.c.lease_until.is_(None) | (table.c.lease_until <= now()),
            )
            .values(closed_at=now(), owner=None, lease_until=None)
        )

        async def work(conn: AsyncConnection) -> int:
            closed = 0
            for each in sorted(works, key=lambda one: (one.batch, one.attempt)):
                values = {
                    "batch_": each.batch,
                    "attempt_": each.attempt,
                    "taken_": each.taken,
                    "low_": each.low,
                    "high_": each.high,
                }
                closed += (await conn.execute(statement, values)).rowcount
            return closed

        return await self._db.write(work) if works else 0


def _identity(claim: Claim) -> dict[str, Any]:
    return {
        "batch_": claim.batch,
        "attempt_": claim.attempt,
        "owner_": claim.owner,
        "taken_": claim.taken,
    }


def _lost(claim: Claim) -> ClaimLost:
    return ClaimLost(f"batch {claim.batch} attempt {claim.attempt} is no longer held by {claim.owner}")


def _far_row(far_ids: FarIds) -> dict[str, Any]:
    if len(far_ids.ordinals) != len(far_ids.ids):
        raise ValueError("every id of the far end belongs to one ordinal")
    return {
        "channel_": str(far_ids.channel),
        "batch_": far_ids.batch,
        "attempt_": far_ids.attempt,
        "ordinals_": packing.pack(far_ids.ordinals, packing.U2),
        "width_": far_ids.ids.dtype.itemsize,
        "ids_": np.ascontiguousarray(far_ids.ids).tobytes(),
    }


def _far_ids(row: sa.Row[Any]) -> FarIds:
    return FarIds(
        ChannelName(row.channel),
        row.batch,
        row.attempt,
        packing.unpack(row.ordinals, packing.U2),
        np.frombuffer(row.ids, f"S{row.width}"),
    )
