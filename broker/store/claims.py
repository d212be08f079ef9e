"""Who sends what: compare-and-set with a lease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import ClaimLost
from broker.ledger.arrays import Ordinals
from broker.store import packing, schema
from broker.store.dispatch import WORK_COLUMNS, work_rows
from broker.store.part import Part, chunks
from broker.store.records import Claim, FarIds, Work
from broker.types import ChannelName


class SqlClaims(Part):
    """See broker.store.contract.Claims."""

    async def claim(self, batch: int, attempt: int, owner: str, lease_ms: int) -> Claim | None:
        """Take it, also from the same owner once the lease has run out: that hold is then void."""
        table, now = schema.work, self._db.now()
        statement = (
            sa.update(table)
            .where(
                table.c.batch == batch,
                table.c.attempt == attempt,
                table.c.closed_at.is_(None),
                table.c.lease_until.is_(None) | (table.c.lease_until <= now),
            )
            .values(owner=owner, lease_until=now + lease_ms, taken=table.c.taken + 1)
            .returning(table.c.taken, table.c.low, table.c.high, table.c.ordinals, table.c.retry)
        )

        async def work(conn: AsyncConnection) -> Claim | None:
            row = (await conn.execute(statement)).first()
            if row is None:
                return None
            return Claim(
                batch,
                attempt,
                owner,
                row.low,
                row.high,
                packing.unpack_optional(row.ordinals, packing.U2),
                np.zeros(0, np.uint16) if row.retry is None else packing.unpack(row.retry, packing.U2),
                row.taken,
            )

        return await self._db.write(work)

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
        values: dict[str, Any] = {"low": low, "high": high, "lease_until": self._db.now() + lease_ms}
        if retry is not None:
            values["retry"] = packing.pack(retry, packing.U2)

        async def work(conn: AsyncConnection) -> None:
            await _held(conn, claim, values)
            if far_ids is not None:
                await _keep(conn, far_ids)

        await self._db.write(work)

    async def close_work(self, claim: Claim, *, far_ids: FarIds | None = None, retry: Work | None = None) -> None:
        """Close it and open the next attempt. Raises ClaimLost."""
        values = {"closed_at": self._db.now(), "owner": None, "lease_until": None}

        async def work(conn: AsyncConnection) -> None:
            await _held(conn, claim, values)
            if far_ids is not None:
                await _keep(conn, far_ids)
            if retry is not None:
                (row,) = work_rows([retry])
                await conn.execute(sa.insert(schema.work).values(dict(zip(WORK_COLUMNS, row, strict=True))))

        await self._db.write(work)

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


async def _held(conn: AsyncConnection, claim: Claim, values: dict[str, Any]) -> None:
    """Within a write: set `values` if the claim still stands."""
    table = schema.work
    statement = (
        sa.update(table)
        .where(
            table.c.batch == claim.batch,
            table.c.attempt == claim.attempt,
            table.c.owner == claim.owner,
            table.c.taken == claim.taken,
            table.c.closed_at.is_(None),
        )
        .values(values)
    )
    if not (await conn.execute(statement)).rowcount:
        raise ClaimLost(f"batch {claim.batch} attempt {claim.attempt} is no longer held by {claim.owner}")


async def _keep(conn: AsyncConnection, far_ids: FarIds) -> None:
    if len(far_ids.ordinals) != len(far_ids.ids):
        raise ValueError("every id of the far end belongs to one ordinal")
    row = {
        "channel": str(far_ids.channel),
        "batch": far_ids.batch,
        "attempt": far_ids.attempt,
        "ordinals": packing.pack(far_ids.ordinals, packing.U2),
        "width": far_ids.ids.dtype.itemsize,
        "ids": np.ascontiguousarray(far_ids.ids).tobytes(),
    }
    await conn.execute(sa.insert(schema.far_ids).values(row))


def _far_ids(row: sa.Row[Any]) -> FarIds:
    return FarIds(
        ChannelName(row.channel),
        row.batch,
        row.attempt,
        packing.unpack(row.ordinals, packing.U2),
        np.frombuffer(row.ids, f"S{row.width}"),
    )
