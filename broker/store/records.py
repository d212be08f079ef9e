"""What the store keeps, as plain records. Times are UTC milliseconds since the epoch; None is "not yet"."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from broker.ledger.arrays import Ordinals, Recipients
from broker.types import AlertState, ChannelName, Lane, Realm


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """One alert as received: immutable but for its state."""

    id: str
    sender: str
    identifier: str
    sent: int
    """The CAP `sent` as an instant; identity is (sender, identifier, sent)."""
    department: str
    status: str
    msg_type: str
    level: str | None
    """Highest level among the infos: Red, Orange, Yellow or Blue."""
    event: str
    """Event code of the highest segment."""
    headline: str
    content_type: str
    digest: bytes
    """SHA-256 of the body as received."""
    body: bytes
    """The bytes as received."""
    received: int
    expires: int
    state: AlertState
    author: str
    """Id of the token that posted it."""
    released: int | None = None
    planned: int | None = None
    completed: int | None = None
    reason: str | None = None
    """Why it stands in `stopped` or `rejected`, as a sentence for people."""
    scope: str = "Public"
    preview: str | None = None
    """The preview that the releaser named: its audience is what is sent."""
    round: int = 0
    """The last round that was planned; 0 before planning."""


@dataclass(frozen=True, slots=True)
class ReferenceRecord:
    """One triple of an alert's `references`, and the accepted alert that has this identity, if there is one."""

    alert: str
    """Who refers."""
    sender: str
    identifier: str
    sent: int
    target: str | None = None


@dataclass(frozen=True, slots=True)
class PreviewRecord:
    """What a person was shown before release, kept so that exactly this is sent."""

    id: str
    """Hexadecimal SHA-256 of everything that release depends on."""
    alert: str
    author: str
    made: int
    valid_until: int
    content: dict[str, object]
    """What was shown, and the renditions and cuts of the frozen audience."""
    recipients: bytes = field(repr=False)
    """Recipient ids of all cuts, one after the other, packed little-endian uint32."""


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """One move of an alert, for the audit."""

    alert: str
    at: int
    state: AlertState
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class RenditionRecord:
    """The words of one segment for one channel and language; `content` is the channel's own JSON object."""

    id: int
    alert: str
    segment: int
    channel: ChannelName
    language: str
    template: str
    content: dict[str, object]


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """The unit of work, frozen at planning."""

    id: int
    alert: str
    segment: int
    channel: ChannelName
    lane: Lane
    rendition: int
    district: int
    """First six digits of the region code."""
    round: int
    expires: int
    recipients: Recipients
    """Sorted ids."""
    addresses: bytes
    """Sealed page of the recipients' addresses in the same order (broker.sealing); empty once erased."""

    def __len__(self) -> int:
        """How many recipients."""
        return len(self.recipients)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one released alert becomes, written in one transaction."""

    alert: str
    at: int
    renditions: tuple[RenditionRecord, ...]
    batches: tuple[BatchRecord, ...]
    round: int = 1
    """Every batch of the plan has this round."""


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt at one batch: outbox entry and claim in one row.

    `ordinals` is None for the whole batch (the first attempt) or the sorted ordinals of a retry.
    """

    batch: int
    attempt: int
    channel: ChannelName
    lane: Lane
    not_before: int
    ordinals: Ordinals | None = None


@dataclass(frozen=True, slots=True)
class OpenWork:
    """A work row that is not closed, as somebody sees it who wants to stop it."""

    batch: int
    attempt: int
    taken: int
    low: int
    high: int
    """`low`–`high` are positions: the window that may have gone out without being recorded."""
    held: bool
    """Whether a worker's lease on it runs."""
    ordinals: Ordinals | None
    retry: Ordinals


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's hold on (batch, attempt).

    `low`–`high` is the window in doubt: positions (not ordinals: indexes into the work's list of ordinals)
    that a former holder may have sent without recording it. Sending goes on at `low`; below it everything is
    done. `retry` are ordinals of finished windows that failed in passing and must be tried again.
    """

    batch: int
    attempt: int
    owner: str
    low: int
    high: int
    ordinals: Ordinals | None
    retry: Ordinals
    taken: int = 1
    """How often it was claimed: an owner that lost its lease and claimed again cannot act on the former hold."""


@dataclass(frozen=True, slots=True)
class FarIds:
    """The ids that the far end gave to one window: `ids[i]` belongs to `ordinals[i]`.

    A recipient whose message went out in parts stands there once for each part.
    """

    channel: ChannelName
    batch: int
    attempt: int
    ordinals: Ordinals
    ids: NDArray[np.bytes_]
    """Fixed-width ASCII, normalised by the channel."""


@dataclass(frozen=True, slots=True)
class CounterRow:
    """Counters of one alert, channel and district, in the order of ledger.COUNT_NAMES."""

    alert: str
    channel: ChannelName
    district: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CurveRow:
    """How many reached a milestone in one second after the alert was accepted."""

    alert: str
    channel: ChannelName
    milestone: int
    second: int
    n: int


@dataclass(slots=True)
class RecipientPage:
    """Up to 4,096 recipients of one channel, sorted by id: columns for targeting and sealed addresses."""

    channel: ChannelName
    number: int
    """Page number: id // PAGE_IDS, so that an id leads to its page."""
    ids: Recipients
    holders: NDArray[np.uint32]
    lon: NDArray[np.float64]
    """Degrees WGS-84; NaN where the recipient has no place."""
    lat: NDArray[np.float64]
    regions: NDArray[np.int64]
    """12-digit region codes."""
    kinds: NDArray[np.uint8]
    groups: NDArray[np.uint64]
    """Bit mask of groups, by the registry's table of group names."""
    languages: NDArray[np.uint8]
    """Index into the registry's table of languages."""
    addresses: bytes = field(repr=False, default=b"")
    """Sealed (broker.sealing) fixed-width addresses in the same order."""

    def __len__(self) -> int:
        """How many recipients."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A bearer token's public half: only its SHA-256 is kept."""

    id: str
    department: str
    digest: bytes
    scopes: tuple[str, ...]
    created: int
    expires: int | None
    revoked: int | None
    realm: Realm = Realm.LIVE


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """Someone who signs in to the pages; `password` is an argon2id hash."""

    name: str
    password: str
    role: str
    created: int


@dataclass(frozen=True, slots=True)
class ParkedRecord:
    """A message that nobody could handle, kept for a person to look at."""

    id: int
    queue: str
    reason: str
    parked: int
    headers: dict[str, object]
    body: bytes = field(repr=False, default=b"")
