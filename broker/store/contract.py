"""The contract of the durable state, by noun. `tests/contract/test_store.py` is its executable half.

Every method that writes returns only after the commit is durable. Every method may raise StoreError.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from broker.ledger.arrays import LedgerRow, Milestone, Ordinals, Receipts
from broker.store.outside_contract import Callbacks, Feeds, Published
from broker.store.records import (
    AlertEvent,
    AlertRecord,
    BatchRecord,
    Claim,
    CounterRow,
    CurveRow,
    FarIds,
    OpenWork,
    ParkedRecord,
    PersonRecord,
    Plan,
    PreviewRecord,
    RecipientPage,
    ReferenceRecord,
    RenditionRecord,
    TokenRecord,
    Work,
)
from broker.types import AlertState, ChannelName


class Alerts(Protocol):
    """Accepted alerts, their states and the audit of their moves."""

    async def add_alert(
        self,
        alert: AlertRecord,
        event: AlertEvent,
        references: Sequence[ReferenceRecord] = (),
        *,
        moved: AlertEvent | None = None,
    ) -> AlertRecord:
        """Keep `alert` and what it refers to durably, or return the one already there with the same identity.

        The caller compares digests: same bytes are the same answer, other bytes a conflict. `moved` is the
        alert's first move, made in the same transaction: what is kept, and returned, stands in its state.
        Alerts that come while others are being written share a transaction.
        """
        ...

    async def alert(self, alert: str) -> AlertRecord:
        """One alert. Raises NotFound."""
        ...

    async def alert_by_digest(self, digest: bytes) -> AlertRecord | None:
        """The alert whose body has this SHA-256, if one was accepted."""
        ...

    async def alerts(
        self,
        *,
        states: Sequence[AlertState] = (),
        limit: int = 100,
        before: str | None = None,
        department: str | None = None,
        statuses: Sequence[str] = (),
        levels: Sequence[str] = (),
        since: int | None = None,
    ) -> list[AlertRecord]:
        """Newest first (ids are ordered by time), without `body`; `before` is the id to go on from.

        Only those of `department`, in one of `states`, with one of the CAP `statuses` and one of `levels`, received
        at or after `since` (UTC milliseconds), where these are given: a page is as long as its filters allow.
        """
        ...

    async def move_alert(
        self,
        alert: str,
        allowed_from: Sequence[AlertState],
        event: AlertEvent,
        *,
        reason: str | None = None,
        preview: str | None = None,
    ) -> bool:
        """Compare-and-set the state to `event.state` and record the event; False if another got there first.

        Sets `released`, `planned`, `completed` from the event's time for these states, and `reason` and `preview`
        if given.
        """
        ...

    async def note_alert(self, event: AlertEvent) -> None:
        """Add to the alert's history without a move. Raises NotFound."""
        ...

    async def alert_events(self, alert: str) -> list[AlertEvent]:
        """The alert's history, oldest first."""
        ...

    async def references(self, alert: str) -> list[ReferenceRecord]:
        """What an alert refers to, in its order, each with its target if that was accepted by now."""
        ...

    async def referring(self, alert: str) -> list[AlertRecord]:
        """The accepted messages that refer to this alert, oldest first, without `body`."""
        ...

    async def over(self, since: int) -> list[str]:
        """Ids of the alerts in a state of broker.types.OVER that expire after `since`."""
        ...

    async def followers(self, since: int) -> list[AlertRecord]:
        """Update and Cancel messages that are planned, sending or completed and expire after `since`, oldest
        first, without `body`: those whose late rounds are still to be looked for."""
        ...

    async def add_preview(self, preview: PreviewRecord) -> None:
        """Keep a preview; one with the same id is replaced."""
        ...

    async def preview(self, preview: str) -> PreviewRecord:
        """One preview. Raises NotFound."""
        ...


