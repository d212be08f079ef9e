"""The signed broadcast message: fields modelled on the EBM of GD/J 082-2018, in an envelope of our own.

Envelope, all of it but the signature itself covered by the signature:
`magic "FHEB" | version 1 | length of key id (1) | length of payload (4, big endian) | key id | signature (64) |
payload`. The payload is canonical JSON (UTF-8, keys sorted, no spaces); the terminal verifies the bytes as they
came before it reads any of them.

One message speaks to the terminals of one village, each named with its ordinal in the batch, so that one
publication reaches a village and yet nobody outside the audience obeys it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Final

from broker.clock import from_ms, to_ms
from broker.types import Phase
from channels.broadcast.ids import BEIJING, EBMID_LENGTH, is_ebrid
from channels.broadcast.keys import SIGNATURE_BYTES, SigningKey, TrustedKeys

MAGIC: Final = b"FHEB"
VERSION: Final = 1
MAX_BYTES: Final = 256 * 1024
_HEAD: Final = struct.Struct(">4sBBI")
_TIME: Final = "%Y-%m-%d %H:%M:%S"


class MsgType(IntEnum):
    """What kind of message (EBM MsgType)."""

    ACTUAL = 1
    CANCEL = 2
    PLATFORM_DRILL = 3
    FRONT_END_DRILL = 4
    TERMINAL_DRILL = 5

    @property
    def drill(self) -> bool:
        """Whether only training terminals may sound."""
        return self >= MsgType.PLATFORM_DRILL


class Severity(IntEnum):
    """EBM Severity: 0 unknown, then 红橙黄蓝."""

    UNKNOWN = 0
    RED = 1
    ORANGE = 2
    YELLOW = 3
    BLUE = 4

    @classmethod
    def of(cls, level: str) -> Severity:
        """From the project's word for a level; another word is UNKNOWN."""
        return cls.__members__.get(level.upper(), cls.UNKNOWN)

    @property
    def urgency(self) -> int:
        """Larger goes first; an unknown level ranks lowest."""
        return 5 - self if self else 0


LANGUAGE_CODES: Final = {"zh": "zho", "en": "eng"}
"""ISO 639-2 codes, as EBM writes LanguageCode, by the primary subtag of ours."""


class Refused(Exception):
    """A message that a terminal must not obey; the argument is a word of REASONS."""

    @property
    def reason(self) -> str:
        """The word."""
        return str(self.args[0])


REASONS: Final = frozenset(
    {
        "malformed",  # not an envelope of this form, cut, or too long
        "unsigned",  # an envelope without a signature
        "unknown_key",
        "signature",  # altered, or signed by somebody else
        "content",  # truly signed, but not a message this terminal understands
        "expired",
        "early",  # not to be played yet
        "area",  # for another area
        "not_addressed",  # for others in the area
        "drill",  # an exercise, and this is not a training terminal
        "type",  # a type of message that this terminal does not act on
    }
)


@dataclass(frozen=True, slots=True)
class BroadcastMessage:
    """What is said to some terminals of a village. Times are UTC milliseconds, sent as whole Beijing seconds."""

    ebmid: str
    key: str
    """Names the warning for a terminal: the same when it is sent again, so that it is not played twice."""
    batch: int
    attempt: int
    """Echoed in reports, so that a refusal speaks of the right attempt."""
    msg_type: MsgType
    sender_name: str
    sender_code: str
    send_time: int
    event_type: str
    severity: Severity
    start_time: int
    end_time: int
    language: str
    """ISO 639-2, e.g. zho."""
    title: str
    description: str
    speech: str
    plays: int
    area_code: str
    """12 digits."""
    targets: Mapping[str, int] = field(default_factory=dict)
    """Ordinal in the batch by EBRID."""
    phase: Phase = Phase.WARNING
    """What it tells; EBM knows only warning and cancel, by MsgType."""
    replaces: tuple[str, ...] = ()
    """The broker's ids of the alerts (see `alert_of`) that it replaces or takes back."""

    @property
    def ends(self) -> bool:
        """Whether it tells of an end instead of a danger."""
        return self.phase in (Phase.CLEAR, Phase.CANCEL)

    def payload(self) -> bytes:
        """The canonical bytes that are signed."""
        fields = {
            "EBMVersion": "1.0",
            "EBMID": self.ebmid,
            "MsgType": int(self.msg_type),
            "SenderName": self.sender_name,
            "SenderCode": self.sender_code,
            "SendTime": _write_time(self.send_time),
            "EventType": self.event_type,
            "Severity": int(self.severity),
            "StartTime": _write_time(self.start_time),
            "EndTime": _write_time(self.end_time),
            "LanguageCode": self.language,
            "MsgTitle": self.title,
            "MsgDesc": self.description,
            "AreaCode": self.area_code,
            "key": self.key,
            "batch": self.batch,
            "attempt": self.attempt,
            "speech": self.speech,
            "plays": self.plays,
            "targets": dict(self.targets),
            "phase": str(self.phase),
            "replaces": list(self.replaces),
        }
        return json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, payload: bytes) -> BroadcastMessage:
        """From bytes whose signature is good. Raises Refused("content") for anything that is not such a message."""
        try:
            fields = json.loads(payload)
            return _read(fields)
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise Refused("content") from error


