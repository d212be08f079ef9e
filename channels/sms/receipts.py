"""Delivery receipts: what a deliver_sm says of a message sent before, and how its id is written.

SMPP 3.4 carries a receipt in optional parameters (receipted_message_id, message_state, §4.6.1), in a text of
the SMSC's own form (appendix B, `id:… stat:…`), or in both; the parameters go before the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker.ledger.state import Reason
from channels.sms.bulk import Layout, Numbers, Rows, Run, as_strings, leading
from channels.sms.pdu import HEADER_LENGTH, MalformedPdu, MessageState, ShortMessage, Status, Tag
from channels.sms.text import UCS2

UNREADABLE: Final = 0
"""Stands for a state that is missing or unknown to the specification."""

FAILURES: Final = {
    MessageState.EXPIRED: Reason.FAR_END_EXPIRED,
    MessageState.DELETED: Reason.UNDELIVERABLE,
    MessageState.UNDELIV: Reason.UNDELIVERABLE,
    MessageState.REJECTD: Reason.REJECTED,
}
"""Final states that mean no arrival. ENROUTE, ACCEPTD and UNKNOWN are not final and prove nothing."""

_ID: Final = re.compile(rb"(?:^|\s)id:\s*(\S+)", re.IGNORECASE)
_STATE: Final = re.compile(rb"(?:^|\s)stat:\s*(\w+)", re.IGNORECASE)
_SPACE: Final = 0x20
_STATES: Final = {state.name.encode(): int(state) for state in MessageState}


class IdForm(StrEnum):
    """How an SMSC writes message ids; some answer in hexadecimal and receipt in decimal."""

    TEXT = "text"
    HEXADECIMAL = "hexadecimal"
    DECIMAL = "decimal"


def normalise(message_id: bytes, form: IdForm = IdForm.TEXT) -> bytes:
    """One spelling for each id: no spaces, no leading zeros, lower case; numbers become decimal.

    An id that is not a number of the form given is taken as text, so that it still equals itself.
    """
    plain = message_id.strip(b"\0 \r\n\t").lower()
    if form is not IdForm.TEXT:
        try:
            return b"%d" % int(plain, 16 if form is IdForm.HEXADECIMAL else 10)
        except ValueError:
            pass
    return plain.lstrip(b"0") or plain[-1:]


@dataclass(frozen=True, slots=True)
class ReceiptRun:
    """Some deliver_sm: sequence number, id as the SMSC wrote it, and MessageState (or UNREADABLE) of each.

    `receipt` tells which are receipts at all; of the others only the sequence number counts. `status` is the
    command_status to answer with: ROK unless the PDU could not be read.
    """

    sequences: Numbers
    ids: list[bytes]
    states: NDArray[np.uint8]
    receipt: NDArray[np.bool_]
    status: Status = Status.ROK


def read_receipts(run: Run) -> Iterator[ReceiptRun]:
    """Read a run of deliver_sm, as many at once as are laid out alike."""
    rows, sequences = run.rows, run.sequences
    while len(rows):
        columns = _Columns.of(rows[0].tobytes()) if len(rows) > 1 else None
        count = leading(columns.fits(rows)) if columns is not None else 0
        if columns is not None and count > 1:
            ids = as_strings(rows[:count, columns.message_id]).tolist()
            yield ReceiptRun(sequences[:count], ids, columns.states(rows[:count]), np.ones(count, np.bool_))
        else:
            count = 1
            yield _read_one(int(sequences[0]), rows[0].tobytes())
        rows, sequences = rows[count:], sequences[count:]


def _read_one(sequence: int, pdu: bytes) -> ReceiptRun:
    one = np.array([sequence], np.int64)
    try:
        message = ShortMessage.decode(pdu[HEADER_LENGTH:])
    except MalformedPdu:
        none = np.zeros(1, np.uint8)
        return ReceiptRun(one, [b""], none, none.astype(np.bool_), Status.RX_P_APPN)
    text = message.payload
    if message.data_coding == UCS2:
        text = text.decode("utf-16-be", "replace").encode("ascii", "replace")
    message_id = message.tlvs.get(Tag.RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0")
    if not message_id and (found := _ID.search(text)):
        message_id = found[1]
    state = UNREADABLE
    if given := message.tlvs.get(Tag.MESSAGE_STATE):
        state = given[0]
    elif found := _STATE.search(text):
        state = _STATES.get(found[1].upper(), UNREADABLE)
    return ReceiptRun(one, [message_id], np.array([state], np.uint8), np.array([message.is_receipt], np.bool_))


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where id and state lie in one receipt and in all others of its layout."""

    layout: Layout
    message_id: slice
    state: slice
    state_in_text: bool
    marks: NDArray[np.intp]
    words: NDArray[np.intp]

    @classmethod
    def of(cls, pdu: bytes) -> _Columns | None:
        """None if this is no receipt, or one that must be read by itself."""
        try:
            layout = Layout.of(pdu)
            message = ShortMessage.decode(pdu[HEADER_LENGTH:])
        except MalformedPdu:
            return None
        if not message.is_receipt or message.data_coding == UCS2 or not message.short_message:
            return None
        marks: list[int] = []
        words: list[int] = []

        def in_text(pattern: re.Pattern[bytes]) -> slice | None:
            found = pattern.search(pdu, layout.message.start, layout.message.stop)
            if found is None:
                return None
            start, end = found.span(1)
            marks.extend(range(found.start(), start))
            words.extend(range(start, end))
            if end < layout.message.stop:
                marks.append(end)
            return slice(start, end)

        message_id = layout.tlvs.get(Tag.RECEIPTED_MESSAGE_ID) or in_text(_ID)
        state = layout.tlvs.get(Tag.MESSAGE_STATE)
        state_in_text = state is None
        if state is None:
            state = in_text(_STATE)
        if message_id is None or state is None or message_id.stop == message_id.start or state.stop == state.start:
            return None
        return cls(layout, message_id, state, state_in_text, np.array(marks, np.intp), np.array(words, np.intp))

    def fits(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows can be read by these columns."""
        fitting: NDArray[np.bool_] = (
            self.layout.fits(rows)
            & (rows[:, self.marks] == rows[0, self.marks]).all(axis=1)
            & (rows[:, self.words] > _SPACE).all(axis=1)
        )
        return fitting

    def states(self, rows: Rows) -> NDArray[np.uint8]:
        """MessageState of each."""
        if not self.state_in_text:
            return rows[:, self.state.start].copy()
        words, which = np.unique(as_strings(rows[:, self.state]), return_inverse=True)
        known = np.array([_STATES.get(word.upper(), UNREADABLE) for word in words.tolist()], np.uint8)
        states: NDArray[np.uint8] = known[which]
        return states