class Registry(Protocol):
    """Recipients in pages; the tables of group and language names; a version that rises with every change."""

    async def put_pages(self, pages: Iterable[RecipientPage]) -> None:
        """Insert or replace whole pages in one transaction and raise the version."""
        ...

    def pages(self, channel: ChannelName | None = None) -> AsyncIterator[RecipientPage]:
        """All pages of `channel` (or of all channels) in order of channel and page number."""
        ...

    async def page(self, channel: ChannelName, number: int) -> RecipientPage | None:
        """One page."""
        ...

    async def registry_version(self) -> int:
        """0 when empty; rises with every change."""
        ...

    async def names(self, table: str) -> dict[str, int]:
        """Name → index of table `group` (bits 0–63) or `language` (0–255)."""
        ...

    async def add_names(self, table: str, names: Iterable[str]) -> dict[str, int]:
        """Give each unknown name the next index and return the whole table. Raises StoreError when full."""
        ...


class Dispatch(Protocol):
    """Plans, and the outbox that the batches' work rows are."""

    async def reserve_batches(self, n: int) -> int:
        """First of `n` consecutive batch ids that nobody else gets."""
        ...

    async def reserve_renditions(self, n: int) -> int:
        """First of `n` consecutive rendition ids that nobody else gets."""
        ...

    async def commit_plan(self, plan: Plan, event: AlertEvent) -> bool:
        """In one transaction: released → planned, renditions, batches, first work rows (attempt 1), fresh
        ledger rows, `planned` counters. False (and nothing written) if the alert was no longer released."""
        ...

    async def commit_round(self, plan: Plan, event: AlertEvent) -> bool:
        """The same for a later round of an alert that is planned, sending or completed; one that was completed is
        sending again. False (and nothing written) unless the alert's last round is the one before `plan.round`."""
        ...

    async def unpublished(self, limit: int) -> list[Work]:
        """Work rows not yet marked published nor closed, urgent lane first, oldest first."""
        ...

    async def mark_published(self, keys: Sequence[tuple[int, int]], at: int) -> None:
        """Mark (batch, attempt) pairs as confirmed by the transport."""
        ...

    async def forget_published(self) -> int:
        """Unmark every open work row, for a transport that keeps nothing over a restart; how many."""
        ...

    async def batch(self, batch: int) -> BatchRecord:
        """One batch with its sealed addresses. Raises NotFound."""
        ...

    async def batches(self, ids: Sequence[int]) -> list[BatchRecord]:
        """Several batches, in the order of `ids`. Raises NotFound if one is missing."""
        ...

    async def batch_ids(
        self,
        *,
        alert: str | None = None,
        channel: ChannelName | None = None,
        expires_after: int | None = None,
    ) -> list[int]:
        """Ids of batches, ascending, of one alert or, with none given, of alerts in planned, sending or
        completed; `expires_after` (UTC milliseconds) leaves out those that expire at or before it."""
        ...

    async def rendition(self, rendition: int) -> RenditionRecord:
        """One rendition. Raises NotFound."""
        ...

    async def renditions(self, alert: str) -> list[RenditionRecord]:
        """All renditions of an alert."""
        ...

    async def erase_addresses(self, alert: str) -> None:
        """Empty the sealed addresses of the alert's batches (when it has closed)."""
        ...


