"""Submits that wait for their answers: sequence numbers lead back to messages through arrays, not objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from channels.sms.bulk import Numbers, Rows
from channels.sms.pdu import MAX_SEQUENCE

NOT_SENT: Final = -1
"""Never written to a connection."""
PENDING: Final = -2
"""Written, no answer yet."""
UNKNOWN: Final = -3
"""Written, and the answer will not come."""


@dataclass(frozen=True, slots=True)
class Group:
    """Recipients whose addresses have one length: their positions in the submission, and the PDUs of each part."""

    positions: NDArray[np.intp]
    rows: tuple[Rows, ...]


@dataclass(slots=True, eq=False)
class Submission:
    """Messages to some recipients, each in `parts` parts, and what became of them.

    Arrays run by part and then by recipient: part p (from 0) of recipient r stands at `p * recipients + r`.
    """

    recipients: int
    parts: int
    statuses: Numbers = field(init=False)
    """command_status of the answer, or NOT_SENT, PENDING, UNKNOWN."""
    at: Numbers = field(init=False)
    """UTC milliseconds when the answer came or was given up; 0 where nothing was written."""
    positions: list[NDArray[np.intp]] = field(init=False, default_factory=list)
    ids: list[NDArray[np.bytes_]] = field(init=False, default_factory=list)
    """Ids given by the far end, in the groups they came in; `positions` runs in parallel."""

    def __post_init__(self) -> None:
        self.statuses = np.full(self.recipients * self.parts, NOT_SENT, np.int64)
        self.at = np.zeros(self.recipients * self.parts, np.int64)

    @property
    def pending(self) -> bool:
        """Whether answers are still to come."""
        return bool((self.statuses == PENDING).any())


class Outstanding:
    """Sequence numbers in use, at most `window` of them.

    A number's slot is its low bits; a slot that is still in use is left out when numbers are given out, so an
    answer that never comes blocks one slot and nothing else.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._capacity = 1 << (2 * window).bit_length()
        self._sequences = np.zeros(self._capacity, np.int64)
        self._positions = np.zeros(self._capacity, np.intp)
        self._since = np.zeros(self._capacity, np.float64)
        self._owners = np.full(self._capacity, None, object)
        self._next = 1
        self.used = 0

    @property
    def free(self) -> int:
        """How many more submits the window takes."""
        return self.window - self.used

    def single(self) -> int:
        """A sequence number for a PDU outside the window (bind, enquire_link, unbind)."""
        sequence = self._next
        self._advance(sequence)
        return sequence

    def take(self, owner: Submission, positions: NDArray[np.intp], now: float) -> Numbers:
        """Sequence numbers for `positions` of `owner`, written at `now` (seconds). Raises ValueError if full."""
        count = len(positions)
        if count > self.free:
            raise ValueError(f"{count} submits do not fit the window, {self.free} are free")
        candidates = np.arange(self._next, self._next + self._capacity, dtype=np.int64)
        sequences: Numbers = candidates[self._sequences[candidates % self._capacity] == 0][:count]
        slots = sequences % self._capacity
        self._sequences[slots] = sequences
        self._positions[slots] = positions
        self._since[slots] = now
        self._owners[slots] = owner
        self.used += count
        if count:
            self._advance(int(sequences[-1]))
        return sequences

    def settle(self, sequences: Numbers) -> tuple[NDArray[np.bool_], list[tuple[Submission, NDArray[np.intp]]]]:
        """Free the slots of these numbers.

        Returns which of the numbers were in use, and, for each submission concerned, indexes into `sequences`
        of its own; `position_of` tells their positions until the slots are taken again.
        """
        slots = sequences % self._capacity
        found = self._sequences[slots] == sequences
        _, first = np.unique(sequences, return_index=True)
        once = np.zeros(len(sequences), np.bool_)
        once[first] = True
        found &= once
        indexes = np.flatnonzero(found)
        hit = slots[indexes]
        owners = self._owners[hit]
        self._sequences[hit] = 0
        self._owners[hit] = None
        self.used -= len(hit)
        shares = []
        while len(indexes):
            owner = owners[0]
            own = np.equal(owners, owner).astype(np.bool_)
            shares.append((owner, indexes[own]))
            indexes, owners = indexes[~own], owners[~own]
        return found, shares

    def position_of(self, sequences: Numbers) -> NDArray[np.intp]:
        """Positions, within their submissions, of numbers that were just settled."""
        return self._positions[sequences % self._capacity]

    def overdue(self, before: float) -> Numbers:
        """Numbers in use that were taken before `before` (seconds)."""
        late: Numbers = self._sequences[(self._sequences != 0) & (self._since < before)]
        return late

    def _advance(self, last: int) -> None:
        self._next = last + 1
        if self._next + self._capacity > MAX_SEQUENCE:
            self._next = 1
