"""What goes out to the world and comes in from it: the published alerts, and feeds that are pulled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import ClaimLost
from broker.store import schema
from broker.store.alerts import alert_of, brief_columns
from broker.store.outside_records import FeedItem, FeedRecord, ItemOutcome
from broker.store.part import Part, chunks
from broker.store.records import AlertRecord
from broker.types import AlertState

PUBLISHED_STATES: Final = (
    AlertState.PLANNED,
    AlertState.SENDING,
    AlertState.COMPLETED,
    AlertState.SUPERSEDED,
    AlertState.CANCELLED,
)
_FEED: Final = tuple(field.name for field in fields(FeedRecord))
_ITEM: Final = tuple(field.name for field in fields(FeedItem))


class SqlPublished(Part):
    """See broker.store.outside_contract.Published."""

    async def published(
        self, *, limit: int = 100, before: tuple[int, str] | None = None, alert: str | None = None
    ) -> list[AlertRecord]:
        """By release, newest first, without the body."""
        table = schema.alerts
        went_out = table.c.planned.is_not(None)
        query = (
            sa.select(*brief_columns())
            .where(
                # What never was released is not even looked at: the index on it leads here.
                table.c.released.is_not(None),
                table.c.status == "Actual",
                table.c.scope == "Public",
                table.c.state.in_([str(state) for state in PUBLISHED_STATES]),
                sa.or_(
                    sa.and_(table.c.msg_type.in_(("Alert", "Update")), went_out),
                    sa.and_(table.c.msg_type == "Cancel", sa.or_(went_out, _takes_back_what_went_out())),
                ),
            )
            .order_by(table.c.released.desc(), table.c.id.desc())
            .limit(limit)
        )
        if before is not None:
            released, last = before
            query = query.where(
                sa.or_(table.c.released < released, sa.and_(table.c.released == released, table.c.id < last))
            )
        if alert is not None:
            query = query.where(table.c.id == alert)
        async with self._db.read() as conn:
            return [alert_of(row) for row in await conn.execute(query)]


def _takes_back_what_went_out() -> sa.ColumnElement[bool]:
    own, target = schema.alert_references, schema.alerts.alias("target")
    same = sa.and_(*(own.c[name] == target.c[name] for name in ("identifier", "sender", "sent")))
    return (
        sa.select(sa.literal(1))
        .select_from(own.join(target, same))
        .where(
            own.c.alert == schema.alerts.c.id,
            target.c.planned.is_not(None),
            target.c.status == "Actual",
            target.c.scope == "Public",
        )
        .correlate(schema.alerts)
        .exists()
    )


class SqlFeeds(Part):
    """See broker.store.outside_contract.Feeds."""

    async def feeds(self) -> list[FeedRecord]:
        """By name."""
        query = sa.select(*(schema.feeds.c[name] for name in _FEED)).order_by(schema.feeds.c.name)
        async with self._db.read() as conn:
            return [FeedRecord(*row) for row in await conn.execute(query)]

    async def feed(self, name: str) -> FeedRecord | None:
        """One feed."""
        async with self._db.read() as conn:
            return await _feed(conn, name)

    async def claim_feed(
        self, name: str, shown: str, owner: str, *, now: int, lease_ms: int, due: bool = True
    ) -> FeedRecord | None:
        """Take it, adding it where it is not known."""
        table = schema.feeds
        free = sa.or_(table.c.lease_until.is_(None), table.c.lease_until <= now)
        mine = sa.update(table).where(table.c.name == name, free)
        if due:
            mine = mine.where(table.c.next_try <= now)
        mine = mine.values(owner=owner, lease_until=now + lease_ms)

        async def work(conn: AsyncConnection) -> FeedRecord | None:
            await conn.execute(self._db.insert_new(table, asdict(FeedRecord(name, shown))))
            if not (await conn.execute(mine)).rowcount:
                return None
            found = await _feed(conn, name)
            assert found is not None
            if found.shown != shown:
                found = replace(found, shown=shown, etag=None, last_modified=None)
            return found

        return await self._db.write(work)

    async def close_feed(self, feed: FeedRecord) -> None:
        """Keep it without owner and lease. Raises ClaimLost."""
        table = schema.feeds
        statement = (
            sa.update(table)
            .where(table.c.name == feed.name, table.c.owner == feed.owner)
            .values({**asdict(feed), "owner": None, "lease_until": None})
        )

        async def work(conn: AsyncConnection) -> None:
            if not (await conn.execute(statement)).rowcount:
                raise ClaimLost(f"another process pulls the feed {feed.name}")

        await self._db.write(work)

    async def put_items(self, items: Sequence[FeedItem]) -> None:
        """Add or replace."""

        async def work(conn: AsyncConnection) -> None:
            for item in items:
                row = {**asdict(item), "outcome": str(item.outcome), "findings": list(item.findings)}
                await conn.execute(self._db.upsert(schema.feed_items, row))

        await self._db.write(work)

    async def items_by_key(self, feed: str, keys: Sequence[str]) -> dict[str, FeedItem]:
        """Without the body."""
        table = schema.feed_items
        columns = [table.c[name] for name in _ITEM if name != "body"]
        found: dict[str, FeedItem] = {}
        async with self._db.read() as conn:
            for some in chunks(keys):
                query = sa.select(*columns).where(table.c.feed == feed, table.c.key.in_(some))
                rows = (await conn.execute(query)).mappings()
                found.update((str(row["key"]), _item(row)) for row in rows)
        return found

    async def touch_items(self, feed: str, keys: Sequence[str], at: int) -> None:
        """Set when they were listed last."""
        table = schema.feed_items

        async def work(conn: AsyncConnection) -> None:
            for some in chunks(keys):
                which = sa.and_(table.c.feed == feed, table.c.key.in_(some))
                await conn.execute(sa.update(table).where(which).values(last_seen=at))

        await self._db.write(work)

    async def items(self, feed: str, *, outcomes: Sequence[ItemOutcome] = (), limit: int = 100) -> list[FeedItem]:
        """Newest first."""
        table = schema.feed_items
        query = sa.select(*(table.c[name] for name in _ITEM)).where(table.c.feed == feed)
        if outcomes:
            query = query.where(table.c.outcome.in_([str(outcome) for outcome in outcomes]))
        query = query.order_by(table.c.first_seen.desc(), table.c.key).limit(limit)
        async with self._db.read() as conn:
            return [_item(row) for row in (await conn.execute(query)).mappings()]

    async def forget_items(self, feed: str, before: int) -> int:
        """Delete what has not been listed for long."""
        table = schema.feed_items
        statement = sa.delete(table).where(table.c.feed == feed, table.c.last_seen < before)

        async def work(conn: AsyncConnection) -> int:
            return (await conn.execute(statement)).rowcount

        return await self._db.write(work)


async def _feed(conn: AsyncConnection, name: str) -> FeedRecord | None:
    query = sa.select(*(schema.feeds.c[column] for column in _FEED)).where(schema.feeds.c.name == name)
    row = (await conn.execute(query)).first()
    return None if row is None else FeedRecord(*row)


def _item(row: sa.RowMapping) -> FeedItem:
    values: dict[str, Any] = dict(row)
    values["outcome"] = ItemOutcome(values["outcome"])
    values["findings"] = tuple(values["findings"])
    for name in ("digest", "body"):
        if values.get(name) is not None:
            values[name] = bytes(values[name])
    return FeedItem(**values)
