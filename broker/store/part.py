"""What every part of the store is made of, and the few moves that several of them share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.store import schema
from broker.store.database import Database

T = TypeVar("T")

IN_LIMIT: Final = 1_000
"""How many keys one statement names."""


class Part:
    """One noun of the store, on a database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def _reserve(self, name: str, n: int) -> int:
        """First of `n` consecutive numbers of a sequence."""
        if n < 0:
            raise ValueError("cannot reserve a negative number of ids")
        sequences = schema.sequences
        statement = (
            sa.update(sequences)
            .where(sequences.c.name == name)
            .values(next=sequences.c.next + n)
            .returning(sequences.c.next)
        )

        async def work(conn: AsyncConnection) -> int:
            return int((await conn.execute(statement)).scalar_one()) - n

        return await self._db.write(work)

    async def _version(self, name: str) -> int:
        versions = schema.versions
        async with self._db.read() as conn:
            total = await conn.scalar(sa.select(sa.func.sum(versions.c.value)).where(versions.c.name == name))
        return int(total or 0)


def chunks(items: Sequence[T], size: int = IN_LIMIT) -> Iterator[Sequence[T]]:
    """`items` in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
