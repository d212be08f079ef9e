"""The contract of a channel: how the last mile looks to the worker that runs it.

The worker owns claims, windows, pacing, retries, expiry and stops; a channel only sends a window and tells
what became of it, and listens for what comes back later. `tests/contract/test_channel.py` is the executable
half of this page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from broker.ledger.arrays import Ordinals, Receipts, States
from broker.ledger.state import Rank, Reason, word
from broker.sealing import Addresses
from broker.store.records import RenditionRecord
from broker.types import ChannelName, Lane


@dataclass(frozen=True, slots=True)
class Window:
    """Some recipients of one attempt at one batch, about to be sent together.

    `ordinals`, `recipients` and `addresses` run in parallel.
    """

    alert: str
    batch: int
    attempt: int
    lane: Lane
    district: int
    expires: int
    """UTC milliseconds; what is later than this must not be presented."""
    ordinals: Ordinals
    recipients: NDArray[np.uint32]
    addresses: Addresses = field(repr=False)

    def __len__(self) -> int:
        """How many recipients."""
        return len(self.ordinals)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of a window when it was submitted: one state word for each of its recipients, in order.

    Words carry rank `sent`, `unknown` or `failed` with a reason, and the window's attempt. A transient reason
    asks the worker for another attempt; a channel never retries by itself.
    """

    states: States
    at: NDArray[np.int64]
    """UTC milliseconds, when each outcome was known."""
    far_ordinals: Ordinals | None = None
    far_ids: NDArray[np.bytes_] | None = None
    """Ids that the far end gave, with the ordinal each belongs to (several for a message in parts)."""


def submitted(window: Window, rank: Rank = Rank.SENT, reason: Reason = Reason.NONE, *, at: int) -> Outcomes:
    """The same outcome for a whole window."""
    n = len(window)
    state = word(rank, attempt=window.attempt, reason=reason)
    return Outcomes(np.full(n, state, np.uint16), np.full(n, at, np.int64))


async def no_batches() -> list[int]:
    """None at all."""
    return []


@dataclass(frozen=True, slots=True)
class ChannelContext:
    """What a channel may ask of the broker."""

    batch: BatchLookup
    """Recipients' addresses of a batch by id, for evidence that names a batch; raises NotFound."""
    open_batches: OpenBatches
    """Ids of this channel's batches whose alerts are still open, for channels that rebuild state at start."""
    far_ids: FarIdLookup
    arrivals: ArrivalLookup
    """What the ledger knows already of a batch, so that a channel that starts anew does not ask for it again."""
    over_batches: OpenBatches = no_batches
    """Ids of this channel's batches whose alerts are over (cancelled, superseded) but have not expired: nothing
    of them is given out any more, and evidence of them still comes."""


class BatchLookup(Protocol):
    """Finds a batch's frozen content (cached by the worker)."""

    async def __call__(self, batch: int) -> BatchContent:
        """Raises NotFound."""
        ...


class OpenBatches(Protocol):
    """Lists batches."""

    async def __call__(self) -> list[int]:
        """Ascending ids."""
        ...


class FarIdLookup(Protocol):
    """Loads the far end's ids that earlier processes kept."""

    async def __call__(self, batches: list[int]) -> list[tuple[int, Ordinals, NDArray[np.bytes_]]]:
        """(batch, ordinals, ids) for each kept window."""
        ...


class ArrivalLookup(Protocol):
    """Tells how far the recipients of a batch are proved to be reached."""

    async def __call__(self, batch: int) -> NDArray[np.uint8]:
        """broker.ledger.state.Arrival by ordinal. Raises NotFound."""
        ...


@dataclass(frozen=True, slots=True)
class BatchContent:
    """A batch's frozen content with its addresses opened and its words at hand."""

    alert: str
    batch: int
    lane: Lane
    expires: int
    recipients: NDArray[np.uint32]
    addresses: Addresses = field(repr=False)
    rendition: RenditionRecord


Stopped = Callable[[], bool]
"""Whether sending must end now (the alert was cancelled, replaced or has expired)."""


class Channel(Protocol):
    """One way to reach people."""

    name: ChannelName
    window: int
    """Recipients per window: what a crash may send twice."""

    async def start(self, context: ChannelContext) -> None:
        """Open what must be open. Raises ChannelError if the channel cannot work at all."""
        ...

    async def close(self) -> None:
        """Close everything; what `listen` still holds is given out before it ends."""
        ...

    async def send(self, window: Window, rendition: RenditionRecord, stop: Stopped) -> Outcomes:
        """Submit a window and tell the outcome of each of its recipients.

        Looks at `stop` wherever it waits; recipients not submitted because of it get rank `withheld`, reason
        STOPPED. So do all recipients of a window whose alert was withdrawn before. Never raises for a far end
        that fails: that is an outcome.

        What the words are is told by `rendition.content`: "phase" (broker.types.Phase; absent is a warning) and
        "replaces", the broker's ids of the alerts that they replace or take back (absent is none).
        """
        ...

    async def withdraw(self, alert: str) -> None:
        """The alert `alert` (the broker's id) is over: what waits for devices is not given out any more.

        Devices that come later are not given its messages; those that hold them see them go where the far end
        has a way to tell them. Evidence that still comes is taken as before. Safe to repeat, while windows of
        the alert are on their way, and for an alert that this channel never had. Stays true as long as the
        channel lives; after a restart the worker says it again.
        """
        ...

    def listen(self) -> AsyncIterator[Receipts]:
        """Later evidence (delivered, presented, acknowledged, given up), for as long as the channel lives.

        When the next piece is asked for, the former one is durable: only then may the far end forget it.

        State words of evidence: broker.ledger.state.DELIVERED, PRESENTED, ACKNOWLEDGED, or failed with a
        permanent reason and the attempt it belongs to.
        """
        ...

    @property
    def healthy(self) -> bool:
        """Whether the far end can be reached now."""
        ...
