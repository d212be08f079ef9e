"""What the parts of the store need of a database, and what the two databases share.

Both engines run in autocommit, so a read is one statement without a transaction around it; a write begins and
ends its transaction on the driver itself. That leaves the driver's bulk paths (COPY, arrays, executemany)
and SQLAlchemy's statements in one and the same transaction.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import StoreError
from broker.store import migrate
from broker.store.statements import Prepared

T = TypeVar("T")
Row = tuple[Any, ...]
Write = Callable[[AsyncConnection], Awaitable[T]]

_DRIVER_ERRORS: Final = (
    SQLAlchemyError,
    sqlite3.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)

_migrating: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
"""Alembic keeps what it is working on in module globals: one at a time within a process."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn the drivers' errors into StoreError, with the cause chained. Statements and values stay out of it."""
    try:
        yield
    except _DRIVER_ERRORS as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(f"{type(cause).__name__}: {cause}".strip()) from error


class Rows(NamedTuple):
    """Rows of a table, with its columns in their order."""

    table: sa.Table
    columns: Sequence[str]
    rows: Sequence[Row]


class Database(ABC):
    """A database that the store's parts read and write through."""

    side_by_side: int = 1
    """How many transactions of one kind are worth having on their way at once."""

    at_one_stroke: bool = False
    """Whether `insert_new_many` is one statement, whatever `parts` it has."""

    def __init__(self) -> None:
        self._writes: set[asyncio.Future[Any]] = set()

    async def start(self) -> None:
        """Connect and bring the tables up to date; a second process that does so waits for the first."""
        with translated():
            await self._connect()
            loop = asyncio.get_running_loop()
            async with _migrating.setdefault(loop, asyncio.Lock()), self._transaction() as conn:
                await self.exclusive(conn, "schema")
                await conn.run_sync(migrate.upgrade)

    async def close(self) -> None:
        """Let the writes that run come to their end, then disconnect."""
        while self._writes:
            await asyncio.wait(self._writes)
        with translated():
            await self._disconnect()

    async def write(self, work: Write[T], *, single: bool = False) -> T:
        """Run `work` in one transaction and return once it is durable.

        `work` may be run again if the database breaks a deadlock. A caller that is cancelled does not tear
        the transaction apart: it goes on to its commit, and `close` waits for it. `single` says that `work`
        sends one statement only and raises only if that changed nothing: it needs no bracket of its own.
        """
        task = asyncio.ensure_future(self._write(work, single=single))
        self.hold(task)
        with translated():
            return await asyncio.shield(task)

    def hold(self, task: asyncio.Future[Any]) -> None:
        """Let `close` wait for a task that writes."""
        self._writes.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Future[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # seen, even if the caller is gone

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for single statements that read."""
        with translated():
            async with self._reader() as conn:
                yield conn

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which several statements see one and the same state."""
        with translated():
            async with self._snapshot() as conn:
                yield conn

    @abstractmethod
    async def _connect(self) -> None: ...

    @abstractmethod
    async def _disconnect(self) -> None: ...

    @abstractmethod
    def _transaction(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    @abstractmethod
    def _reader(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    @abstractmethod
    def _snapshot(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    @abstractmethod
    async def _write(self, work: Write[T], *, single: bool) -> T: ...

    @abstractmethod
    async def exclusive(self, conn: AsyncConnection, name: str) -> None:
        """Within a write: hold others off who ask for the same name, until the transaction ends."""

    @abstractmethod
    def slot(self) -> AbstractAsyncContextManager[int]:
        """A slot of counters, curve and versions that nobody else in this process is writing to."""

    @abstractmethod
    def insert_new(self, table: sa.Table, values: dict[str, Any]) -> sa.Executable:
        """Insert unless a row with the same key exists, returning the first column of what was inserted."""

    @abstractmethod
    def upsert(self, table: sa.Table, values: dict[str, Any]) -> sa.Executable:
        """Insert, or replace everything but the primary key."""

    @abstractmethod
    async def fetch(self, conn: AsyncConnection, statement: Prepared, values: dict[str, Any]) -> Sequence[Row]:
        """Run a prepared statement on the driver; the rows that it gives."""

    @abstractmethod
    async def insert_many(
        self, conn: AsyncConnection, table: sa.Table, columns: Sequence[str], rows: Iterable[Row]
    ) -> None:
        """Insert rows by the driver's fastest way, taking them from `rows` as it goes."""

    @abstractmethod
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
        """Insert rows unless one with the same values of `unique` exists, in the table or before it in `rows`.

        `parts` are rows of other tables that belong to these, by their first column; those of rows that were not
        inserted are left out. Returns what the first of `columns`, a key, holds in the rows that were inserted.
        """

    @abstractmethod
    async def add_up(self, conn: AsyncConnection, table: sa.Table, rows: Sequence[Row]) -> None:
        """Add each row's numbers to the row with its primary key, in the order of the table's columns.

        Rows must have distinct keys and be sorted by them, so that two writers cannot deadlock.
        """

    @abstractmethod
    async def lock_rows(
        self, conn: AsyncConnection, table: sa.Table, columns: Sequence[str], keys: Sequence[int]
    ) -> list[Row]:
        """Lock and read the rows with these keys of a table with one key column, ascending."""

    @abstractmethod
    async def update_rows(
        self, conn: AsyncConnection, table: sa.Table, columns: Sequence[str], rows: Sequence[Row]
    ) -> None:
        """Set `columns` of rows that `lock_rows` locked; each row is its key followed by the values."""


def driver_of(conn: AsyncConnection) -> Any:
    """The driver's own connection (asyncpg's, aiosqlite's) under a connection that is open."""
    assert conn.sync_connection is not None
    return conn.sync_connection.connection.driver_connection


def quoted(names: Iterable[str], template: str = '"{}"') -> str:
    """A list of column names for a statement that is written by hand."""
    return ", ".join(template.format(name) for name in names)


def key_names(table: sa.Table) -> list[str]:
    """Names of the primary key's columns."""
    return [column.name for column in table.primary_key.columns]
