"""SMPP PDUs by the thousand: written into one buffer and read from one, without a loop over messages.

All submits of a batch differ only in destination address and sequence number, and the answers to them only
in sequence number, status and message id. So PDUs of one length are rows of a matrix of octets, and a field
is a group of columns.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker.sealing import Addresses
from channels.sms.pdu import (
    HEADER_LENGTH,
    MAX_LENGTH,
    Command,
    MalformedPdu,
    ShortMessage,
    frame,
)

Rows = NDArray[np.uint8]
"""PDUs of one length, one a row."""
Numbers = NDArray[np.int64]

_U32: Final = struct.Struct("!I")
_SEQUENCE: Final = slice(12, 16)
_FIRST_LOOK: Final = 32


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive PDUs of one command and one length."""

    command: int
    rows: Rows

    def __len__(self) -> int:
        """How many PDUs."""
        return len(self.rows)

    @property
    def statuses(self) -> Numbers:
        """command_status of each."""
        return _u32(self.rows[:, 8:12])

    @property
    def sequences(self) -> Numbers:
        """sequence_number of each."""
        return _u32(self.rows[:, _SEQUENCE])

    def bodies(self) -> list[bytes]:
        """What follows the header, of each."""
        return [row[HEADER_LENGTH:].tobytes() for row in self.rows]

    def message_ids(self) -> NDArray[np.bytes_]:
        """message_id of each submit_sm_resp (§4.4.2), empty where the answer has no body.

        Raises MalformedPdu for an id that does not end.
        """
        body = self.rows[:, HEADER_LENGTH:]
        if not body.shape[1]:
            return np.zeros(len(self), "S1")
        ends = body == 0
        if not ends.any(axis=1).all():
            raise MalformedPdu("a message_id without an end")
        if ends[:, :-1].any():  # ids of unlike length among answers of one length: something follows the id
            body = np.where(np.cumsum(ends, axis=1) > 0, 0, body)
        return as_strings(body)


