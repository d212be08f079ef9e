"""Packed ledger rows, receipts, and the merge of the second into the first.

A ledger row belongs to one batch of n recipients: one state word and four times for each, as numpy arrays
that are stored as little-endian bytes. Times are milliseconds after the row's base (the moment of
planning), so four bytes reach 49 days; `NEVER` stands for "not reached" and loses every minimum.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker.ledger.state import ARRIVAL_SHIFT, RANK_MASK, RANK_SHIFT, Arrival, Rank

States = NDArray[np.uint16]
Ordinals = NDArray[np.uint16]
Times = NDArray[np.uint32]
Recipients = NDArray[np.uint32]

NEVER: Final = 0xFFFF_FFFF
_LATEST: Final = NEVER - 1


class Milestone(IntEnum):
    """The four times kept per recipient, by row of the times array."""

    SENT = 0
    DELIVERED = 1
    PRESENTED = 2
    ACKNOWLEDGED = 3


COUNT_NAMES: Final = (
    "planned",
    "sent",
    "delivered",
    "presented",
    "acknowledged",
    "failed",
    "withheld",
    "expired",
    "final",
)
"""Order of the counters. sent ⊇ delivered ⊇ presented ⊇ acknowledged; `failed` is final without arrival for
a reason of sending; `final` = delivered + failed + withheld + expired."""

Counts = NDArray[np.int64]
"""One number for each of COUNT_NAMES."""


@dataclass(frozen=True, slots=True)
class Receipts:
    """What is reported of some recipients of one batch: (ordinal, state word, time) each.

    `at` holds UTC milliseconds since the epoch by our own receiver's clock.
    """

    batch: int
    ordinals: Ordinals
    states: States
    at: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Refuse arrays of different lengths: a shifted column would credit the wrong people."""
        if not len(self.ordinals) == len(self.states) == len(self.at):
            raise ValueError("ordinals, states and times must have one length")

    @classmethod
    def uniform(cls, batch: int, ordinals: Ordinals, state: int, at: int) -> Receipts:
        """The same state and time for every ordinal."""
        n = len(ordinals)
        return cls(batch, ordinals, np.full(n, state, np.uint16), np.full(n, at, np.int64))

    def __len__(self) -> int:
        """How many recipients are reported of."""
        return len(self.ordinals)


