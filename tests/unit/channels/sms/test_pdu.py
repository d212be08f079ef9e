"""PDUs come back as they went, one at a time and by the thousand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.ledger.state import Reason, is_transient
from channels.sms.bulk import (
    Layout,
    Run,
    Splitter,
    all_digits,
    as_strings,
    by_length,
    message_rows,
    number,
    response_rows,
)
from channels.sms.pdu import (
    HEADER_LENGTH,
    Bind,
    Command,
    MalformedPdu,
    MessageState,
    ShortMessage,
    Status,
    Tag,
    frame,
    reason_for,
    status_name,
)
from channels.sms.receipts import IdForm, normalise, read_receipts

_ASCII = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
_OCTET = st.integers(0, 255)
_MESSAGES = st.builds(
    ShortMessage,
    source=st.text(_ASCII, max_size=20),
    destination=st.text(_ASCII, max_size=20),
    short_message=st.binary(max_size=254),
    esm_class=_OCTET,
    data_coding=_OCTET,
    source_ton=_OCTET,
    source_npi=_OCTET,
    destination_ton=_OCTET,
    destination_npi=_OCTET,
    priority_flag=_OCTET,
    validity_period=st.sampled_from(["", "261123120000000+"]),
    registered_delivery=_OCTET,
    service_type=st.text(_ASCII, max_size=5),
    protocol_id=_OCTET,
    tlvs=st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=20), max_size=3),
)
_DIGITS = st.text("0123456789", min_size=1, max_size=20)


@given(_MESSAGES)
def test_a_short_message_round_trips(message: ShortMessage) -> None:
    assert ShortMessage.decode(message.encode()) == message


@given(_MESSAGES)
def test_layout_and_decoder_read_the_same_fields(message: ShortMessage) -> None:
    pdu = frame(Command.SUBMIT_SM, 1, message.encode())
    layout = Layout.of(pdu)
    assert pdu[layout.source].decode() == message.source
    assert pdu[layout.destination].decode() == message.destination
    assert pdu[layout.message] == message.short_message
    assert pdu[layout.esm_class] == message.esm_class
    assert pdu[layout.data_coding] == message.data_coding
    assert {tag: pdu[at] for tag, at in layout.tlvs.items()} == message.tlvs


@given(_MESSAGES, st.integers(0, 400))
def test_a_cut_short_message_is_refused(message: ShortMessage, cut: int) -> None:
    body = message.encode()
    if cut >= len(body):
        return
    try:
        found = ShortMessage.decode(body[:cut])
    except MalformedPdu:
        return
    # A body that ends between two optional parameters is a whole body with fewer of them.
    assert found.encode() == body[:cut]


@given(_MESSAGES, st.lists(_DIGITS, min_size=1, max_size=30), st.integers(1, 2**31 - 40))
def test_bulk_writes_what_one_at_a_time_writes(message: ShortMessage, digits: list[str], first: int) -> None:
    addresses = np.array([own.encode() for own in digits])
    written: dict[int, bytes] = {}
    for where, same in by_length(addresses):
        rows = message_rows(Command.SUBMIT_SM, message, same)
        number(rows, where + first)
        written.update(zip(where.tolist(), (row.tobytes() for row in rows), strict=True))
    for n, own in enumerate(digits):
        fields = {name: getattr(message, name) for name in ShortMessage.__slots__}
        expected = ShortMessage(**{**fields, "destination": own})
        assert written[n] == frame(Command.SUBMIT_SM, first + n, expected.encode())


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Command.SUBMIT_SM_RESP, Command.ENQUIRE_LINK, Command.DELIVER_SM]),
            st.integers(0, 2**31 - 1),
            st.sampled_from([b"", b"12\0", b"13\0", b"a longer one\0"]),
        ),
        max_size=60,
    ),
    st.integers(1, 50),
)
def test_a_stream_cut_anywhere_splits_into_the_same_pdus(pdus: list[tuple[Command, int, bytes]], step: int) -> None:
    stream = b"".join(frame(*pdu) for pdu in pdus)
    splitter = Splitter()
    found = []
    for at in range(0, len(stream), step):
        for run in splitter.feed(stream[at : at + step]):
            found += [(run.command, n, body) for n, body in zip(run.sequences.tolist(), run.bodies(), strict=True)]
    assert found == pdus
    whole = [len(run) for run in Splitter().feed(stream)]
    assert sum(whole) == len(pdus)


def test_alike_pdus_make_one_run_however_many() -> None:
    rows = response_rows(Command.SUBMIT_SM_RESP, np.arange(1, 5001), ids=np.full(5000, b"abcdef"))
    (run,) = Splitter().feed(rows.tobytes())
    assert run.sequences.tolist() == list(range(1, 5001))
    assert set(run.message_ids().tolist()) == {b"abcdef"}


@pytest.mark.parametrize("length", [0, 15, 64 * 1024 + 1, 0xFFFFFFFF])
def test_a_length_that_cannot_be_true_is_refused(length: int) -> None:
    with pytest.raises(MalformedPdu):
        list(Splitter().feed(length.to_bytes(4, "big") + bytes(12)))


def test_ids_end_at_their_first_nul() -> None:
    bodies = [b"12\0\0\0\0\0", b"1234\0\0\0", b"123456\0"]
    stream = b"".join(frame(Command.SUBMIT_SM_RESP, 1, body) for body in bodies)
    (run,) = Splitter().feed(stream)
    assert run.message_ids().tolist() == [b"12", b"1234", b"123456"]
    (endless,) = Splitter().feed(frame(Command.SUBMIT_SM_RESP, 1, b"12"))
    with pytest.raises(MalformedPdu):
        endless.message_ids()


def test_a_bind_round_trips_and_does_not_show_its_password() -> None:
    bind = Bind("fenghuo", "geheim12", "EWS")
    assert Bind.decode(bind.encode()) == bind
    assert "geheim12" not in repr(bind)
    with pytest.raises(ValueError) as error:
        Bind("fenghuo", "much-too-long").encode()
    assert "much-too-long" not in str(error.value)


def test_statuses_are_transient_or_permanent_as_the_specification_means_them() -> None:
    assert reason_for(Status.RTHROTTLED) is Reason.THROTTLED
    assert reason_for(Status.RMSGQFUL) is Reason.QUEUE_FULL
    assert reason_for(Status.RSYSERR) is Reason.FAR_END_ERROR
    assert reason_for(Status.RINVDSTADR) is Reason.INVALID_ADDRESS
    assert reason_for(Status.RINVSRCADR) is Reason.REJECTED
    assert is_transient(reason_for(0x455))
    assert all(reason_for(status) is not Reason.NONE for status in Status if status)
    assert status_name(0x58) == "ESME_RTHROTTLED"
    assert status_name(0x4FF) == "0x000004ff"


@given(st.lists(st.binary(min_size=0, max_size=8), min_size=1, max_size=30))
def test_digits_are_told_from_everything_else(values: list[bytes]) -> None:
    addresses = np.array(values, "S8")
    expected = [own.isdigit() for own in addresses.tolist()]
    assert all_digits(addresses).tolist() == expected


def _receipt(message_id: str, state: str, form: str) -> ShortMessage:
    text = f"id:{message_id} sub:001 dlvrd:001 submit date:2611231200 done date:2611231201 stat:{state} err:000"
    tlvs = {
        Tag.RECEIPTED_MESSAGE_ID: message_id.encode() + b"\0",
        Tag.MESSAGE_STATE: bytes([MessageState[state]]),
    }
    return ShortMessage(
        "8610001234567",
        "12379",
        b"" if form == "tlv" else text.encode(),
        esm_class=4,
        tlvs={} if form == "text" else tlvs,
    )


@given(
    st.lists(
        st.tuples(
            st.text("0123456789abcdefABCDEF-", min_size=1, max_size=9),
            st.sampled_from(["DELIVRD", "UNDELIV", "EXPIRED", "ENROUTE"]),
            st.sampled_from(["tlv", "text", "both"]),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_receipts_are_read_alike_in_every_form_and_in_bulk(wanted: list[tuple[str, str, str]]) -> None:
    stream = b"".join(frame(Command.DELIVER_SM, n, _receipt(*own).encode()) for n, own in enumerate(wanted))
    found = []
    for run in Splitter().feed(stream):
        for receipts in read_receipts(run):
            assert receipts.receipt.all()
            found += zip(receipts.sequences.tolist(), receipts.ids, receipts.states.tolist(), strict=True)
    assert found == [(n, own.encode(), MessageState[state]) for n, (own, state, _) in enumerate(wanted)]


def test_what_is_no_receipt_or_no_message_is_told_apart() -> None:
    reply = ShortMessage("8610001234567", "12379", b"id:1 stat:DELIVRD")
    (run,) = Splitter().feed(frame(Command.DELIVER_SM, 5, reply.encode()))
    (read,) = read_receipts(run)
    assert not read.receipt.any()
    assert read.status == Status.ROK
    (broken,) = Splitter().feed(frame(Command.DELIVER_SM, 6, reply.encode()[:-3]))
    (read,) = read_receipts(broken)
    assert not read.receipt.any()
    assert read.status == Status.RX_P_APPN


def test_one_broken_receipt_does_not_spoil_its_neighbours() -> None:
    good = frame(Command.DELIVER_SM, 1, _receipt("77", "DELIVRD", "both").encode())
    bad = bytearray(good)
    bad[HEADER_LENGTH:] = b"\xff" * (len(good) - HEADER_LENGTH)
    (run,) = Splitter().feed(good + bytes(bad) + good)
    assert isinstance(run, Run)
    read = list(read_receipts(run))
    assert [own.ids[0] for own in read] == [b"77", b"", b"77"]
    assert [int(own.status) for own in read] == [0, Status.RX_P_APPN, 0]


@pytest.mark.parametrize(
    ("left", "left_form", "right", "right_form"),
    [
        (b"0000abc1", IdForm.TEXT, b"ABC1", IdForm.TEXT),
        (b"1F", IdForm.HEXADECIMAL, b"0000000031", IdForm.DECIMAL),
        (b"0", IdForm.TEXT, b"000", IdForm.TEXT),
        (b"x-1", IdForm.DECIMAL, b"X-1", IdForm.HEXADECIMAL),
    ],
)
def test_an_id_is_one_however_it_is_written(
    left: bytes, left_form: IdForm, right: bytes, right_form: IdForm
) -> None:
    assert normalise(left, left_form) == normalise(right, right_form)


def test_columns_become_strings() -> None:
    assert as_strings(np.frombuffer(b"ab\0cde", np.uint8).reshape(2, 3)).tolist() == [b"ab", b"cde"]
