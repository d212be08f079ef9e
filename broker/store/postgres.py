"""PostgreSQL: COPY, arrays as parameters, row locks in one order, and a second try after a deadlock."""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from broker.store.database import Database, Row, Rows, T, Write, driver_of, key_names, quoted
from broker.store.statements import Prepared

_TRIES: Final = 5
_SLOTS: Final = 16
_FRESH_SECONDS: Final = 1.0
_TRY_AGAIN: Final = ("40001", "40P01")
"""SQLSTATE of serialization_failure and deadlock_detected."""


class PostgresDatabase(Database):
    """`url` is a libpq URL: postgresql://user:password@host:port/database?sslmode=…"""

    at_one_stroke = True

    def __init__(self, url: str, *, connections: int = 8) -> None:
        super().__init__()
        self._engine = create_async_engine(
            _driver_url(url),
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            pool_size=connections,
            max_overflow=4,
            connect_args={"server_settings": {"application_name": "fenghuo"}},
        )
        sa.event.listen(self._engine.sync_engine, "checkout", _make_sure)
        sa.event.listen(self._engine.sync_engine, "checkin", _remember)
        self._slots = list(range(_SLOTS))
        random.shuffle(self._slots)

    async def _connect(self) -> None:
        async with self._engine.connect() as conn:
            await conn.execute(sa.text("SELECT 1"))

    async def _disconnect(self) -> None:
        await self._engine.dispose()

    async def _write(self, work: Write[T], *, single: bool) -> T:
        # One statement is a transaction by itself: three round trips become one.
        bracket = self._reader if single else self._transaction
        for left in reversed(range(_TRIES)):
            try:
                async with bracket() as conn:
                    return await work(conn)
            except (asyncpg.PostgresError, sa.exc.DBAPIError) as error:
                if not left or _sqlstate(error) not in _TRY_AGAIN:
                    raise
                await asyncio.sleep(random.uniform(0.005, 0.05))
        raise AssertionError("the last try returns or raises")

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as conn:
            driver = driver_of(conn)
            async with driver.transaction():
                yield conn

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as conn:
            yield conn

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as conn:
            driver = driver_of(conn)
            async with driver.transaction(isolation="repeatable_read", readonly=True):
                yield conn

    async def exclusive(self, conn: AsyncConnection, name: str) -> None:
        """An advisory lock of the transaction."""
        await driver_of(conn).execute(
            "SELECT pg_advisory_xact_lock($1, $2)", 0x7E46, zlib.crc32(name.encode()) >> 1
        )

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """One that is free in this process; the order differs from process to process."""
        if not self._slots:
            yield random.randrange(_SLOTS)
            return
        slot = self._slots.pop(0)
        try:
            yield slot
        finally:
            self._slots.insert(0, slot)

    def insert_new(self, table: sa.Table, values: dict[str, Any]) -> sa.Executable:
        """INSERT … ON CONFLICT DO NOTHING RETURNING."""
        return postgresql.insert(table).values(values).on_conflict_do_nothing().returning(next(iter(table.c)))

    def upsert(self, table: sa.Table, values: dict[str, Any]) -> sa.Executable:
        """INSERT … ON CONFLICT DO UPDATE."""
        keys = key_names(table)
        rest = {name: value for name, value in values.items() if name not in keys}
        return postgresql.insert(table).values(values).on_conflict_do_update(index_elements=keys, set_=rest)

    async def fetch(self, conn: AsyncConnection, statement: Prepared, values: dict[str, Any]) -> Sequence[Row]:
        """The driver keeps the statement prepared on the server."""
        text, ordered = statement.bound(conn.dialect, values)
        rows: list[Row] = await driver_of(conn).fetch(text, *ordered)
        return rows

    async def insert_many(
        self, conn: AsyncConnection, table: sa.Table, columns: Sequence[str], rows: Iterable[Row]
    ) -> None:
        """COPY in binary form."""
        await driver_of(conn).copy_records_to_table(table.name, records=rows, columns=list(columns))

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
        """One statement: INSERT … SELECT FROM unnest(…) ON CONFLICT DO NOTHING, and one INSERT for each part."""
        if not rows:
            return set()
        key, values = columns[0], _turned(rows)
        statement = (
            f"WITH added AS (INSERT INTO {table.name} ({quoted(columns)}) "  # noqa: S608 — our own names
            f"SELECT * FROM unnest({_arrays(conn, table, columns)}) "
            f'ON CONFLICT ({quoted(unique)}) DO NOTHING RETURNING "{key}")'
        )
        for number, part in enumerate(each for each in parts if each.rows):
            names = quoted(part.columns)
            arrays = _arrays(conn, part.table, part.columns, first=len(values) + 1)
            # In the order in which they are given, for that is the order of their own numbers.
            taken = quoted(part.columns, 'given."{}"')
            statement += (
                f", part{number} AS (INSERT INTO {part.table.name} ({names}) SELECT {taken} "  # noqa: S608
                f"FROM unnest({arrays}) WITH ORDINALITY AS given ({names}, place) "
                f'JOIN added ON added."{key}" = given."{part.columns[0]}" ORDER BY given.place)'
            )
            values += _turned(part.rows)
        found = await driver_of(conn).fetch(statement + f' SELECT "{key}" FROM added', *values)  # noqa: S608
        return {row[0] for row in found}

    async def add_up(self, conn: AsyncConnection, table: sa.Table, rows: Sequence[Row]) -> None:
        """One INSERT … SELECT FROM unnest(…) ON CONFLICT DO UPDATE."""
        if not rows:
            return
        keys = key_names(table)
        columns = [column.name for column in table.columns]
        sums = ", ".join(
            f'"{name}" = {table.name}."{name}" + excluded."{name}"' for name in columns if name not in keys
        )
        statement = (
            f"INSERT INTO {table.name} ({quoted(columns)}) SELECT * FROM unnest({_arrays(conn, table, columns)}) "  # noqa: S608
            f"ON CONFLICT ({quoted(keys)}) DO UPDATE SET {sums}"
        )
        await driver_of(conn).execute(statement, *_turned(rows))

    async def lock_rows(
        self, conn: AsyncConnection, table: sa.Table, columns: Sequence[str], keys: Sequence[int]
    ) -> list[Row]:
        """SELECT … FOR UPDATE in the order of the keys."""
        (key,) = key_names(table)
        statement = (
            f"SELECT {quoted(columns)} FROM {table.name} "  # noqa: S608 — our own names
            f'WHERE "{key}" = ANY($1::bigint[]) ORDER BY "{key}" FOR UPDATE'
        )
        found: list[Row] = list(await driver_of(conn).fetch(statement, list(keys)))
        return found

    async def update_rows(
        self, conn: AsyncConnection, table: sa.Table, columns: Sequence[str], rows: Sequence[Row]
    ) -> None:
        """One UPDATE … FROM unnest(…)."""
        if not rows:
            return
        (key,) = key_names(table)
        sets = ", ".join(f'"{name}" = new."{name}"' for name in columns)
        statement = (
            f"UPDATE {table.name} SET {sets} FROM unnest({_arrays(conn, table, [key, *columns])}) "  # noqa: S608
            f'AS new ({quoted([key, *columns])}) WHERE {table.name}."{key}" = new."{key}"'
        )
        await driver_of(conn).execute(statement, *_turned(rows))


