"""The store on SQLite or PostgreSQL, made of its parts."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import ConfigError, Problem
from broker.store import schema
from broker.store.accepting import SqlAccepting
from broker.store.accounts import SqlAccounts
from broker.store.alerts import SqlAlerts
from broker.store.callbacks import SqlCallbacks
from broker.store.chains import SqlChains
from broker.store.claims import SqlClaims
from broker.store.contract import Store
from broker.store.database import Database
from broker.store.dispatch import SqlDispatch
from broker.store.ledger import SqlLedger
from broker.store.outside import SqlFeeds, SqlPublished
from broker.store.parking import SqlParking
from broker.store.postgres import PostgresDatabase
from broker.store.registry import SqlRegistry
from broker.store.sqlite import SqliteDatabase


class SqlStore(
    SqlAccepting,
    SqlAlerts,
    SqlChains,
    SqlRegistry,
    SqlDispatch,
    SqlClaims,
    SqlLedger,
    SqlAccounts,
    SqlParking,
    SqlPublished,
    SqlFeeds,
    SqlCallbacks,
):
    """All nouns on one database. See broker.store.contract.Store."""

    async def start(self) -> None:
        """Connect and bring the schema up to date."""
        await self._db.start()

    async def close(self) -> None:
        """Let running writes end, then let go of every connection."""
        await self._db.close()

    async def ping(self) -> None:
        """Commit a small write. Raises StoreError."""
        table = schema.versions
        statement = sa.update(table).where(table.c.name == "ping").values(value=table.c.value + 1)

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(statement)

        await self._db.write(work)


def open_store(url: str) -> Store:
    """The store at `url`: `sqlite:///path`, `sqlite:///:memory:` or `postgresql://user:password@host/database`.

    Nothing is touched before `start`. Raises ConfigError for any other URL.
    """
    return SqlStore(_database(url))


def _database(url: str) -> Database:
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is not None and parsed.drivername == "sqlite" and parsed.database:
        return SqliteDatabase(None if parsed.database == ":memory:" else parsed.database)
    if parsed is not None and parsed.drivername in ("postgresql", "postgres"):
        return PostgresDatabase(url)
    # The URL may hold a password, so it is not repeated here.
    rule = "expected sqlite:///path, sqlite:///:memory: or postgresql://user:password@host:port/database"
    raise ConfigError([Problem("database", "store.url", rule)])
