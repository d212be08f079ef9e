"""Batches and receipts on the wire: the same on both sides, and nothing else is believed."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.ledger.arrays import Receipts
from broker.ledger.state import MAX_ATTEMPT
from broker.store.records import BatchRecord, Work
from broker.transport.contract import Message
from broker.transport.settling import check_message
from broker.transport.wire import (
    BatchMessage,
    WireError,
    decode_batch,
    decode_receipts,
    encode_batch,
    encode_receipts,
)
from broker.types import CHANNELS, ChannelName, Lane

big = st.integers(0, 2**62 - 1)


@st.composite
def batches(draw: st.DrawFn) -> BatchRecord:
    ids = draw(st.sets(st.integers(0, 2**32 - 1), min_size=1, max_size=60))
    return BatchRecord(
        id=draw(big),
        alert=draw(st.text(min_size=1, max_size=30)),
        segment=draw(st.integers(0, 3)),
        channel=draw(st.sampled_from(CHANNELS)),
        lane=draw(st.sampled_from(Lane)),
        rendition=draw(big),
        district=draw(st.integers(0, 999_999)),
        round=draw(st.integers(0, 9)),
        expires=draw(big),
        recipients=np.array(sorted(ids), np.uint32),
        addresses=draw(st.binary(max_size=200)),
    )


@st.composite
def works(draw: st.DrawFn) -> tuple[BatchRecord, Work]:
    batch = draw(batches())
    some = draw(st.none() | st.sets(st.integers(0, len(batch) - 1), min_size=1))
    ordinals = None if some is None else np.array(sorted(some), np.uint16)
    attempt = draw(st.integers(1, MAX_ATTEMPT))
    return batch, Work(batch.id, attempt, batch.channel, batch.lane, draw(big), ordinals)


@st.composite
def receipts(draw: st.DrawFn) -> Receipts:
    n, base = draw(st.integers(0, 50)), draw(st.integers(0, 2**61))
    column = st.lists(st.integers(0, 2**16 - 1), min_size=n, max_size=n)
    offsets = draw(st.lists(st.integers(0, 2**32 - 1), min_size=n, max_size=n))
    return Receipts(
        draw(big),
        np.array(draw(column), np.uint16),
        np.array(draw(column), np.uint16),
        np.array(offsets, np.int64) + base,
    )


def same(one: Any, other: Any) -> bool:
    """Whether two records say the same, array by array."""
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        if isinstance(getattr(one, field.name), np.ndarray)
        else getattr(one, field.name) == getattr(other, field.name)
        for field in fields(one)
    )


@given(works())
def test_a_batch_comes_out_as_it_went_in(pair: tuple[BatchRecord, Work]) -> None:
    batch, work = pair
    message = encode_batch(batch, work)
    check_message(message)  # every transport can carry it
    found = decode_batch(message)
    assert same(found.batch, batch)
    assert (found.attempt, found.not_before) == (work.attempt, work.not_before)
    assert (found.ordinals is None) == (work.ordinals is None)
    if work.ordinals is not None and found.ordinals is not None:
        assert found.ordinals.tolist() == work.ordinals.tolist()


@given(receipts())
def test_receipts_come_out_as_they_went_in(sent: Receipts) -> None:
    message = encode_receipts(sent, unique="w1-7")
    check_message(message)
    assert same(decode_receipts(message), sent)


def test_the_id_of_a_batch_is_stable_and_tells_attempts_apart() -> None:
    batch, work = a_batch()
    assert encode_batch(batch, work).id == encode_batch(batch, replace(work, not_before=99)).id
    assert encode_batch(batch, work).id != encode_batch(batch, replace(work, attempt=3)).id


def test_times_that_lie_too_far_apart_are_refused_not_shortened() -> None:
    at = np.array([0, 2**32], np.int64)
    apart = Receipts(1, np.zeros(2, np.uint16), np.zeros(2, np.uint16), at)
    with pytest.raises(ValueError, match="49 days"):
        encode_receipts(apart, unique="x")


# ── garbage ───────────────────────────────────────────────────────────────────────────────────────────


def a_batch() -> tuple[BatchRecord, Work]:
    batch = BatchRecord(
        7, "A1", 0, ChannelName.SMS, Lane.URGENT, 3, 500117, 1, 10**12, np.arange(4, dtype=np.uint32), b"sealed"
    )
    return batch, Work(7, 2, batch.channel, batch.lane, 10**12, np.array([1, 3], np.uint16))


def garble(message: Message, **headers: Any) -> Message:
    return Message({**message.headers, **headers}, message.body, message.id)


anything = st.one_of(
    st.text(max_size=20),
    st.integers(-(2**80), 2**80),
    st.binary(max_size=20),
    st.none(),
    st.booleans(),
    st.floats(),
    st.lists(st.integers(), max_size=2),
    st.just("9" * 5000),
)
names = st.sampled_from(sorted(encode_batch(*a_batch()).headers))


def judged(decode: Any, message: Message) -> BatchMessage | Receipts | None:
    """What a decoder makes of a message; anything but WireError comes through."""
    try:
        found: BatchMessage | Receipts = decode(message)
    except WireError:
        return None
    return found


@given(st.dictionaries(names, anything, max_size=4), st.binary(max_size=64), st.booleans())
def test_a_garbled_batch_is_refused_or_fits_together(headers: dict[str, Any], body: bytes, keep: bool) -> None:
    whole = encode_batch(*a_batch())
    message = garble(whole, **headers) if keep else garble(Message(whole.headers, body, "x"), **headers)
    found = judged(decode_batch, message)
    if isinstance(found, BatchMessage):
        size = len(found.batch)
        assert 0 < size <= 65_536
        assert 1 <= found.attempt <= MAX_ATTEMPT
        if found.ordinals is not None:
            assert (found.ordinals < size).all()
            assert (np.diff(found.ordinals.astype(int)) > 0).all()


@given(st.dictionaries(st.sampled_from(["kind", "batch", "n", "base"]), anything, max_size=3), st.binary())
def test_garbled_receipts_are_refused_or_fit_together(headers: dict[str, Any], body: bytes) -> None:
    plain = Receipts(3, np.array([1], np.uint16), np.array([2], np.uint16), np.array([10**12]))
    for message in (encode_receipts(plain, unique="u"), Message({}, body, "x")):
        found = judged(decode_receipts, garble(message, **headers))
        if isinstance(found, Receipts):
            assert len(found) * 8 == len(message.body)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"kind": "batch.2"}, "version 1"),
        ({"size": 0}, "cannot hold 0"),
        ({"size": 70_000}, "cannot hold 70000"),
        ({"size": "4"}, "'size'"),
        ({"batch": -1}, "'batch'"),
        ({"batch": 2**70}, "'batch'"),
        ({"attempt": 0}, "'attempt'"),
        ({"attempt": 16}, "no attempt 16"),
        ({"lane": "slow"}, "slow"),
        ({"channel": "pigeon"}, "pigeon"),
        ({"retry": 0}, "ordinals"),
    ],
)
def test_what_is_wrong_with_a_batch_is_said(headers: dict[str, Any], why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode_batch(garble(encode_batch(*a_batch()), **headers))


@pytest.mark.parametrize("header", ["size", "batch", "alert", "lane", "expires", "not_before"])
def test_a_batch_that_lacks_a_header_is_refused(header: str) -> None:
    whole = encode_batch(*a_batch())
    headers = {name: value for name, value in whole.headers.items() if name != header}
    with pytest.raises(WireError, match=header):
        decode_batch(Message(headers, whole.body, whole.id))


@pytest.mark.parametrize("ordinals", [[1, 4], [3, 1], [1, 1]])
def test_ordinals_that_are_not_of_the_batch_or_not_in_order_are_refused(ordinals: list[int]) -> None:
    batch, work = a_batch()
    with pytest.raises(WireError, match="ascending numbers below 4"):
        decode_batch(encode_batch(batch, replace(work, ordinals=np.array(ordinals, np.uint16))))


def test_neither_kind_is_taken_for_the_other() -> None:
    nobody = Receipts(1, *(np.zeros(0, t) for t in (np.uint16, np.uint16, np.int64)))  # type: ignore[arg-type]
    with pytest.raises(WireError):
        decode_batch(encode_receipts(nobody, unique="u"))
    with pytest.raises(WireError):
        decode_receipts(encode_batch(*a_batch()))
