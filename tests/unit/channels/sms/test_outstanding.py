"""Sequence numbers lead back to what was sent, in whatever order answers come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.sms.outstanding import Outstanding, Submission
from channels.sms.pdu import MAX_SEQUENCE


@given(st.lists(st.integers(1, 8), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_answers_in_any_order_reach_their_own_message(sizes: list[int], random: object) -> None:
    outstanding = Outstanding(16)
    waiting: dict[int, tuple[Submission, int]] = {}
    for size in sizes:
        owner = Submission(size, 1)
        if outstanding.free < size:
            answered = random.sample(sorted(waiting), random.randint(size, len(waiting)))  # type: ignore[attr-defined]
            sequences = np.array(answered, np.int64)
            found, shares = outstanding.settle(sequences)
            assert found.all()
            positions = outstanding.position_of(sequences)
            for share_owner, own in shares:
                for n in own:
                    assert waiting.pop(answered[n]) == (share_owner, positions[n])
        if outstanding.free >= size:
            taken = outstanding.take(owner, np.arange(size), 0.0)
            assert not set(taken.tolist()) & set(waiting)
            waiting.update({int(sequence): (owner, n) for n, sequence in enumerate(taken)})
        assert outstanding.used == len(waiting)
    assert sorted(outstanding.overdue(1.0).tolist()) == sorted(waiting)


def test_a_full_window_takes_no_more() -> None:
    outstanding = Outstanding(4)
    outstanding.take(Submission(4, 1), np.arange(4), 0.0)
    with pytest.raises(ValueError, match="0 are free"):
        outstanding.take(Submission(1, 1), np.arange(1), 0.0)


def test_an_answer_that_comes_twice_counts_once() -> None:
    outstanding = Outstanding(4)
    sequences = outstanding.take(Submission(2, 1), np.arange(2), 0.0)
    found, _ = outstanding.settle(np.concatenate([sequences, sequences]))
    assert found.tolist() == [True, True, False, False]
    assert outstanding.used == 0
    found, shares = outstanding.settle(sequences)
    assert not found.any()
    assert shares == []


def test_an_answer_that_never_comes_blocks_one_number_only() -> None:
    outstanding = Outstanding(2)
    stuck = int(outstanding.take(Submission(1, 1), np.arange(1), 0.0)[0])
    for _ in range(100):
        sequences = outstanding.take(Submission(1, 1), np.arange(1), 5.0)
        assert int(sequences[0]) != stuck
        outstanding.settle(sequences)
    assert outstanding.overdue(1.0).tolist() == [stuck]


def test_numbers_begin_again_before_they_leave_the_range() -> None:
    outstanding = Outstanding(2)
    outstanding._next = MAX_SEQUENCE - 20
    seen = []
    for _ in range(40):
        sequences = outstanding.take(Submission(1, 1), np.arange(1), 0.0)
        outstanding.settle(sequences)
        seen.append(int(sequences[0]))
    assert 1 in seen
    assert min(seen) >= 1
    assert max(seen) <= MAX_SEQUENCE
