"""SQLite: one file, one writer at a time, readers beside it (WAL), everything off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, StaticPool

from broker.store.database import Database, Row, Rows, T, Write, driver_of, key_names, quoted
from broker.store.statements import Prepared

_READERS: Final = 4
_BUSY_MS: Final = 15_000
_WAL_TRIES: Final = 100
_VARIABLES: Final = 30_000
"""How many values one statement takes; the limit that SQLite is built with is 32,766."""
_TOGETHER: Final = 128
"""How many writes share a commit at most."""


@dataclass(slots=True)
class _Waiting:
    """A write that waits for its turn."""

    work: Write[Any]
    single: bool
    done: asyncio.Future[Any]


class SqliteDatabase(Database):
    """`path` is a file, or None for a database in memory that lives as long as this object."""

    def __init__(self, path: str | None) -> None:
        super().__init__()
        self._path = None if path is None else Path(path)
        url = sa.URL.create("sqlite+aiosqlite", database=path or ":memory:")
        self._writing = asyncio.Lock()
        self._waiting: list[_Waiting] = []
        self._writer = create_async_engine(
            url,
            poolclass=StaticPool,
            pool_reset_on_return=None,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
        )
        sa.event.listen(self._writer.sync_engine, "connect", _prepare_writer)
        self._readers: AsyncEngine | None = None
        if path is not None:
            self._readers = create_async_engine(
                url,
                poolclass=AsyncAdaptedQueuePool,
                pool_size=_READERS,
                max_overflow=0,
                pool_reset_on_return=None,
                isolation_level="AUTOCOMMIT",
                hide_parameters=True,
            )
            sa.event.listen(self._readers.sync_engine, "connect", _prepare_reader)

    async def _connect(self) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileExistsError):
            # For its owner only, as SQLite then makes the files beside it too. Never opened when it exists:
            # closing a second descriptor would drop the locks that this process holds on it.
            self._path.touch(0o600, exist_ok=False)
        async with self._writing, self._writer.connect() as conn:
            for left in reversed(range(_WAL_TRIES)):
                # Turning WAL on does not wait for a process that is doing the same at this moment.
                try:
                    await conn.exec_driver_sql("PRAGMA journal_mode = WAL")
                    break
                except sa.exc.OperationalError:
                    if not left:
                        raise
                    await asyncio.sleep(0.05)

    async def _disconnect(self) -> None:
        if self._readers is not None:
            await self._readers.dispose()
        await self._writer.dispose()

    async def _write(self, work: Write[T], *, single: bool) -> T:
        waiting = _Waiting(work, single, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        async with self._writing:
            # Whoever gets the turn takes along everybody who waits by then: one commit, one flush to the
            # disk. So by the time the turn comes, somebody may have done it already.
            if not waiting.done.done():
                await self._write_together()
        result: T = await waiting.done
        return result

    async def _write_together(self) -> None:
        group, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
        alone = len(group) == 1
        try:
            async with self._begun() as conn:
                finished = [await _one_of_many(conn, waiting, alone=alone) for waiting in group]
        except BaseException as error:
            for waiting in group:
                waiting.done.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for waiting, (result, failure) in zip(group, finished, strict=True):
            if failure is None:
                waiting.done.set_result(result)
            else:
                waiting.done.set_exception(failure)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        async with self._writing, self._begun() as conn:
            yield conn

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[AsyncConnection]:
        async with self._writer.connect() as conn:
            driver = driver_of(conn)
            if driver.in_transaction:  # a rollback that failed must not block everybody after it
                await driver.rollback()
            await driver.execute("BEGIN IMMEDIATE")
            try:
                yield conn
                await driver.commit()
            except BaseException:
                await driver.rollback()
                raise

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[AsyncConnection]:
        if self._readers is None:
            # In memory there is one connection only: whoever reads takes the writer's turn.
            async with self._writing, self._writer.connect() as conn:
                yield conn
        else:
            async with self._readers.connect() as conn:
                yield conn

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[AsyncConnection]:
        async with self._reader() as conn:
            driver = driver_of(conn)
            await driver.execute("BEGIN")
            try:
                yield conn
            finally:
                await driver.rollback()

    async def exclusive(self, conn: AsyncConnection, name: str) -> None:
        """Nothing to do: BEGIN IMMEDIATE holds off every other writer."""

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Always the same, since writers never run side by side."""
        yield 0

    def insert_new(self, table: sa.Table, values: dict[str, Any]) -> sa.Executable:
        """INSERT … ON CONFLICT DO NOTHING RETURNING."""
        return sqlite.insert(table).values(values).on_conflict_do_nothing().returning(next(iter(table.c)))

    def upsert(self, table: sa.Table, values: dict[str, Any]) -> sa.Executable:
        """INSERT … ON CONFLICT DO UPDATE."""
        keys = key_names(table)
        rest = {name: value for name, value in values.items() if name not in keys}
        return sqlite.insert(table).values(values).on_conflict_do_update(index_elements=keys, set_=rest)

    async def fetch(self, conn: AsyncConnection, statement: Prepared, values: dict[str, Any]) -> Sequence[Row]:
        """One visit to the driver's thread."""
        rows: list[Row] = await driver_of(conn).execute_fetchall(*statement.bound(conn.dialect, values))
        return rows

    async def insert_many(
        self, conn: AsyncConnection, table: sa.Table, columns: Sequence[str], rows: Iterable[Row]
    ) -> None:
        """Executemany: one visit to the driver's thread, which also runs the iterator."""
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table.name} ({quoted(columns)}) VALUES ({marks})"  # noqa: S608 — our own names
        await driver_of(conn).executemany(statement, rows)

    async def insert_new_many(
        self,
        conn: AsyncConnection,
        table: sa.Table,
        columns: Sequence[str],
        rows: Sequence[Row],
        *,
        unique: Sequence[str],
        parts: Sequence[Rows] = (),
    ) -> set[Any]:
        """INSERT … VALUES (…), … ON CONFLICT DO NOTHING, in as few statements as the limit of variables allows."""
        inserted: set[Any] = set()
        marks = f"({', '.join('?' * len(columns))})"
        at_once = _VARIABLES // len(columns)
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            statement = (
                f"INSERT INTO {table.name} ({quoted(columns)}) VALUES {', '.join([marks] * len(part))} "  # noqa: S608
                f'ON CONFLICT ({quoted(unique)}) DO NOTHING RETURNING "{columns[0]}"'
            )
            given = [value for row in part for value in row]
            inserted |= {row[0] for row in await driver_of(conn).execute_fetchall(statement, given)}
        for others in parts:
            belonging = [row for row in others.rows if row[0] in inserted]
            if belonging:
                await self.insert_many(conn, others.table, others.columns, belonging)
        return inserted

    async def add_up(self, conn: AsyncConnection, table: sa.Table, rows: Sequence[Row]) -> None:
        """Executemany of INSERT … ON CONFLICT DO UPDATE."""
        keys = key_names(table)
        columns = [column.name for column in table.columns]
        sums = ", ".join(f'"{name}" = "{name}" + excluded."{name}"' for name in columns if name not in keys)
        statement = (
            f"INSERT INTO {table.name} ({quoted(columns)}) VALUES ({', '.join('?' * len(columns))}) "  # noqa: S608
            f"ON CONFLICT ({quoted(keys)}) DO UPDATE SET {sums}"
        )
        await driver_of(conn).executemany(statement, rows)

    async def lock_rows(
        self, conn: AsyncConnection, table: sa.Table, columns: Sequence[str], keys: Sequence[int]
    ) -> list[Row]:
        """A plain SELECT; the keys come as one JSON array, because the number of variables is limited."""
        (key,) = key_names(table)
        statement = (
            f"SELECT {quoted(columns)} FROM {table.name} "  # noqa: S608 — our own names
            f'WHERE "{key}" IN (SELECT value FROM json_each(?)) ORDER BY "{key}"'
        )
        found: list[Row] = list(await driver_of(conn).execute_fetchall(statement, (json.dumps(list(keys)),)))
        return found

    async def update_rows(
        self, conn: AsyncConnection, table: sa.Table, columns: Sequence[str], rows: Sequence[Row]
    ) -> None:
        """Executemany of UPDATE."""
        (key,) = key_names(table)
        numbered = ", ".join(f'"{name}" = ?{number}' for number, name in enumerate(columns, 2))
        statement = f'UPDATE {table.name} SET {numbered} WHERE "{key}" = ?1'  # noqa: S608 — our own names
        await driver_of(conn).executemany(statement, rows)