class Claims(Protocol):
    """Who sends what: compare-and-set with a lease."""

    async def claim(self, batch: int, attempt: int, owner: str, lease_ms: int) -> Claim | None:
        """Take (batch, attempt) if it is open and free or its lease has run out; None if it is closed or held.

        Use `work_open` to tell the two apart."""
        ...

    async def work_open(self, batch: int, attempt: int) -> bool:
        """Whether (batch, attempt) exists and is not closed."""
        ...

    async def mark(
        self,
        claim: Claim,
        *,
        low: int,
        high: int,
        lease_ms: int,
        far_ids: FarIds | None = None,
        retry: Ordinals | None = None,
    ) -> None:
        """Before a window leaves: everything below `low` is done, `low`–`high` is about to go. Renews the lease;
        keeps the far end's ids of the finished window; `retry` replaces the list of ordinals to try again.
        Raises ClaimLost if the claim is no longer this owner's."""
        ...

    async def close_work(self, claim: Claim, *, far_ids: FarIds | None = None, retry: Work | None = None) -> None:
        """Close the claim; in the same transaction open `retry` (the next attempt). Raises ClaimLost."""
        ...

    async def release_claims(self) -> int:
        """Void every lease. Only for a process that knows itself to be alone on this store; how many."""
        ...

    async def far_ids(self, channel: ChannelName, batches: Sequence[int]) -> list[FarIds]:
        """The kept windows of far-end ids of these batches."""
        ...

    async def open_work(self, alert: str) -> int:
        """How many of the alert's work rows are not closed."""
        ...

    async def open_works(self, alert: str) -> list[OpenWork]:
        """The alert's work rows that are not closed, by batch and attempt."""
        ...

    async def stop_work(self, works: Sequence[OpenWork]) -> int:
        """Close those that nobody has claimed or moved since they were read; how many were closed."""
        ...


class Ledger(Protocol):
    """Ledger rows and what is derived from their changes."""

    async def merge(self, receipts: Sequence[Receipts]) -> None:
        """Merge receipts of any number of batches in one transaction: lock the rows, join, write them, and bring
        counters and curves along by the change. Batches are taken in ascending order so that two trackers
        cannot deadlock. Receipts of an unknown batch raise NotFound and nothing is merged."""
        ...

    async def ledger_row(self, batch: int) -> LedgerRow:
        """One row. Raises NotFound."""
        ...

    async def ledger_rows(self, batches: Sequence[int]) -> list[LedgerRow]:
        """Several rows, in the order of `batches`. Raises NotFound if one is missing."""
        ...

    async def counters(self, alert: str) -> list[CounterRow]:
        """By channel and district."""
        ...

    async def recount(self, alert: str) -> list[CounterRow]:
        """The same counted anew from the ledger rows: must equal `counters`."""
        ...

    async def curve(self, alert: str) -> list[CurveRow]:
        """Milestones by second after accept (`AlertRecord.received`), rows with n = 0 left out."""
        ...

    async def milestone_times(self, alert: str, channel: ChannelName, milestone: Milestone) -> list[int]:
        """Every recipient's time of a milestone, UTC milliseconds, sorted; for exact quantiles."""
        ...

    async def ledger_version(self) -> int:
        """Rises with every commit of `merge` or `commit_plan`, so that watchers ask for little."""
        ...


class Accounts(Protocol):
    """Tokens of departments, people who sign in."""

    async def add_token(self, token: TokenRecord) -> None:
        """Keep a token's digest."""
        ...

    async def token_by_digest(self, digest: bytes) -> TokenRecord | None:
        """The token with this SHA-256, revoked or not."""
        ...

    async def tokens(self) -> list[TokenRecord]:
        """All tokens."""
        ...

    async def revoke_token(self, token: str, at: int) -> bool:
        """Revoke; False if there is none."""
        ...

    async def put_person(self, person: PersonRecord) -> None:
        """Add or replace a person."""
        ...

    async def person(self, name: str) -> PersonRecord | None:
        """A person by name."""
        ...


class Parking(Protocol):
    """Messages that nobody could handle."""

    async def park(self, queue: str, reason: str, at: int, headers: dict[str, object], body: bytes) -> int:
        """Keep a message; its id."""
        ...

    async def parked(self, *, limit: int = 100) -> list[ParkedRecord]:
        """Oldest first."""
        ...

    async def unpark(self, parked: int) -> ParkedRecord:
        """Take a message out of parking. Raises NotFound."""
        ...


class Store(
    Alerts,
    Registry,
    Dispatch,
    Claims,
    Ledger,
    Accounts,
    Parking,
    Published,
    Feeds,
    Callbacks,
    Protocol,
):
    """All of it."""

    async def start(self) -> None:
        """Connect and bring the schema up to date."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...

    async def ping(self) -> None:
        """Prove that a write would work now. Raises StoreError."""
        ...
