"""What the store keeps of the world outside: feeds that are pulled, callbacks of departments and their deliveries.

Times are UTC milliseconds since the epoch; None is "not yet".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from broker.types import AlertState


@dataclass(frozen=True, slots=True)
class FeedRecord:
    """How a feed that is pulled is doing, and what its server wants to hear at the next try."""

    name: str
    shown: str
    """The address without its query, which may hold a secret."""
    tried: int | None = None
    succeeded: int | None = None
    failures: int = 0
    """Tries in a row that did not succeed."""
    listed: int = 0
    """Entries at the last success."""
    seen: int = 0
    """Entries that were looked at since the feed is known."""
    imported: int = 0
    refused: int = 0
    error: str | None = None
    """Why the last try did not succeed."""
    next_try: int = 0
    etag: str | None = None
    last_modified: str | None = None
    owner: str | None = None
    lease_until: int | None = None


class ItemOutcome(StrEnum):
    """What became of an entry of a feed."""

    IMPORTED = "imported"
    KNOWN = "known"
    """The broker had this very message already."""
    REFUSED = "refused"
    WAITING = "waiting"
    """It could not be fetched; the next pull tries again."""


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One entry of a feed as it was at one time; an entry that changes is another item."""

    feed: str
    key: str
    """Hexadecimal SHA-256 of what identifies the entry and its version."""
    place: str
    """Where it stands: the link without its query, or the entry in the feed."""
    outcome: ItemOutcome
    first_seen: int
    last_seen: int
    tries: int = 1
    identifier: str | None = None
    sender: str | None = None
    digest: bytes | None = None
    """SHA-256 of the bytes."""
    alert: str | None = None
    """The alert that it became, or that was there before."""
    findings: tuple[dict[str, object], ...] = ()
    """Everything that was found in it, as Finding.as_dict gives it."""
    body: bytes | None = field(default=None, repr=False)
    """The bytes of a refused message, unless there are too many of them."""


@dataclass(frozen=True, slots=True)
class CallbackRecord:
    """An address that a department wants to be told at."""

    id: str
    department: str
    shown: str
    """The address without its query, which may hold a secret."""
    sealed: bytes = field(repr=False)
    """Sealed address and secret (broker.callbacks.secrets)."""
    states: tuple[AlertState, ...]
    """States that are told; all when empty."""
    created: int
    cursor: int = 0
    """Id of the last event up to which everything is in the deliveries."""


class DeliveryOutcome(StrEnum):
    """What became of a delivery."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One event that one callback is told, until it has answered."""

    id: int
    callback: str
    event: int
    """Id of the event in the audit; rises in the order of an alert's moves."""
    alert: str
    state: AlertState
    at: int
    why: str
    created: int
    next_try: int
    attempts: int = 0
    taken: int = 0
    """How often it was claimed: who lost its lease must not close what another holds."""
    outcome: DeliveryOutcome = DeliveryOutcome.WAITING
    closed: int | None = None
    status: int | None = None
    """HTTP status of the last answer; None where there was none."""
    error: str | None = None

    @property
    def public_id(self) -> str:
        """The id that the receiver sees, the same at every try."""
        return f"{self.callback}-{self.event}"
