"""SMPP 3.4 protocol data units, one at a time. What is sent and received by the thousand is in `bulk`.

Section numbers are those of "Short Message Peer to Peer Protocol Specification v3.4, issue 1.2".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final

from broker.ledger.state import Reason

HEADER: Final = struct.Struct("!IIII")
"""command_length, command_id, command_status, sequence_number (§3.2)."""
HEADER_LENGTH: Final = 16
MAX_LENGTH: Final = 64 * 1024
"""Longest PDU accepted, in octets; anything that claims more is a broken or hostile stream."""
MAX_SEQUENCE: Final = 0x7FFFFFFF
RESPONSE: Final = 0x80000000
INTERFACE_VERSION: Final = 0x34


class Command(IntEnum):
    """command_id (§5.1.2.1)."""

    GENERIC_NACK = 0x80000000
    BIND_RECEIVER = 0x00000001
    BIND_RECEIVER_RESP = 0x80000001
    BIND_TRANSMITTER = 0x00000002
    BIND_TRANSMITTER_RESP = 0x80000002
    SUBMIT_SM = 0x00000004
    SUBMIT_SM_RESP = 0x80000004
    DELIVER_SM = 0x00000005
    DELIVER_SM_RESP = 0x80000005
    UNBIND = 0x00000006
    UNBIND_RESP = 0x80000006
    BIND_TRANSCEIVER = 0x00000009
    BIND_TRANSCEIVER_RESP = 0x80000009
    ENQUIRE_LINK = 0x00000015
    ENQUIRE_LINK_RESP = 0x80000015


BINDS: Final = frozenset({Command.BIND_RECEIVER, Command.BIND_TRANSMITTER, Command.BIND_TRANSCEIVER})


class Status(IntEnum):
    """command_status (§5.1.3)."""

    ROK = 0x000
    RINVMSGLEN = 0x001
    RINVCMDLEN = 0x002
    RINVCMDID = 0x003
    RINVBNDSTS = 0x004
    RALYBND = 0x005
    RINVPRTFLG = 0x006
    RINVREGDLVFLG = 0x007
    RSYSERR = 0x008
    RINVSRCADR = 0x00A
    RINVDSTADR = 0x00B
    RINVMSGID = 0x00C
    RBINDFAIL = 0x00D
    RINVPASWD = 0x00E
    RINVSYSID = 0x00F
    RCANCELFAIL = 0x011
    RREPLACEFAIL = 0x013
    RMSGQFUL = 0x014
    RINVSERTYP = 0x015
    RINVNUMDESTS = 0x033
    RINVDLNAME = 0x034
    RINVDESTFLAG = 0x040
    RINVSUBREP = 0x042
    RINVESMCLASS = 0x043
    RCNTSUBDL = 0x044
    RSUBMITFAIL = 0x045
    RINVSRCTON = 0x048
    RINVSRCNPI = 0x049
    RINVDSTTON = 0x050
    RINVDSTNPI = 0x051
    RINVSYSTYP = 0x053
    RINVREPFLAG = 0x054
    RINVNUMMSGS = 0x055
    RTHROTTLED = 0x058
    RINVSCHED = 0x061
    RINVEXPIRY = 0x062
    RINVDFTMSGID = 0x063
    RX_T_APPN = 0x064
    RX_P_APPN = 0x065
    RX_R_APPN = 0x066
    RQUERYFAIL = 0x067
    RINVOPTPARSTREAM = 0x0C0
    ROPTPARNOTALLWD = 0x0C1
    RINVPARLEN = 0x0C2
    RMISSINGOPTPARAM = 0x0C3
    RINVOPTPARAMVAL = 0x0C4
    RDELIVERYFAILURE = 0x0FE
    RUNKNOWNERR = 0x0FF


_REASONS: Final[Mapping[int, Reason]] = {
    Status.RTHROTTLED: Reason.THROTTLED,
    Status.RMSGQFUL: Reason.QUEUE_FULL,
    Status.RSYSERR: Reason.FAR_END_ERROR,
    Status.RSUBMITFAIL: Reason.FAR_END_ERROR,
    Status.RX_T_APPN: Reason.FAR_END_ERROR,
    Status.RUNKNOWNERR: Reason.FAR_END_ERROR,
    # The bind was lost at the far end only: this message was not taken, the next bind may take it.
    Status.RINVBNDSTS: Reason.FAR_END_ERROR,
    Status.RINVDSTADR: Reason.INVALID_ADDRESS,
    Status.RINVDSTTON: Reason.INVALID_ADDRESS,
    Status.RINVDSTNPI: Reason.INVALID_ADDRESS,
    Status.RDELIVERYFAILURE: Reason.UNDELIVERABLE,
}
_FIRST_VENDOR: Final = 0x400
_LAST_VENDOR: Final = 0x4FF


def reason_for(status: int) -> Reason:
    """What a command_status other than ROK means to the ledger.

    Vendors' own codes (0x400 to 0x4FF) count as transient, since nobody here can tell; every other code is a
    verdict on the message itself and permanent.
    """
    if _FIRST_VENDOR <= status <= _LAST_VENDOR:
        return Reason.FAR_END_ERROR
    return _REASONS.get(status, Reason.REJECTED)


def status_name(status: int) -> str:
    """The specification's name of a command_status, e.g. ESME_RTHROTTLED, or its number."""
    try:
        return f"ESME_{Status(status).name}"
    except ValueError:
        return f"{status:#010x}"


