"""The state word: what is known of one recipient of one batch, in sixteen bits that merge by maximum.

    bit  15 14 | 13 12 11 10 | 9 8 7 | 6 … 0
        arrival |   attempt   | rank  | reason

Because the word is ordered and merging takes the maximum, a merge is associative, commutative and
idempotent: receipts may come late, twice or in any order. A proof of arrival outranks everything that is
said of sending; a later attempt outranks an earlier one; within an attempt the ranks follow each other.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

ARRIVAL_SHIFT: Final = 14
ATTEMPT_SHIFT: Final = 10
RANK_SHIFT: Final = 7
ATTEMPT_MASK: Final = 0xF
RANK_MASK: Final = 0x7
REASON_MASK: Final = 0x7F
MAX_ATTEMPT: Final = ATTEMPT_MASK


class Arrival(IntEnum):
    """How far the warning is proved to have come."""

    NONE = 0
    DELIVERED = 1
    PRESENTED = 2
    ACKNOWLEDGED = 3


class Rank(IntEnum):
    """What became of the latest attempt to send, in the order in which it can change."""

    PLANNED = 0
    WITHHELD = 1
    EXPIRED = 2
    SENDING = 3
    UNKNOWN = 4
    SENT = 5
    FAILED = 6


class Reason(IntEnum):
    """Why: the closed list that the ledger, the metrics' labels, the API and the pages all use.

    Below 32: no failure. 32 to 63: transient, worth another attempt. From 64: permanent.
    """

    NONE = 0
    STOPPED = 1
    """Withheld because the alert was cancelled or replaced before sending."""
    EXPIRED = 2
    """The alert's time ran out before sending."""

    THROTTLED = 32
    """The far end asked for a slower pace (SMPP ESME_RTHROTTLED, HTTP 429)."""
    QUEUE_FULL = 33
    """The far end's queue is full (SMPP ESME_RMSGQFUL)."""
    DISCONNECTED = 34
    """No connection to the far end, and the message surely did not leave."""
    FAR_END_ERROR = 35
    """The far end failed for a reason of its own (SMPP ESME_RSYSERR, HTTP 5xx)."""
    OFFLINE = 36
    """The recipient's device could not be reached now."""

    INVALID_ADDRESS = 64
    """The far end does not know this address or finds it malformed."""
    REJECTED = 65
    """The far end refuses this message."""
    UNDELIVERABLE = 66
    """The far end gave up after accepting it (SMPP receipt UNDELIV)."""
    FAR_END_EXPIRED = 67
    """The far end let it expire after accepting it (SMPP receipt EXPIRED)."""
    REFUSED_BY_DEVICE = 68
    """The terminal did not accept it: signature, area, age or status."""
    UNCONFIRMED = 69
    """Sent, or perhaps sent, and no proof of arrival until the alert's time and grace ran out."""


FIRST_TRANSIENT: Final = 32
FIRST_PERMANENT: Final = 64


def is_transient(reason: Reason) -> bool:
    """Whether another attempt is worth making."""
    return FIRST_TRANSIENT <= reason < FIRST_PERMANENT


def word(
    rank: Rank = Rank.PLANNED,
    *,
    attempt: int = 0,
    reason: Reason = Reason.NONE,
    arrival: Arrival = Arrival.NONE,
) -> int:
    """Pack a state word. `attempt` counts from 1 once sending starts and is at most 15."""
    if not 0 <= attempt <= MAX_ATTEMPT:
        raise ValueError(f"attempt {attempt} does not fit the state word")
    return arrival << ARRIVAL_SHIFT | attempt << ATTEMPT_SHIFT | rank << RANK_SHIFT | reason


def arrival_of(state: int) -> Arrival:
    """The arrival in a state word."""
    return Arrival(state >> ARRIVAL_SHIFT)


def attempt_of(state: int) -> int:
    """The attempt in a state word; 0 before the first."""
    return state >> ATTEMPT_SHIFT & ATTEMPT_MASK


def rank_of(state: int) -> Rank:
    """The rank in a state word."""
    return Rank(state >> RANK_SHIFT & RANK_MASK)


def reason_of(state: int) -> Reason:
    """The reason in a state word."""
    return Reason(state & REASON_MASK)


DELIVERED: Final = word(arrival=Arrival.DELIVERED)
"""What a proof of delivery says; the attempt it belongs to need not be known."""
PRESENTED: Final = word(arrival=Arrival.PRESENTED)
ACKNOWLEDGED: Final = word(arrival=Arrival.ACKNOWLEDGED)
