"""MQTT 3.1.1 packets as bytes (OASIS standard mqtt-v3.1.1): what client and server share.

Only what loudspeakers need: QoS 0 and 1, no wills, no retained messages. A packet that asks for more is
reported as malformed, so that nobody believes in a promise that is not kept.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

MAX_PACKET: Final = 1 << 20
"""Largest packet taken, bytes; the standard allows 256 MiB, a village's message has some 10 KiB."""


class Kind(IntEnum):
    """Control packet types (2.2.1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class Refusal(IntEnum):
    """CONNACK return codes (3.2.2.3)."""

    NONE = 0
    PROTOCOL = 1
    IDENTIFIER = 2
    UNAVAILABLE = 3
    CREDENTIALS = 4
    NOT_AUTHORISED = 5


SUBSCRIBE_REFUSED: Final = 0x80
PINGREQ: Final = b"\xc0\x00"
PINGRESP: Final = b"\xd0\x00"
DISCONNECT: Final = b"\xe0\x00"
_FLAGS: Final = {Kind.SUBSCRIBE: 2, Kind.UNSUBSCRIBE: 2}
_RETAIN, _DUP = 1, 8


class MalformedPacket(Exception):
    """Bytes that are not the MQTT spoken here; the connection must be closed (4.8)."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One control packet: its type, the four flag bits and everything after the fixed header."""

    kind: Kind
    flags: int
    body: bytes


class Splitter:
    """Cuts a stream of bytes into packets."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_PACKET) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[Packet]:
        """Add received bytes and return the packets that are complete. Raises MalformedPacket."""
        buffer = self._buffer
        buffer += data
        packets: list[Packet] = []
        start = 0
        while len(buffer) - start >= 2:
            length, shift, at = 0, 0, start + 1
            while True:
                if at >= len(buffer):
                    length = -1
                    break
                digit = buffer[at]
                at += 1
                length |= (digit & 0x7F) << shift
                if not digit & 0x80:
                    break
                shift += 7
                if shift > 21:
                    raise MalformedPacket("remaining length takes more than four bytes")
            if length > self._limit:
                raise MalformedPacket(f"packet of {length} bytes, at most {self._limit} are taken")
            if length < 0 or len(buffer) - at < length:
                break
            packets.append(_packet(buffer[start], bytes(buffer[at : at + length])))
            start = at + length
        if start:
            del buffer[:start]
        return packets


def _packet(first: int, body: bytes) -> Packet:
    try:
        kind = Kind(first >> 4)
    except ValueError as error:
        raise MalformedPacket(f"packet type {first >> 4} is not spoken here") from error
    flags = first & 0xF
    if kind is not Kind.PUBLISH and flags != _FLAGS.get(kind, 0):
        raise MalformedPacket(f"{kind.name} with flags {flags}")
    return Packet(kind, flags, body)


def _frame(first: int, body: bytes) -> bytes:
    length = len(body)
    head = bytearray((first,))
    while True:
        length, digit = length >> 7, length & 0x7F
        head.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(head) + body


def _text(value: str) -> bytes:
    data = value.encode()
    if len(data) > 0xFFFF:
        raise ValueError("a text in MQTT has at most 65,535 bytes")
    return len(data).to_bytes(2, "big") + data


class _Reader:
    """Reads fields off a packet's body."""

    __slots__ = ("at", "body")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.body):
            raise MalformedPacket("packet ends inside a field")
        data = self.body[self.at : end]
        self.at = end
        return data

    def text(self) -> str:
        try:
            value = self.take(self.number(2)).decode()
        except UnicodeDecodeError as error:
            raise MalformedPacket("text that is not UTF-8") from error
        if "\0" in value:
            raise MalformedPacket("text with a NUL")
        return value

    @property
    def left(self) -> int:
        return len(self.body) - self.at

    def end(self) -> None:
        if self.left:
            raise MalformedPacket("bytes after the last field")


@dataclass(frozen=True, slots=True)
class Connect:
    """A client's wish to open or resume a session (3.1)."""

    client_id: str
    username: str
    password: bytes = field(repr=False)
    clean: bool
    keepalive: int
    """Seconds; 0 switches the check off."""

    def encode(self) -> bytes:
        """As bytes."""
        flags = 0xC0 | (2 if self.clean else 0)
        body = _text("MQTT") + bytes((4, flags)) + self.keepalive.to_bytes(2, "big")
        body += _text(self.client_id) + _text(self.username) + len(self.password).to_bytes(2, "big") + self.password
        return _frame(Kind.CONNECT << 4, body)

    @classmethod
    def decode(cls, body: bytes) -> Connect:
        """From bytes; other protocol versions raise UnknownProtocol, anything else wrong MalformedPacket."""
        reader = _Reader(body)
        if reader.text() != "MQTT" or reader.number(1) != 4:
            raise UnknownProtocol("only MQTT 3.1.1 is spoken here")
        flags = reader.number(1)
        keepalive = reader.number(2)
        if flags & 1:
            raise MalformedPacket("reserved CONNECT flag is set")
        if flags & 0x3C:
            raise MalformedPacket("will messages are not offered")
        client_id = reader.text()
        username = reader.text() if flags & 0x80 else ""
        password = reader.take(reader.number(2)) if flags & 0x40 else b""
        reader.end()
        return cls(client_id, username, password, bool(flags & 2), keepalive)


