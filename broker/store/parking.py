"""Messages that nobody could handle."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import NotFound
from broker.store import schema
from broker.store.part import Part
from broker.store.records import ParkedRecord

_BYTES: Final = "$bytes"
_TIME: Final = "$time"


class SqlParking(Part):
    """See broker.store.contract.Parking."""

    async def park(self, queue: str, reason: str, at: int, headers: dict[str, object], body: bytes) -> int:
        """Keep a message. Headers may hold what AMQP tables do: text, numbers, bytes, times, lists, tables.

        Raises TypeError for anything else.
        """
        row = {"queue": queue, "reason": reason, "parked": at, "headers": _plain(headers), "body": body}
        statement = sa.insert(schema.parked).values(row).returning(schema.parked.c.id)

        async def work(conn: AsyncConnection) -> int:
            return int((await conn.execute(statement)).scalar_one())

        return await self._db.write(work)

    async def parked(self, *, limit: int = 100) -> list[ParkedRecord]:
        """Oldest first."""
        query = sa.select(schema.parked).order_by(schema.parked.c.id).limit(limit)
        async with self._db.read() as conn:
            return [_parked(row) for row in await conn.execute(query)]

    async def unpark(self, parked: int) -> ParkedRecord:
        """Take a message out of parking. Raises NotFound."""
        statement = sa.delete(schema.parked).where(schema.parked.c.id == parked).returning(*schema.parked.c)

        async def work(conn: AsyncConnection) -> ParkedRecord:
            row = (await conn.execute(statement)).first()
            if row is None:
                raise NotFound(f"no parked message {parked}")
            return _parked(row)

        return await self._db.write(work)


def _parked(row: sa.Row[Any]) -> ParkedRecord:
    return ParkedRecord(row.id, row.queue, row.reason, row.parked, _restored(row.headers), bytes(row.body))


def _plain(value: object) -> Any:
    """`value` as JSON can hold it; bytes and times are tagged so that they come back as they were."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes | bytearray):
        return {_BYTES: bytes(value).hex()}
    if isinstance(value, datetime):
        return {_TIME: value.isoformat()}
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    raise TypeError(f"a header cannot be {type(value).__name__}")


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_BYTES}:
            return bytes.fromhex(value[_BYTES])
        if value.keys() == {_TIME}:
            return datetime.fromisoformat(value[_TIME])
        return {name: _restored(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_restored(part) for part in value]
    return value