def _make_sure(connection: Any, record: Any, _proxy: Any) -> None:
    """A server that was restarted or failed over costs nobody a failed call: a connection that lay idle is tried
    first. One that was in use a moment ago is not, because that doubles the time of every small write."""
    fresh = time.monotonic() - record.info.get("returned", 0.0) < _FRESH_SECONDS
    try:
        if connection.driver_connection.is_closed():
            raise sa.exc.DisconnectionError("closed")
        if not fresh:
            connection.ping()
    except (sa.exc.DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise sa.exc.DisconnectionError("no answer") from error


def _remember(_connection: Any, record: Any) -> None:
    record.info["returned"] = time.monotonic()


def _arrays(conn: AsyncConnection, table: sa.Table, columns: Sequence[str], *, first: int = 1) -> str:
    """Parameters for unnest: $1::bigint[], $2::bytea[], …"""
    kinds = (table.columns[name].type.compile(conn.dialect) for name in columns)
    return ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(kinds, first))


def _turned(rows: Sequence[Row]) -> list[list[Any]]:
    """Rows as columns."""
    return [list(column) for column in zip(*rows, strict=True)]


def _sqlstate(error: BaseException) -> str | None:
    cause = getattr(error, "orig", None) or error
    state: str | None = getattr(cause, "sqlstate", None)
    return state


def _driver_url(url: str) -> sa.URL:
    """The URL for asyncpg, which calls `sslmode` `ssl`."""
    parsed = sa.make_url(url).set(drivername="postgresql+asyncpg")
    mode = parsed.query.get("sslmode")
    if mode is not None:
        parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": str(mode)})
    return parsed
