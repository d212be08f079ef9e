"""Receipts become evidence, whenever and however often they come."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.ledger.arrays import Receipts
from broker.ledger.state import DELIVERED, Rank, Reason, word
from channels.sms import metrics
from channels.sms.pdu import MessageState
from channels.sms.receipts import IdForm, ReceiptRun
from channels.sms.tracker import Tracker


class _Answers:
    def __init__(self) -> None:
        self.given: list[int] = []

    def __call__(self, sequences: np.ndarray) -> None:
        self.given += sequences.tolist()


def _run(
    *ids: bytes, state: MessageState = MessageState.DELIVRD, first: int = 1, receipt: bool = True
) -> ReceiptRun:
    n = len(ids)
    return ReceiptRun(
        np.arange(first, first + n), list(ids), np.full(n, state, np.uint8), np.full(n, receipt, np.bool_)
    )


def _register(tracker: Tracker, ids: list[bytes], *, batch: int = 1, attempt: int = 1, total: int = 1) -> None:
    """Ids of consecutive ordinals, all parts of each in turn."""
    n = len(ids)
    tracker.register(
        batch, attempt, total, np.arange(n) % total + 1, (np.arange(n) // total).astype(np.uint16), ids
    )


def _told(groups: list[Receipts]) -> set[tuple[int, int, int]]:
    return {
        (group.batch, ordinal, state)
        for group in groups
        for ordinal, state in zip(group.ordinals.tolist(), group.states.tolist(), strict=True)
    }


def _value(counter: object) -> float:
    return counter._value.get()  # type: ignore[attr-defined]


def test_a_receipt_proves_delivery_and_is_answered_after_it_was_handed_on() -> None:
    tracker, answers = Tracker(), _Answers()
    _register(tracker, [b"a1", b"a2", b"a3"])
    tracker.receive(_run(b"00A2", b"A3"), answers)
    assert answers.given == []
    groups, handed_on = tracker.take()
    assert _told(groups) == {(1, 1, DELIVERED), (1, 2, DELIVERED)}
    handed_on()
    assert answers.given == [1, 2]


def test_an_early_receipt_waits_for_its_message_and_keeps_its_time() -> None:
    tracker, answers = Tracker(), _Answers()
    tracker.receive(_run(b"7"), answers)
    assert answers.given == [1]
    assert tracker.held == 1
    assert tracker.take()[0] == []
    _register(tracker, [b"007"])
    assert tracker.held == 0
    assert _told(tracker.take()[0]) == {(1, 0, DELIVERED)}


def test_a_receipt_nobody_knows_is_answered_and_counted_once_its_time_is_over() -> None:
    tracker, answers = Tracker(early_seconds=0.0), _Answers()
    before = _value(metrics.UNKNOWN)
    tracker.receive(_run(b"nobody"), answers)
    tracker.tick()
    assert answers.given == [1]
    assert tracker.held == 0
    assert _value(metrics.UNKNOWN) == before + 1


def test_a_receipt_that_comes_twice_says_the_same_twice() -> None:
    tracker, answers = Tracker(), _Answers()
    _register(tracker, [b"1"])
    tracker.receive(_run(b"1"), answers)
    tracker.receive(_run(b"1", first=9), answers)
    groups, handed_on = tracker.take()
    handed_on()
    assert _told(groups) == {(1, 0, DELIVERED)}
    assert answers.given == [1, 9]


@given(st.permutations([b"p1", b"p2", b"p3", b"q1", b"q2", b"q3"]))
def test_a_message_in_parts_is_delivered_with_its_last_part_in_any_order(order: list[bytes]) -> None:
    tracker, answers = Tracker(), _Answers()
    _register(tracker, [b"p1", b"p2", b"p3", b"q1", b"q2", b"q3"], total=3)
    delivered: set[tuple[int, int, int]] = set()
    for n, own in enumerate(order):
        tracker.receive(_run(own, first=n), answers)
        groups, handed_on = tracker.take()
        handed_on()
        delivered |= _told(groups)
        seen = set(order[: n + 1])
        assert ((1, 0, DELIVERED) in delivered) == ({b"p1", b"p2", b"p3"} <= seen)
        assert ((1, 1, DELIVERED) in delivered) == ({b"q1", b"q2", b"q3"} <= seen)
        whole = [own for own in order[: n + 1] if {own[:1] + b"1", own[:1] + b"2", own[:1] + b"3"} <= seen]
        # Receipts of a message that is not whole stay unanswered, so that they come again after a crash.
        assert sorted(answers.given) == sorted(order.index(own) for own in whole)


def test_parts_of_two_attempts_make_one_message() -> None:
    tracker, answers = Tracker(), _Answers()
    tracker.register(1, 1, 2, np.array([1]), np.array([5], np.uint16), [b"a"])
    tracker.register(1, 2, 2, np.array([1, 2]), np.array([5, 5], np.uint16), [b"b", b"c"])
    tracker.receive(_run(b"a", b"c"), answers)
    assert _told(tracker.take()[0]) == {(1, 5, DELIVERED)}


def test_parts_that_stay_alone_are_answered_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, answers = Tracker(), _Answers()
    _register(tracker, [b"p1", b"p2"], total=2)
    tracker.receive(_run(b"p1"), answers)
    tracker.tick()
    assert answers.given == []
    later = time.monotonic() + 6
    monkeypatch.setattr(time, "monotonic", lambda: later)
    tracker.tick()
    assert answers.given == [1]
    tracker.receive(_run(b"p2", first=2), answers)
    assert _told(tracker.take()[0]) == {(1, 0, DELIVERED)}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (MessageState.UNDELIV, Reason.UNDELIVERABLE),
        (MessageState.DELETED, Reason.UNDELIVERABLE),
        (MessageState.EXPIRED, Reason.FAR_END_EXPIRED),
        (MessageState.REJECTD, Reason.REJECTED),
    ],
)
def test_a_failure_names_its_reason_and_the_attempt(state: MessageState, reason: Reason) -> None:
    tracker, answers = Tracker(), _Answers()
    _register(tracker, [b"x1", b"x2"], attempt=3, total=2)
    tracker.receive(_run(b"x2", state=state), answers)
    assert _told(tracker.take()[0]) == {(1, 0, word(Rank.FAILED, attempt=3, reason=reason))}


@pytest.mark.parametrize("state", [MessageState.ENROUTE, MessageState.ACCEPTD, MessageState.UNKNOWN])
def test_what_is_not_final_proves_nothing_and_is_answered(state: MessageState) -> None:
    tracker, answers = Tracker(), _Answers()
    _register(tracker, [b"1"])
    tracker.receive(_run(b"1", state=state), answers)
    assert answers.given == [1]
    assert tracker.take()[0] == []
    assert tracker.held == 0


def test_what_is_no_receipt_is_answered() -> None:
    tracker, answers = Tracker(), _Answers()
    _register(tracker, [b"1"])
    tracker.receive(_run(b"1", receipt=False), answers)
    assert answers.given == [1]
    assert tracker.take()[0] == []


def test_stored_ids_lead_a_later_process_to_the_same_parts_and_attempt() -> None:
    first, second, answers = Tracker(), Tracker(), _Answers()
    parts, ordinals = np.array([1, 2, 1, 2]), np.array([7, 7, 8, 8], np.uint16)
    keys = first.register(4, 2, 2, parts, ordinals, [b"00A", b"00B", b"00C", b"00D"])
    second.load(4, ordinals, first.store_form(2, 2, parts, keys))
    second.receive(_run(b"a", b"b", b"c"), answers)
    second.receive(_run(b"d", state=MessageState.UNDELIV, first=9), answers)
    failed = word(Rank.FAILED, attempt=2, reason=Reason.UNDELIVERABLE)
    assert _told(second.take()[0]) == {(4, 7, DELIVERED), (4, 8, failed)}


def test_ids_in_hexadecimal_and_decimal_meet() -> None:
    tracker, answers = Tracker(IdForm.HEXADECIMAL, IdForm.DECIMAL), _Answers()
    _register(tracker, [b"000000FF"])
    tracker.receive(_run(b"0000000255"), answers)
    assert _told(tracker.take()[0]) == {(1, 0, DELIVERED)}


def test_closed_batches_are_forgotten_and_open_ones_kept() -> None:
    tracker, answers = Tracker(), _Answers()
    _register(tracker, [b"1"], batch=1)
    _register(tracker, [b"2"], batch=2)
    tracker.forget_all_but([2], before=time.monotonic() + 1)
    tracker.receive(_run(b"1", b"2"), answers)
    assert _told(tracker.take()[0]) == {(2, 0, DELIVERED)}
    tracker.forget_all_but([], before=0.0)
    tracker.receive(_run(b"2"), answers)
    assert _told(tracker.take()[0]) == {(2, 0, DELIVERED)}