@dataclass(slots=True)
class Change:
    """What a merge changed: the difference of the counters, and of the times by milestone.

    `moved[m]` lists pairs (old, new) of absolute milliseconds for times of milestone m that changed; an old
    time of -1 means that there was none. Counters and curves are kept from these, never from receipts seen.
    """

    counts: Counts
    moved: dict[Milestone, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether the merge changed anything that is counted or timed."""
        return bool(self.counts.any()) or bool(self.moved)


@dataclass(slots=True)
class LedgerRow:
    """The record of one batch: state word and times of its n recipients, by ordinal."""

    batch: int
    base: int
    states: States
    times: NDArray[np.uint32]
    """Shape (4, n), by Milestone; milliseconds after `base`, NEVER where not reached."""

    @classmethod
    def fresh(cls, batch: int, n: int, base: int) -> LedgerRow:
        """A row of `n` planned recipients, planned at `base` (UTC milliseconds)."""
        return cls(batch, base, np.zeros(n, np.uint16), np.full((len(Milestone), n), NEVER, np.uint32))

    def __len__(self) -> int:
        """How many recipients the batch has."""
        return len(self.states)

    def counts(self) -> Counts:
        """Count this row anew (what a recount does)."""
        return count(self.states, self.times)

    def merge(self, receipts: Receipts) -> Change:
        """Join `receipts` into this row in place and return what changed.

        Raises IndexError if an ordinal lies outside the batch.
        """
        if not len(receipts):
            return Change(np.zeros(len(COUNT_NAMES), np.int64))
        touched = receipts.ordinals
        if int(touched.max()) >= len(self):
            raise IndexError(f"batch {self.batch} has {len(self)} recipients, receipt of {int(touched.max())}")
        # Receipts mostly come in the order of the batch, and sorting them anew would be half the cost.
        distinct = bool((touched[1:] > touched[:-1]).all())
        unique = touched if distinct else np.unique(touched)
        distinct = distinct or len(unique) == len(touched)
        before_states = self.states[unique]
        before_times = self.times[:, unique]
        if distinct:
            self.states[touched] = np.maximum(self.states[touched], receipts.states)
        else:
            np.maximum.at(self.states, touched, receipts.states)
        offsets = np.clip(receipts.at - self.base, 0, _LATEST).astype(np.uint32)
        for milestone, proves in enumerate(_proved(receipts.states)):
            if not proves.any():
                continue
            row, where, when = self.times[milestone], touched[proves], offsets[proves]
            if distinct:
                row[where] = np.minimum(row[where], when)
            else:
                np.minimum.at(row, where, when)
        after_states, after_times = self.states[unique], self.times[:, unique]
        change = Change(count(after_states, after_times) - count(before_states, before_times))
        for milestone in Milestone:
            moved = before_times[milestone] != after_times[milestone]
            if moved.any():
                old = before_times[milestone][moved].astype(np.int64)
                new = after_times[milestone][moved].astype(np.int64) + self.base
                change.moved[milestone] = (np.where(old == NEVER, -1, old + self.base), new)
        return change

    def at(self, milestone: Milestone) -> NDArray[np.int64]:
        """Absolute times at which recipients reached `milestone`; those who did not are left out."""
        row = self.times[milestone]
        reached: NDArray[np.int64] = row[row != NEVER].astype(np.int64) + self.base
        return reached


def _proved(states: States) -> tuple[NDArray[np.bool_], ...]:
    """For each milestone, which of the reported states prove that it was reached.

    A later milestone proves the earlier ones; `unknown` counts as sent because it means "possibly reached".
    """
    arrival = states >> ARRIVAL_SHIFT
    rank = states >> RANK_SHIFT & RANK_MASK
    delivered = arrival >= Arrival.DELIVERED
    return (
        delivered | (rank == Rank.SENT) | (rank == Rank.UNKNOWN),
        delivered,
        arrival >= Arrival.PRESENTED,
        arrival >= Arrival.ACKNOWLEDGED,
    )


def _count_table() -> NDArray[np.int64]:
    """What one recipient adds to each counter, by arrival, attempt and rank; `sent` is counted from times."""
    arrival, rank = np.divmod(np.arange(1 << (16 - RANK_SHIFT)), RANK_MASK + 1)
    arrival >>= ARRIVAL_SHIFT - RANK_SHIFT - 3
    absent = arrival == Arrival.NONE
    failed, withheld, expired = (absent & (rank == each) for each in (Rank.FAILED, Rank.WITHHELD, Rank.EXPIRED))
    columns = (
        np.ones_like(arrival),
        np.zeros_like(arrival),
        arrival >= Arrival.DELIVERED,
        arrival >= Arrival.PRESENTED,
        arrival >= Arrival.ACKNOWLEDGED,
        failed,
        withheld,
        expired,
        ~absent | failed | withheld | expired,
    )
    return np.stack([column.astype(np.int64) for column in columns], axis=1)


_COUNTED: Final = _count_table()
_SENT: Final = COUNT_NAMES.index("sent")


def count(states: States, times: NDArray[np.uint32]) -> Counts:
    """Counters over some recipients, in the order of COUNT_NAMES."""
    counts: Counts = np.bincount(states >> RANK_SHIFT, minlength=len(_COUNTED)) @ _COUNTED
    counts[_SENT] = np.count_nonzero(times[Milestone.SENT] != NEVER)
    return counts


def final_mask(states: States) -> NDArray[np.bool_]:
    """Which recipients are final: arrived, failed, withheld or expired (a retry that is open is the
    business of the work table, not of the state word)."""
    rank = states >> RANK_SHIFT & RANK_MASK
    settled = (rank == Rank.FAILED) | (rank == Rank.WITHHELD) | (rank == Rank.EXPIRED)
    mask: NDArray[np.bool_] = settled | (states >> ARRIVAL_SHIFT > 0)
    return mask
