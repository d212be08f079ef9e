"""A demo's own corner on lent servers: a database and queues under a name of its own, removed at the end."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import asyncpg

from broker.errors import FenghuoError
from broker.transport.topology import FLOOR, exchange_name, topology


@dataclass(frozen=True, slots=True)
class Corner:
    """Names that nobody else uses, kept in a file so that a demo which was killed finds them again."""

    name: str

    @classmethod
    def of(cls, path: Path) -> Corner:
        """The corner that `path` remembers, or a new one."""
        if path.exists():
            return cls(json.loads(path.read_text())["name"])
        corner = cls(f"fenghuo_demo_{secrets.token_hex(4)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"name": corner.name}))
        return corner

    @property
    def prefix(self) -> str:
        """Begins the names of its queues."""
        return f"{self.name}."

    def database(self, server: str) -> str:
        """The address of its database on the server of another."""
        return urlunsplit(urlsplit(server)._replace(path=f"/{self.name}"))

    async def open(self, server: str) -> None:
        """Create the database unless it is there. Raises FenghuoError."""
        try:
            connection = await asyncpg.connect(server)
        except (OSError, asyncpg.PostgresError) as error:
            raise FenghuoError(f"no PostgreSQL answers at the address given: {error}") from error
        try:
            known = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", self.name)
            if not known:
                await connection.execute(f'CREATE DATABASE "{self.name}"')
        except asyncpg.PostgresError as error:
            message = f"the demo makes a database of its own and may not: {error}"
            raise FenghuoError(message) from error
        finally:
            await connection.close()

    async def remove(self, server: str, amqp: str, shards: int) -> None:
        """Drop database and queues."""
        connection = await asyncpg.connect(server)
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')
        finally:
            await connection.close()
        async with await aio_pika.connect(amqp) as link, link.channel() as channel:
            for spec in topology(shards, FLOOR, prefix=self.prefix):
                await channel.queue_delete(spec.name)
            await channel.exchange_delete(exchange_name(self.prefix))
