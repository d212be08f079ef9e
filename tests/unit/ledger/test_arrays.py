"""The join of receipts into a ledger row: its laws, and what counters and curves are derived from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.ledger.arrays import (
    COUNT_NAMES,
    NEVER,
    LedgerRow,
    Milestone,
    Receipts,
    count,
    final_mask,
)
from broker.ledger.state import ACKNOWLEDGED, DELIVERED, PRESENTED, Arrival, Rank, Reason, word

SIZE = 6
BASE = 1_760_000_000_000
SENT = word(Rank.SENT, attempt=1)

sending_words = st.builds(
    lambda rank, attempt, reason: word(rank, attempt=attempt, reason=reason),
    st.sampled_from(Rank),
    st.integers(0, 15),
    st.sampled_from(Reason),
)
arrival_words = st.sampled_from([DELIVERED, PRESENTED, ACKNOWLEDGED])
words = sending_words | arrival_words
report = st.tuples(st.integers(0, SIZE - 1), words, st.integers(BASE - 50, BASE + 5_000))
report_lists = st.lists(report, max_size=30)
Report = tuple[int, int, int]


def receipts(items: list[Report]) -> Receipts:
    return Receipts(
        1,
        np.array([ordinal for ordinal, _, _ in items], np.uint16),
        np.array([state for _, state, _ in items], np.uint16),
        np.array([at for _, _, at in items], np.int64),
    )


def merged(*parts: list[Report]) -> LedgerRow:
    row = LedgerRow.fresh(1, SIZE, BASE)
    for part in parts:
        row.merge(receipts(part))
    return row


def same(one: LedgerRow, other: LedgerRow) -> bool:
    return bool((one.states == other.states).all()) and bool((one.times == other.times).all())


@given(report_lists, st.data())
def test_receipts_may_come_in_any_order(items: list[Report], data: st.DataObject) -> None:
    assert same(merged(items), merged(data.draw(st.permutations(items))))


@given(report_lists, st.data())
def test_receipts_may_come_in_any_portions(items: list[Report], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(items)), max_size=5)))
    parts = [items[start:end] for start, end in zip([0, *cuts], [*cuts, len(items)], strict=True)]
    assert same(merged(items), merged(*parts))


@given(report_lists, report_lists)
def test_receipts_may_come_again(items: list[Report], others: list[Report]) -> None:
    once = merged(items, others)
    row = merged(items, others)
    change = row.merge(receipts(items))
    assert same(row, once)
    assert not change.any
    assert same(merged(items + items, others), once)


@given(report_lists, report_lists, report_lists)
def test_the_join_is_associative_and_commutative(a: list[Report], b: list[Report], c: list[Report]) -> None:
    assert same(merged(a + b, c), merged(a, b + c))
    assert same(merged(a, b, c), merged(c, b, a))


@given(report_lists)
def test_a_row_says_what_a_naive_record_of_each_recipient_says(items: list[Report]) -> None:
    row = merged(items)
    for ordinal in range(SIZE):
        mine = [(state, at) for each, state, at in items if each == ordinal]
        assert int(row.states[ordinal]) == max((state for state, _ in mine), default=0)
        for milestone in Milestone:
            proofs = [max(at - BASE, 0) for state, at in mine if milestone in proved_by(state)]
            assert int(row.times[milestone, ordinal]) == min(proofs, default=NEVER)


def proved_by(state: int) -> set[Milestone]:
    arrival = Arrival(state >> 14)
    found = {Milestone(int(reached)) for reached in Arrival if Arrival.NONE < reached <= arrival}
    if found or Rank(state >> 7 & 7) in (Rank.SENT, Rank.UNKNOWN):
        found.add(Milestone.SENT)
    return found


@given(report_lists)
def test_counts_are_cumulative_and_final_is_their_sum(items: list[Report]) -> None:
    row = merged(items)
    counts = dict(zip(COUNT_NAMES, row.counts().tolist(), strict=True))
    assert counts["planned"] == SIZE
    assert counts["planned"] >= counts["sent"] >= counts["delivered"]
    assert counts["delivered"] >= counts["presented"] >= counts["acknowledged"]
    assert counts["final"] == counts["delivered"] + counts["failed"] + counts["withheld"] + counts["expired"]
    assert counts["final"] == int(final_mask(row.states).sum()) <= SIZE
    for milestone in Milestone:
        assert counts[milestone.name.lower()] == len(row.at(milestone))


@given(st.lists(report_lists, max_size=4))
def test_the_changes_of_all_merges_add_up_to_the_counts_of_the_row(parts: list[list[Report]]) -> None:
    row = LedgerRow.fresh(1, SIZE, BASE)
    total = row.counts()
    for part in parts:
        before = row.counts()
        change = row.merge(receipts(part))
        assert (change.counts == row.counts() - before).all()
        total = total + change.counts
    assert (total == row.counts()).all()


@given(st.lists(report_lists, max_size=4))
def test_the_moved_times_of_all_merges_lead_to_the_times_of_the_row(parts: list[list[Report]]) -> None:
    row = LedgerRow.fresh(1, SIZE, BASE)
    kept: dict[Milestone, list[int]] = {milestone: [] for milestone in Milestone}
    for part in parts:
        for milestone, (old, new) in row.merge(receipts(part)).moved.items():
            assert len(old) == len(new) > 0
            for before, after in zip(old.tolist(), new.tolist(), strict=True):
                assert before == -1 or before > after
                if before != -1:
                    kept[milestone].remove(before)
                kept[milestone].append(after)
    for milestone in Milestone:
        assert sorted(kept[milestone]) == sorted(row.at(milestone).tolist())


def test_a_later_milestone_proves_the_earlier_ones() -> None:
    row = merged([(0, ACKNOWLEDGED, BASE + 9)])
    assert row.times[:, 0].tolist() == [9, 9, 9, 9]
    assert dict(zip(COUNT_NAMES, row.counts().tolist(), strict=True))["sent"] == 1


def test_unknown_means_possibly_reached_and_counts_as_sent() -> None:
    row = merged([(0, word(Rank.UNKNOWN, attempt=1), BASE + 5), (0, SENT, BASE + 8)])
    assert row.at(Milestone.SENT).tolist() == [BASE + 5]


def test_a_failure_after_sending_keeps_the_time_of_sending() -> None:
    failed = word(Rank.FAILED, attempt=1, reason=Reason.UNDELIVERABLE)
    row = merged([(0, failed, BASE + 9), (0, SENT, BASE + 4)])
    counts = dict(zip(COUNT_NAMES, row.counts().tolist(), strict=True))
    assert (counts["sent"], counts["failed"], counts["final"]) == (1, 1, 1)


def test_an_arrival_after_a_failure_takes_the_failure_back() -> None:
    row = merged([(0, word(Rank.FAILED, attempt=3, reason=Reason.UNCONFIRMED), BASE + 9)])
    change = row.merge(receipts([(0, DELIVERED, BASE + 20)]))
    assert dict(zip(COUNT_NAMES, change.counts.tolist(), strict=True)) == {
        "planned": 0,
        "sent": 1,
        "delivered": 1,
        "presented": 0,
        "acknowledged": 0,
        "failed": -1,
        "withheld": 0,
        "expired": 0,
        "final": 0,
    }


def test_a_new_attempt_takes_a_failure_back_until_it_has_an_outcome() -> None:
    row = merged([(0, word(Rank.FAILED, attempt=1, reason=Reason.OFFLINE), BASE + 9)])
    assert final_mask(row.states).tolist()[0]
    row.merge(receipts([(0, word(Rank.SENDING, attempt=2), BASE + 10)]))
    assert not final_mask(row.states).any()


def test_times_before_the_base_are_the_base_and_times_too_late_to_hold_are_the_latest() -> None:
    row = merged([(0, SENT, BASE - 1), (1, SENT, BASE + 2**33)])
    assert row.at(Milestone.SENT).tolist() == [BASE, BASE + NEVER - 1]


@pytest.mark.parametrize("lengths", [(1, 2, 2), (2, 1, 2), (2, 2, 1)])
def test_columns_of_different_lengths_are_refused(lengths: tuple[int, int, int]) -> None:
    ordinals, states, at = lengths
    with pytest.raises(ValueError, match="one length"):
        Receipts(1, np.zeros(ordinals, np.uint16), np.zeros(states, np.uint16), np.zeros(at, np.int64))


@given(report_lists)
def test_a_receipt_outside_the_batch_is_refused_and_changes_nothing(items: list[Report]) -> None:
    row = LedgerRow.fresh(1, SIZE, BASE)
    with pytest.raises(IndexError):
        row.merge(receipts([*items, (SIZE, DELIVERED, BASE)]))
    assert same(row, LedgerRow.fresh(1, SIZE, BASE))


def test_no_receipts_change_nothing() -> None:
    row = merged([(0, SENT, BASE)])
    assert not row.merge(receipts([])).any


def test_uniform_receipts_say_the_same_of_everyone() -> None:
    same_for_all = Receipts.uniform(1, np.array([0, 4], np.uint16), SENT, BASE + 3)
    row = LedgerRow.fresh(1, SIZE, BASE)
    row.merge(same_for_all)
    assert len(same_for_all) == 2
    assert row.states.tolist() == [SENT, 0, 0, 0, SENT, 0]
    assert row.at(Milestone.SENT).tolist() == [BASE + 3] * 2


@given(report_lists)
def test_counting_parts_of_a_row_counts_the_row(items: list[Report]) -> None:
    row = merged(items)
    parts: Any = sum(count(row.states[i : i + 2], row.times[:, i : i + 2]) for i in range(0, SIZE, 2))
    assert (parts == row.counts()).all()
