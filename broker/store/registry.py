"""Recipients in pages, and the tables of names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import NotFound, StoreError
from broker.store import packing, schema
from broker.store.database import Row
from broker.store.part import Part
from broker.store.records import RecipientPage
from broker.types import ChannelName

_FORMS: Final = {
    "ids": packing.U4,
    "holders": packing.U4,
    "lon": packing.F8,
    "lat": packing.F8,
    "regions": packing.I8,
    "kinds": packing.U1,
    "groups": packing.U8,
    "languages": packing.U1,
}
"""How each column of a page is packed."""
_COLUMNS: Final = ("channel", "number", "size", *_FORMS, "addresses")
_AT_ONCE: Final = 32
"""Pages read or written in one go: some 8 MB."""
_CAPACITY: Final = {"group": 64, "language": 256}


class SqlRegistry(Part):
    """See broker.store.contract.Registry."""

    async def put_pages(self, pages: Iterable[RecipientPage]) -> None:
        """Replace whole pages; `pages` is taken from as the writing goes on."""
        table = schema.pages

        async def work(conn: AsyncConnection) -> None:
            await self._db.exclusive(conn, "registry")
            source, any_written = iter(pages), False
            while some := list(islice(source, _AT_ONCE)):
                some = list({(page.channel, page.number): page for page in some}.values())
                gone = sa.tuple_(table.c.channel, table.c.number).in_(
                    [(str(page.channel), page.number) for page in some]
                )
                await conn.execute(sa.delete(table).where(gone))
                await self._db.insert_many(conn, table, _COLUMNS, _rows(some))
                any_written = True
            if any_written:
                await _raise_version(conn)

        await self._db.write(work)

    async def pages(self, channel: ChannelName | None = None) -> AsyncIterator[RecipientPage]:
        """In order of channel and number. No lock is held between pages: compare `registry_version` around it
        where a change in the middle would matter."""
        table = schema.pages
        key = sa.tuple_(table.c.channel, table.c.number)
        query = sa.select(*(table.c[name] for name in _COLUMNS)).order_by(table.c.channel, table.c.number)
        if channel is not None:
            query = query.where(table.c.channel == str(channel))
        last: tuple[str, int] | None = None
        while True:
            following = (
                query if last is None else query.where(key > sa.tuple_(*(sa.literal(part) for part in last)))
            )
            async with self._db.read() as conn:
                rows = (await conn.execute(following.limit(_AT_ONCE))).all()
            for row in rows:
                yield _page(row)
            if len(rows) < _AT_ONCE:
                return
            last = (rows[-1].channel, rows[-1].number)

    async def page(self, channel: ChannelName, number: int) -> RecipientPage | None:
        """One page."""
        table = schema.pages
        query = sa.select(*(table.c[name] for name in _COLUMNS)).where(
            table.c.channel == str(channel), table.c.number == number
        )
        async with self._db.read() as conn:
            row = (await conn.execute(query)).first()
        return None if row is None else _page(row)

    async def registry_version(self) -> int:
        """0 when empty; rises with every change."""
        return await self._version("registry")

    async def names(self, table: str) -> dict[str, int]:
        """Name → index."""
        _capacity(table)
        async with self._db.read() as conn:
            return await _names(conn, table)

    async def add_names(self, table: str, names: Iterable[str]) -> dict[str, int]:
        """Give unknown names the next indexes, in the order in which they come."""
        capacity, wanted = _capacity(table), list(dict.fromkeys(names))

        async def work(conn: AsyncConnection) -> dict[str, int]:
            await self._db.exclusive(conn, "registry")
            known = await _names(conn, table)
            new = {
                name: len(known) + position
                for position, name in enumerate(name for name in wanted if name not in known)
            }
            if len(known) + len(new) > capacity:
                raise StoreError(f"no room for {len(new)} more {table} names: {len(known)} of {capacity} are taken")
            if new:
                rows = [(table, name, number) for name, number in new.items()]
                await self._db.insert_many(conn, schema.names, ("kind", "name", "number"), rows)
                await _raise_version(conn)
            return known | new

        return await self._db.write(work)


async def _raise_version(conn: AsyncConnection) -> None:
    versions = schema.versions
    await conn.execute(sa.update(versions).where(versions.c.name == "registry").values(value=versions.c.value + 1))


async def _names(conn: AsyncConnection, kind: str) -> dict[str, int]:
    table = schema.names
    query = sa.select(table.c.name, table.c.number).where(table.c.kind == kind).order_by(table.c.number)
    return {row.name: row.number for row in await conn.execute(query)}


def _capacity(table: str) -> int:
    if table not in _CAPACITY:
        raise NotFound(f"no table of {table} names")
    return _CAPACITY[table]


def _rows(pages: Iterable[RecipientPage]) -> Iterator[Row]:
    for page in pages:
        columns = (packing.pack(getattr(page, name), form) for name, form in _FORMS.items())
        yield (str(page.channel), page.number, len(page), *columns, page.addresses)


def _page(row: sa.Row[Any]) -> RecipientPage:
    values = row._asdict()
    arrays = {name: packing.unpack(values[name], form) for name, form in _FORMS.items()}
    return RecipientPage(
        channel=ChannelName(row.channel), number=row.number, addresses=bytes(row.addresses), **arrays
    )
