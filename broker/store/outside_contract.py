"""The contract of the store towards the world outside: what is published, feeds that are pulled, callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from broker.store.outside_records import (
    CallbackRecord,
    DeliveryOutcome,
    DeliveryRecord,
    FeedItem,
    FeedRecord,
    ItemOutcome,
)
from broker.store.records import AlertRecord


class Published(Protocol):
    """The alerts that went to the public, for feeds."""

    async def published(
        self, *, limit: int = 100, before: tuple[int, str] | None = None, alert: str | None = None
    ) -> list[AlertRecord]:
        """Alerts, Updates and Cancels of status Actual and scope Public that went out, by release, newest first,
        without `body`. `before` is the (released, id) to go on from; with `alert`, that one only.

        An Alert or Update went out when it was planned, whatever has become of it since; a Cancel when it was
        planned or takes back one that was.
        """
        ...


class Feeds(Protocol):
    """Feeds that are pulled: their health, their entries."""

    async def feeds(self) -> list[FeedRecord]:
        """All feeds that were ever tried, by name."""
        ...

    async def feed(self, name: str) -> FeedRecord | None:
        """One feed."""
        ...

    async def claim_feed(
        self, name: str, shown: str, owner: str, *, now: int, lease_ms: int, due: bool = True
    ) -> FeedRecord | None:
        """Take a feed to pull it, by compare-and-set; None if another holds it or (with `due`) it is not time yet.

        One that is not known yet is added. A feed whose address has changed forgets what its former server said.
        """
        ...

    async def close_feed(self, feed: FeedRecord) -> None:
        """Keep what a pull found and let go of the feed. Raises ClaimLost if `feed.owner` does not hold it."""
        ...

    async def put_items(self, items: Sequence[FeedItem]) -> None:
        """Keep entries; one with the same feed and key is replaced."""
        ...

    async def items_by_key(self, feed: str, keys: Sequence[str]) -> dict[str, FeedItem]:
        """Those of the keys that are known, without `body`."""
        ...

    async def touch_items(self, feed: str, keys: Sequence[str], at: int) -> None:
        """Note that the feed still lists these."""
        ...

    async def items(self, feed: str, *, outcomes: Sequence[ItemOutcome] = (), limit: int = 100) -> list[FeedItem]:
        """The entries of a feed, newest first, with `body` where it was kept."""
        ...

    async def forget_items(self, feed: str, before: int) -> int:
        """Forget what the feed has not listed since `before`; how many."""
        ...


class Callbacks(Protocol):
    """Who is told of the states of alerts, and what they were told."""

    async def add_callback(self, callback: CallbackRecord) -> None:
        """Keep a callback; it is told of what happens from now on. Raises StoreError if the id is taken."""
        ...

    async def callbacks(self, department: str | None = None) -> list[CallbackRecord]:
        """All of them, or a department's, oldest first."""
        ...

    async def callback(self, callback: str) -> CallbackRecord:
        """One callback. Raises NotFound."""
        ...

    async def remove_callback(self, callback: str) -> bool:
        """Forget it and its deliveries; False if there is none."""
        ...

    async def spread_events(self, now: int, *, limit: int = 200) -> int:
        """Make a delivery of every event that a callback has not got yet, up to `limit` for each; how many.

        An event of a transaction that commits late is not missed: events of the last minutes are looked at again
        each time, and a second look makes no second delivery.
        """
        ...

    async def due_callbacks(self, now: int) -> list[str]:
        """Callbacks that have a delivery to try by `now`."""
        ...

    async def due_deliveries(self, callback: str, now: int, *, limit: int) -> list[DeliveryRecord]:
        """Deliveries to try by `now` that nobody holds, the longest due first: of each alert only the first that
        waits, so that a receiver is told of an alert's moves in their order."""
        ...

    async def claim_delivery(self, delivery: DeliveryRecord, *, now: int, lease_ms: int) -> DeliveryRecord | None:
        """Take a delivery by compare-and-set; None if another was first."""
        ...

    async def close_delivery(self, delivery: DeliveryRecord) -> None:
        """Keep the outcome of a try and let go. Raises ClaimLost if the claim was taken over."""
        ...

    async def deliveries(
        self, *, callback: str | None = None, outcomes: Sequence[DeliveryOutcome] = (), limit: int = 100
    ) -> list[DeliveryRecord]:
        """Newest first."""
        ...

    async def forget_deliveries(self, before: int) -> int:
        """Forget closed deliveries that were closed before `before`; how many."""
        ...