class EsmClass(IntFlag):
    """esm_class (§5.2.12)."""

    DEFAULT = 0x00
    DELIVERY_RECEIPT = 0x04
    """In a deliver_sm: the short message is an SMSC delivery receipt."""
    TYPE_MASK = 0x3C
    UDHI = 0x40


class Tag(IntEnum):
    """Tags of the optional parameters that are used here (§5.3.2)."""

    RECEIPTED_MESSAGE_ID = 0x001E
    SC_INTERFACE_VERSION = 0x0210
    MESSAGE_PAYLOAD = 0x0424
    MESSAGE_STATE = 0x0427


class MessageState(IntEnum):
    """message_state (§5.2.28) with the words of receipt texts (appendix B)."""

    ENROUTE = 1
    DELIVRD = 2
    EXPIRED = 3
    DELETED = 4
    UNDELIV = 5
    ACCEPTD = 6
    UNKNOWN = 7
    REJECTD = 8


class MalformedPdu(ValueError):
    """The octets are no SMPP 3.4 PDU."""


Tlvs = Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Bind:
    """Body of bind_receiver, bind_transmitter and bind_transceiver (§4.1)."""

    system_id: str
    password: str = field(repr=False)
    system_type: str = ""
    interface_version: int = INTERFACE_VERSION
    addr_ton: int = 0
    addr_npi: int = 0
    address_range: str = ""

    def encode(self) -> bytes:
        """The body's octets. Raises ValueError for a field that is too long or not ASCII."""
        return (
            c_string(self.system_id, 16, "system_id")
            + c_string(self.password, 9, "password")
            + c_string(self.system_type, 13, "system_type")
            + bytes([self.interface_version, self.addr_ton, self.addr_npi])
            + c_string(self.address_range, 41, "address_range")
        )

    @classmethod
    def decode(cls, body: bytes) -> Bind:
        """Raises MalformedPdu."""
        reader = Reader(body)
        system_id, password, system_type = reader.text(16), reader.text(9), reader.text(13)
        version, ton, npi = reader.octet(), reader.octet(), reader.octet()
        return cls(system_id, password, system_type, version, ton, npi, reader.text(41))