class Splitter:
    """Cuts a stream of octets into runs of PDUs; keeps what is not complete for the next call."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Run]:
        """Every complete run in `data` (with what was left of earlier data).

        Raises MalformedPdu where a command_length cannot be true; the stream is of no use after that.
        """
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at, size = 0, len(data)
        while size - at >= 4:
            (length,) = _U32.unpack_from(data, at)
            if not HEADER_LENGTH <= length <= MAX_LENGTH:
                raise MalformedPdu(f"command_length {length}")
            if size - at < length:
                break
            count = _alike(data, at, length)
            rows = np.frombuffer(data, np.uint8, count * length, at).reshape(count, length)
            (command,) = _U32.unpack_from(data, at + 4)
            at += count * length
            yield Run(command, rows)
        self._rest = data[at:]


def message_rows(command: Command, message: ShortMessage, addresses: Addresses) -> Rows:
    """One submit_sm for each of `addresses`, which must all have one length; sequence numbers are 0.

    `message` gives every other field; its own destination is not looked at.
    """
    width = addresses.dtype.itemsize
    head = message.encode_head()
    pattern = np.frombuffer(frame(command, 0, head + message.encode_tail(b"0" * width)), np.uint8)
    rows = np.tile(pattern, (len(addresses), 1))
    start = HEADER_LENGTH + len(head)
    rows[:, start : start + width] = np.ascontiguousarray(addresses).view(np.uint8).reshape(-1, width)
    return rows


def response_rows(
    command: Command,
    sequences: Numbers,
    status: int = 0,
    *,
    ids: NDArray[np.bytes_] | None = None,
    body: bytes = b"",
) -> Rows:
    """One answer for each sequence number; its body is its id (all of one length) and a NUL, else `body`."""
    if ids is not None:
        body = bytes(ids.dtype.itemsize + 1)
    rows = np.tile(np.frombuffer(frame(command, 0, body, status), np.uint8), (len(sequences), 1))
    if ids is not None:
        rows[:, HEADER_LENGTH:-1] = np.ascontiguousarray(ids).view(np.uint8).reshape(len(ids), -1)
    number(rows, sequences)
    return rows


def number(rows: Rows, sequences: Numbers) -> None:
    """Write the sequence numbers of `rows`."""
    rows[:, _SEQUENCE] = sequences.astype(">u4").view(np.uint8).reshape(-1, 4)


def as_strings(columns: Rows) -> NDArray[np.bytes_]:
    """Columns of octets as fixed-width strings, without the NULs at their ends."""
    return np.ascontiguousarray(columns).view(f"S{columns.shape[1]}").ravel()


def by_length(addresses: Addresses) -> Iterator[tuple[NDArray[np.intp], Addresses]]:
    """Addresses grouped by length: positions, and the addresses there in an array of just that width."""
    lengths = np.char.str_len(addresses)
    for length in np.unique(lengths):
        where = np.flatnonzero(lengths == length)
        yield where, addresses[where].astype(f"S{max(1, int(length))}")


def all_digits(addresses: Addresses) -> NDArray[np.bool_]:
    """Which addresses consist of one or more ASCII digits only."""
    width = addresses.dtype.itemsize
    octets = np.ascontiguousarray(addresses).view(np.uint8).reshape(len(addresses), width)
    inside = np.arange(width) < np.char.str_len(addresses)[:, None]
    digits = (octets >= ord("0")) & (octets <= ord("9"))
    return np.asarray((digits | ~inside).all(axis=1) & inside.any(axis=1), np.bool_)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the fields of one submit_sm or deliver_sm lie, header included, to read its like by column."""

    source: slice
    destination: slice
    esm_class: int
    data_coding: int
    message: slice
    tlvs: dict[int, slice]
    marks: NDArray[np.intp]
    """Columns that hold the structure: ends of strings, lengths, tags, and what decides how the rest is read."""
    inner: NDArray[np.intp]
    """Columns inside C-octet strings, where no NUL may be."""

    @classmethod
    def of(cls, pdu: bytes) -> Layout:
        """Raises MalformedPdu."""
        at = HEADER_LENGTH
        marks: list[int] = []
        inner: list[int] = []

        def string(limit: int) -> slice:
            nonlocal at
            end = pdu.find(b"\0", at, at + limit)
            if end < 0:
                raise MalformedPdu(f"no end of the string at {at} within {limit} octets")
            found = slice(at, end)
            inner.extend(range(at, end))
            marks.append(end)
            at = end + 1
            return found

        def skip(size: int) -> int:
            nonlocal at
            start, at = at, at + size
            if at > len(pdu):
                raise MalformedPdu(f"{size} octets wanted at {start}, the PDU has {len(pdu)}")
            return start

        string(6)
        skip(2)
        source = string(21)
        skip(2)
        destination = string(21)
        esm_class = skip(3)
        string(17)
        string(17)
        data_coding = skip(4) + 2
        length = skip(1)
        marks += [esm_class, data_coding, length]
        message = slice(at, at + pdu[length])
        skip(pdu[length])
        tlvs: dict[int, slice] = {}
        while at < len(pdu):
            start = skip(4)
            marks.extend(range(start, start + 4))
            tag, size = struct.unpack_from("!HH", pdu, start)
            skip(size)
            tlvs[tag] = slice(start + 4, at)
        return cls(
            source,
            destination,
            esm_class,
            data_coding,
            message,
            tlvs,
            np.array(marks, np.intp),
            np.array(inner, np.intp),
        )

    def fits(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows are laid out exactly as the first, whose layout this is."""
        same = (rows[:, self.marks] == rows[0, self.marks]).all(axis=1)
        fitting: NDArray[np.bool_] = same & (rows[:, self.inner] != 0).all(axis=1)
        return fitting


def leading(true: NDArray[np.bool_]) -> int:
    """How many of the first are true, without a gap."""
    return len(true) if true.all() else int(np.argmin(true))


def _alike(data: bytes, at: int, length: int) -> int:
    """How many complete PDUs from `at` on have the length and command of the first."""
    possible = (len(data) - at) // length
    head = data[at : at + 8]
    if possible < 2 or data[at + length : at + length + 8] != head:
        return 1
    wanted = np.frombuffer(head, np.uint8)
    known = 2
    look = _FIRST_LOOK
    while known < possible:
        more = min(possible - known, look)
        rows = np.frombuffer(data, np.uint8, more * length, at + known * length).reshape(more, length)
        same = leading((rows[:, :8] == wanted).all(axis=1))
        known += same
        if same < more:
            break
        look *= 8
    return known


def _u32(columns: Rows) -> Numbers:
    return np.ascontiguousarray(columns).view(">u4").ravel().astype(np.int64)