class UnknownProtocol(MalformedPacket):
    """Another protocol or version than MQTT 3.1.1."""


def connack(refusal: Refusal, *, resumed: bool) -> bytes:
    """The answer to CONNECT; `resumed` is Session Present (3.2.2.2)."""
    return bytes((Kind.CONNACK << 4, 2, int(resumed and not refusal), refusal))


def read_connack(body: bytes) -> tuple[bool, Refusal]:
    """(session present, refusal)."""
    if len(body) != 2 or body[0] > 1 or body[1] > 5:
        raise MalformedPacket("CONNACK of another form")
    return bool(body[0]), Refusal(body[1])


@dataclass(frozen=True, slots=True)
class Publish:
    """An application message on its way (3.3); `packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes
    packet_id: int = 0
    duplicate: bool = False

    def encode(self) -> bytes:
        """As bytes."""
        flags = (2 if self.packet_id else 0) | (_DUP if self.duplicate else 0)
        number = self.packet_id.to_bytes(2, "big") if self.packet_id else b""
        return _frame(Kind.PUBLISH << 4 | flags, _text(self.topic) + number + self.payload)

    @classmethod
    def decode(cls, flags: int, body: bytes) -> Publish:
        """From bytes. Raises MalformedPacket, also for QoS 2 and for a message to be retained by a server."""
        qos = flags >> 1 & 3
        if qos > 1:
            raise MalformedPacket("QoS 2 is not offered")
        reader = _Reader(body)
        topic = reader.text()
        if not topic or "+" in topic or "#" in topic:
            raise MalformedPacket("a topic name is not empty and has no wildcards")
        packet_id = reader.number(2) if qos else 0
        if qos and not packet_id:
            raise MalformedPacket("packet id 0")
        return cls(topic, body[reader.at :], packet_id, bool(flags & _DUP))


def asks_to_retain(flags: int) -> bool:
    """Whether a PUBLISH carries the RETAIN flag (3.3.1.3)."""
    return bool(flags & _RETAIN)


_PUBACK: Final = struct.Struct(">BBH")


def puback(packet_id: int) -> bytes:
    """The acknowledgement of a QoS 1 message."""
    return _PUBACK.pack(Kind.PUBACK << 4, 2, packet_id)


def read_packet_id(body: bytes) -> int:
    """The packet id that a PUBACK or UNSUBACK carries."""
    if len(body) != 2:
        raise MalformedPacket("acknowledgement of another form")
    return int.from_bytes(body, "big")


def subscribe(packet_id: int, filters: tuple[tuple[str, int], ...]) -> bytes:
    """SUBSCRIBE to (topic filter, QoS) pairs."""
    body = packet_id.to_bytes(2, "big") + b"".join(_text(name) + bytes((qos,)) for name, qos in filters)
    return _frame(Kind.SUBSCRIBE << 4 | 2, body)


def read_subscribe(body: bytes) -> tuple[int, list[tuple[str, int]]]:
    """(packet id, [(topic filter, QoS)])."""
    reader = _Reader(body)
    packet_id = reader.number(2)
    filters: list[tuple[str, int]] = []
    while reader.left:
        name, qos = reader.text(), reader.number(1)
        if qos > 2:
            raise MalformedPacket(f"QoS {qos}")
        filters.append((name, qos))
    if not packet_id or not filters:
        raise MalformedPacket("SUBSCRIBE without id or filters")
    return packet_id, filters


def suback(packet_id: int, granted: list[int]) -> bytes:
    """The answer to SUBSCRIBE: granted QoS or SUBSCRIBE_REFUSED for each filter."""
    return _frame(Kind.SUBACK << 4, packet_id.to_bytes(2, "big") + bytes(granted))


def read_suback(body: bytes) -> tuple[int, list[int]]:
    """(packet id, granted)."""
    reader = _Reader(body)
    return reader.number(2), list(body[2:])


def read_unsubscribe(body: bytes) -> tuple[int, list[str]]:
    """(packet id, topic filters)."""
    reader = _Reader(body)
    packet_id = reader.number(2)
    filters: list[str] = []
    while reader.left:
        filters.append(reader.text())
    if not packet_id or not filters:
        raise MalformedPacket("UNSUBSCRIBE without id or filters")
    return packet_id, filters


def unsuback(packet_id: int) -> bytes:
    """The answer to UNSUBSCRIBE."""
    return _PUBACK.pack(Kind.UNSUBACK << 4, 2, packet_id)


def valid_filter(name: str) -> bool:
    """Whether a topic filter is well formed (4.7.1)."""
    levels = name.split("/")
    return bool(name) and all(
        (level in {"+", "#"} and (level == "+" or number == len(levels) - 1)) or not set(level) & {"+", "#"}
        for number, level in enumerate(levels)
    )


def matches(topic: str, name: str) -> bool:
    """Whether a topic filter selects a topic (4.7); wildcards do not reach topics that begin with `$`."""
    if "+" not in name and "#" not in name:
        return topic == name
    if topic.startswith("$") and name[0] in "+#":
        return False
    levels, wanted = topic.split("/"), name.split("/")
    for number, level in enumerate(wanted):
        if level == "#":
            return True
        if number >= len(levels) or level not in ("+", levels[number]):
            return False
    return len(levels) == len(wanted)
