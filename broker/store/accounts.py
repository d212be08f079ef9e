"""Tokens of departments, people who sign in."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.store import schema
from broker.store.part import Part
from broker.store.records import PersonRecord, TokenRecord
from broker.types import Realm


class SqlAccounts(Part):
    """See broker.store.contract.Accounts."""

    async def add_token(self, token: TokenRecord) -> None:
        """Keep a token's digest. Raises StoreError if the id or the digest is already there."""
        row = {
            "id": token.id,
            "department": token.department,
            "digest": token.digest,
            "scopes": list(token.scopes),
            "created": token.created,
            "expires": token.expires,
            "revoked": token.revoked,
            "realm": str(token.realm),
        }

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(sa.insert(schema.tokens).values(row))

        await self._db.write(work)

    async def token_by_digest(self, digest: bytes) -> TokenRecord | None:
        """The token with this SHA-256."""
        query = sa.select(schema.tokens).where(schema.tokens.c.digest == digest)
        async with self._db.read() as conn:
            row = (await conn.execute(query)).first()
        return None if row is None else _token(row)

    async def tokens(self) -> list[TokenRecord]:
        """All tokens, oldest first."""
        query = sa.select(schema.tokens).order_by(schema.tokens.c.created, schema.tokens.c.id)
        async with self._db.read() as conn:
            return [_token(row) for row in await conn.execute(query)]

    async def revoke_token(self, token: str, at: int) -> bool:
        """Revoke; the moment of a first revocation stays."""
        table = schema.tokens
        statement = (
            sa.update(table).where(table.c.id == token).values(revoked=sa.func.coalesce(table.c.revoked, at))
        )

        async def work(conn: AsyncConnection) -> bool:
            return bool((await conn.execute(statement)).rowcount)

        return await self._db.write(work)

    async def put_person(self, person: PersonRecord) -> None:
        """Add or replace a person."""
        row = {
            "name": person.name,
            "password": person.password,
            "role": person.role,
            "created": person.created,
        }

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(self._db.upsert(schema.persons, row))

        await self._db.write(work)

    async def person(self, name: str) -> PersonRecord | None:
        """A person by name."""
        query = sa.select(schema.persons).where(schema.persons.c.name == name)
        async with self._db.read() as conn:
            row = (await conn.execute(query)).first()
        return None if row is None else PersonRecord(row.name, row.password, row.role, row.created)


def _token(row: sa.Row[Any]) -> TokenRecord:
    return TokenRecord(
        row.id,
        row.department,
        bytes(row.digest),
        tuple(row.scopes),
        row.created,
        row.expires,
        row.revoked,
        Realm(row.realm),
    )
