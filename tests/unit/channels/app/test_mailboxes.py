from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.mailbox.boxes import Mailboxes, Words

WORDS = Words("urn:1", b'"x":1}', (False, 0))
PUTS = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abcd")), max_size=6, unique_by=lambda x: x[0]),
    ),
    max_size=12,
)


def test_a_message_lies_in_the_box_of_its_device_only() -> None:
    boxes = Mailboxes()
    boxes.put(7, 1_000, WORDS, [0, 1], ["a", "b"])
    assert [entry.identifier for entry in boxes.entries("b", 0)] == ["7:1"]
    assert boxes.entries("c", 0) == []
    assert boxes.entries("a", 0)[0].message() == b'{"id":"7:0","x":1}'


def test_windows_of_one_batch_fill_it_in_any_order_and_a_window_sent_again_gives_nothing_new() -> None:
    boxes = Mailboxes()
    _, late = boxes.put(7, 1_000, WORDS, [4, 5], ["e", "f"])
    _, early = boxes.put(7, 1_000, WORDS, [0, 1], ["a", "b"])
    _, again = boxes.put(7, 1_000, WORDS, [0, 1, 4], ["a", "b", "e"])
    assert (late, early, again) == ([("e", 4), ("f", 5)], [("a", 0), ("b", 1)], [])
    held = boxes.held(7)
    assert held is not None
    assert held.devices == ["a", "b", None, None, "e", "f"]


def test_an_expired_message_is_neither_given_nor_kept() -> None:
    boxes = Mailboxes()
    boxes.put(7, 1_000, WORDS, [0], ["a"])
    boxes.put(8, 2_000, WORDS, [0], ["a"])
    assert [entry.identifier for entry in boxes.entries("a", 1_000)] == ["8:0"]
    assert boxes.lapse(1_000) == {"a"}
    assert boxes.held(7) is None
    assert boxes.lapse(2_000) == {"a"}
    assert len(boxes) == 0


def test_withdrawing_an_alert_takes_its_batches_and_no_other() -> None:
    boxes = Mailboxes()
    boxes.put(7, 1_000, WORDS, [0, 1], ["a", "b"])
    boxes.put(8, 1_000, Words("urn:2", b"}", (False, 0)), [0], ["a"])
    assert boxes.withdraw("urn:1") == {"a", "b"}
    assert [entry.identifier for entry in boxes.entries("a", 0)] == ["8:0"]
    assert [held.batch for held in boxes.batches()] == [8]
    assert boxes.withdraw("urn:1") == set(), "told once"
    assert boxes.withdraw("urn:9") == set()


def test_what_was_withdrawn_is_known_as_such_until_it_expires() -> None:
    boxes = Mailboxes()
    boxes.put(7, 1_000, WORDS, [0, 1], ["a", "b"])
    boxes.withdraw("urn:1")
    assert [entry.identifier for entry in boxes.withdrawn("a", 999)] == ["7:0"]
    assert boxes.withdrawn("a", 1_000) == boxes.withdrawn("c", 0) == []
    held = boxes.held(7)
    assert held is not None
    assert held.withdrawn
    assert boxes.lapse(1_000) == {"a", "b"}
    assert len(boxes) == 0


def test_what_is_put_after_its_alert_was_withdrawn_is_given_to_nobody() -> None:
    boxes = Mailboxes()
    assert boxes.withdraw("urn:1") == set()
    boxes.put(7, 1_000, WORDS, [0], ["a"])
    assert boxes.entries("a", 0) == []
    assert [entry.identifier for entry in boxes.withdrawn("a", 0)] == ["7:0"]
    assert boxes.is_over("urn:1")
    assert not boxes.is_over("urn:2")


def test_what_another_message_of_the_box_replaces_is_not_in_force_for_that_device_only() -> None:
    boxes = Mailboxes()
    boxes.put(7, 1_000, WORDS, [0, 1], ["a", "b"])
    boxes.put(9, 500, Words("urn:2", b"}", (False, 0), frozenset({"urn:1"})), [0], ["a"])
    assert [entry.identifier for entry in boxes.entries("a", 0)] == ["9:0"]
    assert [entry.identifier for entry in boxes.entries("b", 0)] == ["7:1"]
    # One that replaces and is taken back itself replaces no more: the store says what is over.
    boxes.withdraw("urn:2")
    assert [entry.identifier for entry in boxes.entries("a", 0)] == ["7:0"]


@given(PUTS)
def test_whatever_is_put_is_found_once_and_all_of_it_lapses(puts: list[tuple[int, list[tuple[int, str]]]]) -> None:
    boxes = Mailboxes()
    expected: dict[tuple[int, int], str] = {}
    for batch, pairs in puts:
        boxes.put(batch, 10 * batch, WORDS, [ordinal for ordinal, _ in pairs], [device for _, device in pairs])
        for ordinal, device in pairs:
            expected.setdefault((batch, ordinal), device)
    found = {(entry.held.batch, entry.ordinal): device for device in "abcd" for entry in boxes.entries(device, 0)}
    assert found == expected
    for now in (30, 60):
        boxes.lapse(now)
        left = {
            key
            for device in "abcd"
            for entry in boxes.entries(device, 0)
            for key in [(entry.held.batch, entry.ordinal)]
        }
        assert left == {key for key in expected if 10 * key[0] > now}


def test_an_ordinal_without_a_device_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        Mailboxes().put(1, 1_000, WORDS, [0, 1], ["a"])
