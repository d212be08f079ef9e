"""Group commit: what arrives while one transaction is on its way to the disk shares the next."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import StoreError
from broker.store.database import Database

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST: Final = 128
"""How many share a transaction at most."""
_OF_ITS_OWN: Final = (
    ValueError,
    OverflowError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sa.exc.IntegrityError,
    sa.exc.DataError,
)
"""Errors that one item of a group brings upon all: each is then tried by itself."""


class Together(Generic[Item, Result]):
    """Writes items in groups; each caller returns once the transaction with its item is durable.

    `work` writes a group inside a transaction and returns a result for each item, in their order. It may be run
    again, and it is run for single items when a group fails for the sake of one of them. An item by itself waits
    for nobody. `single` says of `work` what it says of a write (broker.store.database).
    """

    def __init__(
        self,
        db: Database,
        work: Callable[[AsyncConnection, Sequence[Item]], Awaitable[list[Result]]],
        *,
        single: bool = False,
    ) -> None:
        self._db = db
        self._work = work
        self._single = single
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._writing = 0

    async def write(self, item: Item) -> Result:
        """Write it with whatever else waits. Raises what `work` raises, and StoreError.

        A caller that is cancelled does not take its item back: it may be written.
        """
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._writing < self._db.side_by_side:
            self._writing += 1
            self._db.hold(asyncio.ensure_future(self._write()))
        return await done

    async def _write(self) -> None:
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
                await self._write_group(group)
        finally:
            self._writing -= 1

    async def _write_group(self, group: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        items = [item for item, _ in group]
        try:
            results = await self._db.write(lambda conn: self._work(conn, items), single=self._single)
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            if len(group) > 1 and _is_its_own(error):
                for one in group:
                    await self._write_group([one])
                return
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
        else:
            for (_, done), result in zip(group, results, strict=True):
                if not done.done():
                    done.set_result(result)


def _is_its_own(error: Exception) -> bool:
    cause = error.__cause__ if isinstance(error, StoreError) else error
    return isinstance(cause, _OF_ITS_OWN) or isinstance(getattr(cause, "orig", None), _OF_ITS_OWN)