def seal(message: BroadcastMessage, key: SigningKey) -> bytes:
    """The message in its envelope, signed."""
    return seal_payload(message.payload(), key)


def seal_payload(payload: bytes, key: SigningKey) -> bytes:
    """Any payload in an envelope, signed."""
    key_id = key.id.encode("ascii")
    head = _HEAD.pack(MAGIC, VERSION, len(key_id), len(payload)) + key_id
    return head + key.sign(head + payload) + payload


def verified_payload(envelope: bytes, trusted: TrustedKeys) -> bytes:
    """The payload of an envelope that a trusted key signed, unread. Raises Refused."""
    if len(envelope) < _HEAD.size or len(envelope) > MAX_BYTES:
        raise Refused("malformed")
    magic, version, id_length, length = _HEAD.unpack_from(envelope)
    start = _HEAD.size + id_length
    if magic != MAGIC or version != VERSION or not id_length or not length:
        raise Refused("malformed")
    if len(envelope) == start + length:
        raise Refused("unsigned")
    if len(envelope) != start + SIGNATURE_BYTES + length:
        raise Refused("malformed")
    try:
        key_id = envelope[_HEAD.size : start].decode("ascii")
    except UnicodeDecodeError as error:
        raise Refused("malformed") from error
    if not trusted.knows(key_id):
        raise Refused("unknown_key")
    payload = envelope[start + SIGNATURE_BYTES :]
    if not trusted.verify(key_id, envelope[start : start + SIGNATURE_BYTES], envelope[:start] + payload):
        raise Refused("signature")
    return payload


def unseal(envelope: bytes, trusted: TrustedKeys) -> BroadcastMessage:
    """The message of an envelope that a trusted key signed. Raises Refused."""
    return BroadcastMessage.parse(verified_payload(envelope, trusted))


def _read(fields: object) -> BroadcastMessage:
    if not isinstance(fields, dict) or fields["EBMVersion"] != "1.0":
        raise ValueError("another version")
    targets = fields["targets"]
    if not isinstance(targets, dict) or not all(is_ebrid(name) for name in targets):
        raise ValueError("targets are ordinals by EBRID")
    ordinals = {name: _number(ordinal, 0, 0xFFFF) for name, ordinal in targets.items()}
    message = BroadcastMessage(
        ebmid=_text(fields["EBMID"]),
        key=_text(fields["key"]),
        batch=_number(fields["batch"], 0, 1 << 62),
        attempt=_number(fields["attempt"], 1, 15),
        msg_type=MsgType(_number(fields["MsgType"], 1, 5)),
        sender_name=_text(fields["SenderName"]),
        sender_code=_text(fields["SenderCode"]),
        send_time=_read_time(fields["SendTime"]),
        event_type=_text(fields["EventType"]),
        severity=Severity(_number(fields["Severity"], 0, 4)),
        start_time=_read_time(fields["StartTime"]),
        end_time=_read_time(fields["EndTime"]),
        language=_text(fields["LanguageCode"]),
        title=_text(fields["MsgTitle"]),
        description=_text(fields["MsgDesc"]),
        area_code=_text(fields["AreaCode"]),
        speech=_text(fields["speech"]),
        plays=_number(fields["plays"], 1, 100),
        targets=ordinals,
        # Broadcasters that know of no phases speak of warnings only.
        phase=Phase(_text(fields.get("phase", Phase.WARNING))),
        replaces=tuple(_text(alert) for alert in _list(fields.get("replaces", []))),
    )
    if not message.key or len(message.ebmid) != EBMID_LENGTH or not message.ebmid.isdigit():
        raise ValueError("a message has a key and an EBMID of 35 digits")
    return message


def message_key(alert: str, batch: int) -> str:
    """The key of everything a batch says: a window sent again, or a retry, must not be played a second time."""
    return f"{alert}/{batch}"


def alert_of(key: str) -> str:
    """The broker's id of the alert in a message's key."""
    return key.rpartition("/")[0]


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("expected a list")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected a text")
    return value


def _number(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"expected a whole number from {low} to {high}")
    return value


def _write_time(ms: int) -> str:
    # Seconds are cut off, never rounded up: a message must not live longer than its alert.
    return from_ms(ms - ms % 1000).astimezone(BEIJING).strftime(_TIME)


def _read_time(value: object) -> int:
    return to_ms(datetime.strptime(_text(value), _TIME).replace(tzinfo=BEIJING))