async def _one_of_many(conn: AsyncConnection, waiting: _Waiting, *, alone: bool) -> tuple[Any, Exception | None]:
    """Run a write inside the common transaction; if it fails, take back what it did and nothing else.

    Raises if the common transaction is lost (a full disk, for one, ends it).
    """
    driver = driver_of(conn)
    bracketed = not (waiting.single or alone)
    if bracketed:
        await driver.execute("SAVEPOINT one")
    try:
        result = await waiting.work(conn)
    except Exception as error:
        if alone or not driver.in_transaction:
            raise
        if bracketed:
            await driver.execute("ROLLBACK TO one")
            await driver.execute("RELEASE one")
        return None, error
    if bracketed:
        await driver.execute("RELEASE one")
    return result, None


def _prepare_writer(connection: Any, _record: Any) -> None:
    _pragmas(
        connection,
        f"busy_timeout = {_BUSY_MS}",
        "foreign_keys = ON",
        # The promise of every write is that it outlives a power cut, not only the process.
        "synchronous = FULL",
        "temp_store = MEMORY",
        "cache_size = -65536",
        "journal_size_limit = 67108864",
    )


def _prepare_reader(connection: Any, _record: Any) -> None:
    _pragmas(connection, f"busy_timeout = {_BUSY_MS}", "query_only = ON", "cache_size = -16384")


def _pragmas(connection: Any, *pragmas: str) -> None:
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
