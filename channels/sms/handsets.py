"""What lies behind the simulated SMSC: handsets that join parts, verdicts, and receipts waiting to be told.

A message is `received` when all its parts are here, and `delivered` or `failed` when the ESME has answered the
receipts of all its parts. What is received and not yet told stands in the log, so a restarted SMSC tells it.
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from channels.simulating import EventLog
from channels.sms import text
from channels.sms.bulk import Layout, Rows, as_strings, number
from channels.sms.pdu import (
    HEADER_LENGTH,
    Command,
    EsmClass,
    MessageState,
    ShortMessage,
    Tag,
    frame,
)

ID_LENGTH: Final = 16
RECEIPT_FORMS: Final = ("both", "tlv", "text")
_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)
_INCOMPLETE_SECONDS: Final = 300.0
_TIME_LENGTH: Final = 16
_RECEIPT_ON_FAILURE_ONLY: Final = 2


@dataclass(eq=False, slots=True)
class LongMessage:
    """A message in parts on its way to one handset."""

    address: str
    total: int
    since: float
    parts: dict[int, bytes] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    untold: set[str] = field(default_factory=set)
    """Ids whose receipts the ESME has not answered."""
    text: str | None = None
    """The whole text once all parts are here."""


@dataclass(eq=False, slots=True)
class Block:
    """Receipts of one verdict for recipients whose addresses have one length."""

    addresses: list[str]
    ids: NDArray[np.bytes_]
    state: MessageState
    due: float
    sender: str
    text: str | None
    """The message; None for parts, which lead to theirs by id."""
    submitter: object | None
    """The session that sent it, which is told first of all."""

    def part(self, indexes: NDArray[np.intp] | slice) -> Block:
        """Some of these receipts."""
        picked = np.arange(len(self.addresses))[indexes]
        addresses = [self.addresses[n] for n in picked]
        return Block(addresses, self.ids[picked], self.state, self.due, self.sender, self.text, self.submitter)


class Handsets:
    """All handsets behind one SMSC, and the queue of receipts (in the order in which they are due)."""

    def __init__(
        self, log: EventLog, *, seed: int = 0, undeliverable: float = 0.0, receipt_delay: float = 0.0
    ) -> None:
        self._log = log
        self._seed = seed
        self._undeliverable = undeliverable
        self._delay = receipt_delay
        # Ids go on being unique after a restart without a log: tenths of a second make up their first half.
        self._epoch = time.time_ns() // 100_000_000 & 0xFFFF_FFFF
        self._count = 0
        self._long: dict[tuple[str, str, int, int], LongMessage] = {}
        self._long_by_id: dict[str, LongMessage] = {}
        self._told: set[int] = set()
        self.queue: deque[Block] = deque()

    def recover(self, events: Iterable[dict[str, object]]) -> int:
        """Take up where the process that wrote this log ended; returns how many messages are still to be told."""
        open_: dict[str, tuple[str, str]] = {}
        for event in events:
            address, message, ids = str(event["address"]), str(event["message"]), str(event.get("ids", ""))
            if event["event"] == "received":
                open_[ids] = address, message
                continue
            open_.pop(ids, None)
            if event["event"] in ("delivered", "failed"):
                self._told.add(hash((address, message)))
        alike: dict[tuple[str | None, int, MessageState], list[tuple[str, str]]] = {}
        for ids, (address, message) in open_.items():
            own = ids.split(",")
            if len(own) > 1:
                long = LongMessage(address, len(own), 0.0, ids=own, untold=set(own), text=message)
                self._long_by_id.update(dict.fromkeys(own, long))
            key = None if len(own) > 1 else message
            alike.setdefault((key, len(address), self._verdict(address)), []).extend((address, one) for one in own)
        for (whole, _, state), pairs in alike.items():
            addresses, ids_ = zip(*pairs, strict=True)
            packed = np.array([one.encode() for one in ids_], f"S{ID_LENGTH}")
            # The log does not keep who sent a message, and no client needs it to match a receipt.
            self.queue.append(Block(list(addresses), packed, state, 0.0, "", whole, None))
        return len(open_)

    def accept(self, message: ShortMessage, addresses: list[str], submitter: object) -> NDArray[np.bytes_]:
        """Take one message for many addresses of one length; returns the ids given.

        Raises ValueError if the user data cannot be read.
        """
        place, data = None, message.payload
        if message.esm_class & EsmClass.UDHI:
            place, data = text.split_header(data)
        whole = None if place is not None else text.decode(message.data_coding, data)
        ids = self._new_ids(len(addresses))
        names = [own.decode() for own in ids.tolist()]
        if place is None:
            assert whole is not None
            self._log.write_many(addresses, whole, "received", ids=names)
        else:
            for address, name in zip(addresses, names, strict=True):
                self._join(message, address, place, data, name)
        self._schedule(message, addresses, ids, whole, submitter)
        return ids

    def told(self, block: Block) -> None:
        """The ESME has answered these receipts."""
        names = [own.decode() for own in block.ids.tolist()]
        if block.text is None:
            for name in names:
                long = self._long_by_id.pop(name, None)
                if long is not None:
                    long.untold.discard(name)
                    self._note_if_told(long, block.state)
        else:
            self._note(block.addresses, block.text, block.state, names)

    def _schedule(
        self,
        message: ShortMessage,
        addresses: list[str],
        ids: NDArray[np.bytes_],
        whole: str | None,
        submitter: object,
    ) -> None:
        now = time.monotonic()
        states = [self._verdict(address) for address in addresses] if self._undeliverable else None
        # What cannot be delivered within its validity is never delivered (SMPP 3.4 §5.2.16).
        late = _left(message.validity_period) < self._delay
        for state in (MessageState.DELIVRD, MessageState.UNDELIV):
            every = Block(addresses, ids, state, now + self._delay, message.source, whole, submitter)
            if states is None:
                block = every if state is MessageState.DELIVRD else every.part(slice(0, 0))
            else:
                block = every.part(np.flatnonzero(np.array([own is state for own in states])))
            if not block.addresses:
                continue
            if late and state is MessageState.DELIVRD:
                block.state = MessageState.EXPIRED
            wanted = message.registered_delivery & 0x03
            if not wanted or (wanted == _RECEIPT_ON_FAILURE_ONLY and block.state is MessageState.DELIVRD):
                self.told(block)
            else:
                self.queue.append(block)

    def _join(
        self, message: ShortMessage, address: str, place: tuple[int, int, int], data: bytes, name: str
    ) -> None:
        reference, total, part = place
        now = time.monotonic()
        key = message.source, address, reference, total
        long = self._long.get(key)
        if long is None or now - long.since > _INCOMPLETE_SECONDS:
            long = self._long[key] = LongMessage(address, total, now)
        long.parts[part] = data
        long.ids.append(name)
        long.untold.add(name)
        self._long_by_id[name] = long
        if len(long.parts) == total:
            del self._long[key]
            joined = b"".join(long.parts[n] for n in range(1, total + 1))
            long.text = text.decode(message.data_coding, joined)
            self._log.write(address, long.text, "received", ids=",".join(long.ids))

    def _note_if_told(self, long: LongMessage, state: MessageState) -> None:
        if long.text is not None and not long.untold:
            self._note([long.address], long.text, state, [",".join(long.ids)])

    def _note(self, addresses: list[str], message: str, state: MessageState, ids: list[str]) -> None:
        event = "delivered" if state is MessageState.DELIVRD else "failed"
        reason = None if state is MessageState.DELIVRD else state.name
        fresh: list[tuple[str, str]] = []
        again: list[tuple[str, str]] = []
        for address, own in zip(addresses, ids, strict=True):
            key = hash((address, message))
            (again if key in self._told else fresh).append((address, own))
            self._told.add(key)
        for pairs, what in ((fresh, event), (again, "duplicate")):
            if pairs:
                self._log.write_many([a for a, _ in pairs], message, what, reason, ids=[own for _, own in pairs])

    def _verdict(self, address: str) -> MessageState:
        """The same for an address whenever it is asked, whatever is sent there."""
        lot = zlib.crc32(f"{self._seed}/{address}".encode()) / 2**32
        return MessageState.UNDELIV if lot < self._undeliverable else MessageState.DELIVRD

    def _new_ids(self, count: int) -> NDArray[np.bytes_]:
        numbers = np.arange(self._count, self._count + count, dtype=np.int64) | self._epoch << 32
        self._count += count
        shifts = np.arange(4 * (ID_LENGTH - 1), -1, -4)
        return as_strings(_HEX[numbers[:, None] >> shifts & 0xF])


def _left(validity: str) -> float:
    """Seconds until an absolute time of SMPP 3.4 §7.1.1 in UTC, as our own client writes it; endless for others."""
    if len(validity) != _TIME_LENGTH or not validity.endswith("00+") or not validity[:13].isdigit():
        return float("inf")
    try:
        end = datetime.strptime(validity[:12], "%y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return float("inf")
    return end.timestamp() + int(validity[12]) / 10 - time.time()


def receipt_rows(block: Block, first_sequence: int, form: str, done: str) -> Rows:
    """One deliver_sm for each receipt of `block`; `done` is its date, YYMMDDhhmm (appendix B)."""
    count, width = len(block.addresses), len(block.addresses[0])
    placeholder = b"0" * ID_LENGTH
    arrived = block.state is MessageState.DELIVRD
    words = f" sub:001 dlvrd:{arrived:03d} submit date:{done} done date:{done} stat:{block.state.name} "
    body = b"id:" + placeholder + words.encode() + (b"err:000 text:" if arrived else b"err:001 text:")
    tlvs: dict[int, bytes] = {
        Tag.RECEIPTED_MESSAGE_ID: placeholder + b"\0",
        Tag.MESSAGE_STATE: bytes([block.state]),
    }
    pattern = ShortMessage(
        source="0" * width,
        source_ton=1,
        source_npi=1,
        destination=block.sender,
        esm_class=EsmClass.DELIVERY_RECEIPT,
        short_message=b"" if form == "tlv" else body,
        tlvs={} if form == "text" else tlvs,
    )
    octets = frame(Command.DELIVER_SM, 0, pattern.encode())
    layout = Layout.of(octets)
    rows = np.tile(np.frombuffer(octets, np.uint8), (count, 1))
    addresses = np.array([own.encode() for own in block.addresses], f"S{width}")
    rows[:, layout.source] = addresses.view(np.uint8).reshape(count, width)
    ids = np.ascontiguousarray(block.ids).view(np.uint8).reshape(count, ID_LENGTH)
    if form != "tlv":
        start = layout.message.start + len(b"id:")
        rows[:, start : start + ID_LENGTH] = ids
    if form != "text":
        start = layout.tlvs[Tag.RECEIPTED_MESSAGE_ID].start
        rows[:, start : start + ID_LENGTH] = ids
    number(rows, np.arange(first_sequence, first_sequence + count, dtype=np.int64))
    assert rows.shape[1] >= HEADER_LENGTH
    return rows
