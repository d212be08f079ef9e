"""Ledger rows, and the counters and curves that follow from their changes."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import NotFound
from broker.ledger.arrays import COUNT_NAMES, NEVER, Change, Counts, LedgerRow, Milestone, Receipts
from broker.store import packing, schema
from broker.store.database import Row
from broker.store.part import Part, chunks
from broker.store.records import CounterRow, CurveRow
from broker.types import ChannelName

_ARRAYS: Final = ("states", *(milestone.name.lower() for milestone in Milestone))
_COLUMNS: Final = ("batch", "base", "size", "alert", "channel", "district", "received", *_ARRAYS)
_ROWS_AT_ONCE: Final = 256
"""Rows of which a read takes the arrays at once: some 20 MB."""


class SqlLedger(Part):
    """See broker.store.contract.Ledger."""

    async def merge(self, receipts: Sequence[Receipts]) -> None:
        """Join receipts into their rows; what was known already writes nothing."""
        by_batch: defaultdict[int, list[Receipts]] = defaultdict(list)
        for each in receipts:
            if len(each):
                by_batch[each.batch].append(each)
        keys = sorted(by_batch)

        async def work(conn: AsyncConnection) -> None:
            rows = await self._db.lock_rows(conn, schema.ledger, _COLUMNS, keys)
            if len(rows) < len(keys):
                missing = sorted(set(keys) - {row[0] for row in rows})
                raise NotFound(f"no batch {', '.join(map(str, missing[:10]))}")
            merged = await asyncio.to_thread(_join, rows, by_batch)
            if not merged.updates:
                return
            for columns, updates in merged.updates.items():
                await self._db.update_rows(conn, schema.ledger, columns, updates)
            async with self._db.slot() as slot:
                await self._db.add_up(conn, schema.counters, merged.counter_rows(slot))
                await self._db.add_up(conn, schema.curve, merged.curve_rows(slot))
                await self._db.add_up(conn, schema.versions, [("ledger", slot, 1)])

        if keys:
            await self._db.write(work)

    async def ledger_row(self, batch: int) -> LedgerRow:
        """One row. Raises NotFound."""
        async with self._db.read() as conn:
            row = (await conn.execute(_select().where(schema.ledger.c.batch == batch))).first()
        if row is None:
            raise NotFound(f"no batch {batch}")
        return _row(tuple(row))

    async def ledger_rows(self, batches: Sequence[int]) -> list[LedgerRow]:
        """In the order of `batches`. Raises NotFound."""
        found: dict[int, LedgerRow] = {}
        async with self._db.read() as conn:
            for some in chunks(batches, _ROWS_AT_ONCE):
                rows = (await conn.execute(_select().where(schema.ledger.c.batch.in_(some)))).all()
                found.update((row.batch, _row(tuple(row))) for row in rows)
        missing = [batch for batch in batches if batch not in found]
        if missing:
            raise NotFound(f"no batch {', '.join(map(str, missing[:10]))}")
        return [found[batch] for batch in batches]

    async def counters(self, alert: str) -> list[CounterRow]:
        """By channel and district."""
        table = schema.counters
        keys = (table.c.channel, table.c.district)
        # The sum of 64-bit numbers is numeric in PostgreSQL; the counts of one alert fit 64 bits.
        sums = (sa.cast(sa.func.sum(table.c[name]), sa.BigInteger) for name in COUNT_NAMES)
        query = sa.select(*keys, *sums).where(table.c.alert == alert).group_by(*keys).order_by(*keys)
        async with self._db.read() as conn:
            rows = (await conn.execute(query)).all()
        return [CounterRow(alert, ChannelName(row[0]), row[1], tuple(row[2:])) for row in rows]

    async def recount(self, alert: str) -> list[CounterRow]:
        """The same from the rows, all seen at one moment."""
        totals: dict[tuple[str, int], Counts] = {}
        table = schema.ledger
        async with self._db.snapshot() as conn:
            found = await conn.execute(sa.select(table.c.batch).where(table.c.alert == alert))
            for some in chunks(sorted(found.scalars()), _ROWS_AT_ONCE):
                rows = (await conn.execute(_select().where(table.c.batch.in_(some)))).all()
                await asyncio.to_thread(_count, [tuple(row) for row in rows], totals)
        return [
            CounterRow(alert, ChannelName(channel), district, tuple(counts.tolist()))
            for (channel, district), counts in sorted(totals.items())
        ]

    async def curve(self, alert: str) -> list[CurveRow]:
        """By channel, milestone and second."""
        table = schema.curve
        keys = (table.c.channel, table.c.milestone, table.c.second)
        n = sa.cast(sa.func.sum(table.c.n), sa.BigInteger)
        query = sa.select(*keys, n).where(table.c.alert == alert).group_by(*keys).having(n != 0).order_by(*keys)
        async with self._db.read() as conn:
            rows = (await conn.execute(query)).all()
        return [CurveRow(alert, ChannelName(channel), *numbers) for channel, *numbers in rows]

    async def milestone_times(self, alert: str, channel: ChannelName, milestone: Milestone) -> list[int]:
        """Sorted UTC milliseconds."""
        table = schema.ledger
        column = table.c[milestone.name.lower()]
        query = sa.select(table.c.base, column).where(
            table.c.alert == alert, table.c.channel == str(channel), column.is_not(None)
        )
        async with self._db.read() as conn:
            rows = (await conn.execute(query)).all()
        return await asyncio.to_thread(_times, [tuple(row) for row in rows])

    async def ledger_version(self) -> int:
        """Rises with every commit that changed something."""
        return await self._version("ledger")


@dataclass(slots=True)
class _Merged:
    """What one merge changed, ready to be written."""

    updates: defaultdict[tuple[str, ...], list[Row]] = field(default_factory=lambda: defaultdict(list))
    """By the set of columns that changed: each row's batch and new arrays."""
    counts: dict[tuple[str, str, int], Counts] = field(default_factory=dict)
    seconds: defaultdict[tuple[str, str, int, int], list[NDArray[np.int64]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """By alert, channel, milestone and sign: seconds of the curve that lose (-1) or gain (1) a recipient."""

    def counter_rows(self, slot: int) -> list[Row]:
        """Rows to add to the counters, sorted."""
        return [(*key, slot, *counts.tolist()) for key, counts in sorted(self.counts.items()) if counts.any()]

    def curve_rows(self, slot: int) -> list[Row]:
        """Rows to add to the curve, sorted."""
        curve: Counter[tuple[str, str, int, int]] = Counter()
        # Counted once for all rows, not row by row: sorting many short arrays costs more than one long one.
        for (alert, channel, milestone, sign), parts in self.seconds.items():
            values, numbers = np.unique(np.concatenate(parts), return_counts=True)
            for second, n in zip(values.tolist(), numbers.tolist(), strict=True):
                curve[alert, channel, milestone, second] += sign * n
        return [(*key, slot, n) for key, n in sorted(curve.items()) if n]


def _join(rows: Iterable[Row], receipts: dict[int, list[Receipts]]) -> _Merged:
    """Join the receipts of each row into it and gather what changed."""
    merged = _Merged()
    for stored in rows:
        row, (alert, channel, district, received) = _row(stored), stored[3:7]
        before = row.states.copy()
        change = row.merge(_together(receipts[row.batch]))
        columns = ["states"] if (before != row.states).any() else []
        columns += [milestone.name.lower() for milestone in change.moved]
        if not columns:
            continue
        arrays = [row.states] if columns[0] == "states" else []
        arrays += [row.times[milestone] for milestone in change.moved]
        packed = (packing.pack(array, packing.U2 if array is row.states else packing.U4) for array in arrays)
        merged.updates[tuple(columns)].append((row.batch, *packed))
        key = (alert, channel, district)
        merged.counts[key] = merged.counts.get(key, 0) + change.counts
        for milestone, sign, seconds in _seconds(received, change):
            merged.seconds[alert, channel, int(milestone), sign].append(seconds)
    return merged


def _together(receipts: Sequence[Receipts]) -> Receipts:
    """Several reports of one batch as one: the join does not mind an ordinal that comes twice."""
    if len(receipts) == 1:
        return receipts[0]
    return Receipts(
        receipts[0].batch,
        np.concatenate([each.ordinals for each in receipts]),
        np.concatenate([each.states for each in receipts]),
        np.concatenate([each.at for each in receipts]),
    )


def _seconds(received: int, change: Change) -> Iterator[tuple[Milestone, int, NDArray[np.int64]]]:
    """For each milestone that moved: the seconds to count down (-1) and to count up (1)."""
    for milestone, (old, new) in change.moved.items():
        for times, sign in ((old[old >= 0], -1), (new, 1)):
            if len(times):
                yield milestone, sign, np.maximum(times - received, 0) // 1000


def _select() -> sa.Select[Any]:
    return sa.select(*(schema.ledger.c[name] for name in _COLUMNS))


def _row(stored: Row) -> LedgerRow:
    """The row in its stored form, in the order of _COLUMNS, as arrays that may be written to."""
    batch, base, size, *_ = stored
    states, *times = stored[7:]
    row = LedgerRow.fresh(batch, size, base)
    if states is not None:
        row.states[:] = packing.unpack(states, packing.U2)
    for milestone, data in enumerate(times):
        if data is not None:
            row.times[milestone] = packing.unpack(data, packing.U4)
    return row


def _count(rows: Iterable[Row], totals: dict[tuple[str, int], Counts]) -> None:
    for stored in rows:
        key = (stored[4], stored[5])
        totals[key] = totals.get(key, 0) + _row(stored).counts()


def _times(rows: Iterable[tuple[int, bytes]]) -> list[int]:
    reached: list[NDArray[np.int64]] = []
    for base, data in rows:
        offsets = packing.unpack(data, packing.U4)
        reached.append(offsets[offsets != NEVER].astype(np.int64) + base)
    if not reached:
        return []
    times: list[int] = np.sort(np.concatenate(reached)).tolist()
    return times