@dataclass(frozen=True, slots=True)
class ShortMessage:
    """Body of submit_sm and deliver_sm, which have one form (§4.4.1, §4.6.1)."""

    source: str
    destination: str = field(repr=False)
    short_message: bytes = field(repr=False)
    esm_class: int = 0
    data_coding: int = 0
    source_ton: int = 0
    source_npi: int = 0
    destination_ton: int = 0
    destination_npi: int = 0
    priority_flag: int = 0
    validity_period: str = ""
    registered_delivery: int = 0
    service_type: str = ""
    protocol_id: int = 0
    schedule_delivery_time: str = ""
    replace_if_present: int = 0
    default_message: int = 0
    tlvs: Tlvs = field(default_factory=dict)

    def encode(self) -> bytes:
        """The body's octets. Raises ValueError for a field that is too long or not ASCII."""
        return self.encode_head() + self.encode_tail(self.destination.encode("latin-1", "replace"))

    def encode_head(self) -> bytes:
        """What comes before the destination address."""
        return b"".join(
            (
                c_string(self.service_type, 6, "service_type"),
                bytes([self.source_ton, self.source_npi]),
                c_string(self.source, 21, "source_addr"),
                bytes([self.destination_ton, self.destination_npi]),
            )
        )

    def encode_tail(self, destination: bytes) -> bytes:
        """The destination address, which may be another than the message's own, and what follows it."""
        if len(self.short_message) > 254:
            raise ValueError(f"short_message has {len(self.short_message)} octets, the limit is 254")
        return b"".join(
            (
                c_string(destination.decode("latin-1"), 21, "destination_addr"),
                bytes([self.esm_class, self.protocol_id, self.priority_flag]),
                _time_field(self.schedule_delivery_time, "schedule_delivery_time"),
                _time_field(self.validity_period, "validity_period"),
                bytes([self.registered_delivery, self.replace_if_present, self.data_coding]),
                bytes([self.default_message, len(self.short_message)]),
                self.short_message,
                encode_tlvs(self.tlvs),
            )
        )

    @classmethod
    def decode(cls, body: bytes) -> ShortMessage:
        """Raises MalformedPdu."""
        reader = Reader(body)
        service_type = reader.text(6)
        source_ton, source_npi, source = reader.octet(), reader.octet(), reader.text(21)
        destination_ton, destination_npi, destination = reader.octet(), reader.octet(), reader.text(21)
        esm_class, protocol_id, priority = reader.octet(), reader.octet(), reader.octet()
        schedule, validity = reader.text(17), reader.text(17)
        registered, replace, coding, default = (reader.octet() for _ in range(4))
        return cls(
            source=source,
            destination=destination,
            short_message=reader.take(reader.octet()),
            esm_class=esm_class,
            data_coding=coding,
            source_ton=source_ton,
            source_npi=source_npi,
            destination_ton=destination_ton,
            destination_npi=destination_npi,
            priority_flag=priority,
            validity_period=validity,
            registered_delivery=registered,
            service_type=service_type,
            protocol_id=protocol_id,
            schedule_delivery_time=schedule,
            replace_if_present=replace,
            default_message=default,
            tlvs=reader.tlvs(),
        )

    @property
    def payload(self) -> bytes:
        """The user data, from message_payload where short_message is empty (§5.3.2.32)."""
        return self.short_message or self.tlvs.get(Tag.MESSAGE_PAYLOAD, b"")

    @property
    def is_receipt(self) -> bool:
        """Whether a deliver_sm carries an SMSC delivery receipt."""
        return self.esm_class & EsmClass.TYPE_MASK == EsmClass.DELIVERY_RECEIPT


def frame(command: int, sequence: int, body: bytes = b"", status: int = 0) -> bytes:
    """A whole PDU: header and body."""
    return HEADER.pack(HEADER_LENGTH + len(body), command, status, sequence) + body


def c_string(text: str, size: int, name: str) -> bytes:
    """A C-octet string of at most `size` octets with its NUL. Raises ValueError, without the value."""
    if not text.isascii() or "\0" in text:
        raise ValueError(f"{name} must be ASCII without NUL")
    if len(text) >= size:
        raise ValueError(f"{name} has {len(text)} characters, the limit is {size - 1}")
    return text.encode() + b"\0"


def encode_tlvs(tlvs: Tlvs) -> bytes:
    """Optional parameters (§3.2.4.1) in the order given."""
    return b"".join(struct.pack("!HH", tag, len(value)) + value for tag, value in tlvs.items())


class Reader:
    """Takes a body apart from its beginning; every method raises MalformedPdu where octets are missing."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def octet(self) -> int:
        """One octet."""
        return self.take(1)[0]

    def take(self, size: int) -> bytes:
        """`size` octets."""
        end = self._at + size
        if end > len(self._body):
            raise MalformedPdu(f"{size} octets wanted at {self._at}, the body has {len(self._body)}")
        taken = self._body[self._at : end]
        self._at = end
        return taken

    def text(self, size: int) -> str:
        """A C-octet string of at most `size` octets including its NUL."""
        end = self._body.find(b"\0", self._at, self._at + size)
        if end < 0:
            raise MalformedPdu(f"no end of the string at {self._at} within {size} octets")
        taken = self._body[self._at : end]
        self._at = end + 1
        return taken.decode("latin-1")

    def tlvs(self) -> Tlvs:
        """All optional parameters up to the end of the body; of a tag that comes twice, the last."""
        found: dict[int, bytes] = {}
        while self._at < len(self._body):
            tag, length = struct.unpack("!HH", self.take(4))
            found[tag] = self.take(length)
        return found


def _time_field(text: str, name: str) -> bytes:
    if text and len(text) != 16:
        raise ValueError(f"{name} must be empty or have 16 characters")
    return c_string(text, 17, name)
