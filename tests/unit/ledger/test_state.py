"""The state word: its fields fit beside each other, and words are ordered by what they prove."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.ledger import state
from broker.ledger.state import MAX_ATTEMPT, Arrival, Rank, Reason, is_transient, word

ranks = st.sampled_from(Rank)
arrivals = st.sampled_from(Arrival)
reasons = st.sampled_from(Reason)
attempts = st.integers(0, MAX_ATTEMPT)


@given(ranks, attempts, reasons, arrivals)
def test_a_word_gives_back_what_was_packed_into_it(
    rank: Rank, attempt: int, reason: Reason, arrival: Arrival
) -> None:
    packed = word(rank, attempt=attempt, reason=reason, arrival=arrival)
    assert 0 <= packed < 2**16
    assert state.rank_of(packed) is rank
    assert state.attempt_of(packed) == attempt
    assert state.reason_of(packed) is reason
    assert state.arrival_of(packed) is arrival


@pytest.mark.parametrize("attempt", [-1, MAX_ATTEMPT + 1])
def test_an_attempt_that_does_not_fit_is_refused(attempt: int) -> None:
    with pytest.raises(ValueError, match="attempt"):
        word(Rank.SENDING, attempt=attempt)


@given(ranks, attempts, reasons, ranks, attempts, reasons)
def test_a_proof_of_arrival_outranks_everything_said_of_sending(
    rank: Rank, attempt: int, reason: Reason, other_rank: Rank, other_attempt: int, other_reason: Reason
) -> None:
    arrived = word(rank, attempt=attempt, reason=reason, arrival=Arrival.DELIVERED)
    assert arrived > word(other_rank, attempt=other_attempt, reason=other_reason)


@given(ranks, reasons, ranks, reasons, st.integers(1, MAX_ATTEMPT))
def test_a_later_attempt_outranks_an_earlier_one(
    rank: Rank, reason: Reason, other_rank: Rank, other_reason: Reason, attempt: int
) -> None:
    assert word(rank, attempt=attempt, reason=reason) > word(other_rank, attempt=attempt - 1, reason=other_reason)


@given(attempts)
def test_within_an_attempt_the_ranks_follow_each_other(attempt: int) -> None:
    words = [word(rank, attempt=attempt) for rank in Rank]
    assert words == sorted(words)
    assert [rank.name for rank in Rank] == [
        "PLANNED",
        "WITHHELD",
        "EXPIRED",
        "SENDING",
        "UNKNOWN",
        "SENT",
        "FAILED",
    ]


def test_the_words_of_arrival_follow_each_other() -> None:
    words = [word(Rank.FAILED, attempt=MAX_ATTEMPT), state.DELIVERED, state.PRESENTED, state.ACKNOWLEDGED]
    assert all(lower < higher for lower, higher in pairwise(words))


def test_reasons_fall_into_none_transient_and_permanent_by_their_number() -> None:
    assert {reason for reason in Reason if is_transient(reason)} == {
        Reason.THROTTLED,
        Reason.QUEUE_FULL,
        Reason.DISCONNECTED,
        Reason.FAR_END_ERROR,
        Reason.OFFLINE,
    }
    assert all(reason <= state.REASON_MASK for reason in Reason)
    assert not is_transient(Reason.UNCONFIRMED)
    assert not is_transient(Reason.EXPIRED)
