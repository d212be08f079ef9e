"""The vocabulary of the national CAP-style XML: its elements, colour words, message texts and code classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.cap.level import Level
from broker.cap.model import Category, Severity

NAMESPACE: Final = "http://com.icss.amp"
"""The namespace that some senders give; most give none."""

PARAMETER: Final = "12379:"
"""Begins the valueName of a CAP parameter that keeps an element of the national format which CAP lacks."""

SIGNATORY: Final = PARAMETER + "senderName"
"""Parameter for the officer who signed; CAP's own senderName holds the name of the unit."""

CLASSIFICATION: Final = PARAMETER + "secClassification"
"""Parameter for a secClassification that was sent and says None."""

INNER: Final = "secClassification Inner"
"""`restriction` of a message that the national format marks as internal."""

LANGUAGE: Final = "zh-CN"

RECIPIENT_SPELLINGS: Final = ("audencePrt", "audenceprt", "audiencePrt", "audienceprt")
"""Every way in which the element for single recipients is spelt."""


@dataclass(frozen=True, slots=True)
class Member:
    """One element of a group: how often it may stand, and in which place of the order."""

    name: str
    required: bool = False
    many: bool = False


def _members(text: str) -> dict[str, Member]:
    """From names in their order: `*` is required, `+` required and repeatable, `~` repeatable."""
    found = [Member(word.rstrip("*+~"), word[-1] in "*+", word[-1] in "+~") for word in text.split()]
    return {member.name: member for member in found}


GROUPS: Final = {
    "alert": _members(
        "identifier* sender* senderCode* phone sendTime* status* msgType* scope* code secClassification note"
        " references info+"
    ),
    "code": _members("method+"),
    "method": _members("methodName* message audienceGrp audiencePrt"),
    "info": _members(
        "language eventType* urgency* severity* certainty* effective* onset expires senderName* headline*"
        " description* instruction web resource~ area+"
    ),
    "resource": _members("resourceDesc size digest"),
    "area": _members("areaDesc* polygon circle geocode*"),
}
"""Group → its members, in the order in which they are sent."""

_COLOURS = {
    **{level.value: level.severity for level in Level},
    "Unknown": Severity.UNKNOWN,
}
_WORDS = {severity: colour for colour, severity in _COLOURS.items()}
_MAIN_COLOURS = {"红色": Level.RED, "橙色": Level.ORANGE, "黄色": Level.YELLOW, "蓝色": Level.BLUE}


def severity_of(colour: str) -> Severity | None:
    """The CAP severity of a colour word of the wire, any case; None for another word."""
    return _COLOURS.get(colour.capitalize()) if colour.isascii() else None


def colour_of(severity: Severity) -> str:
    """The colour word of a CAP severity."""
    return _WORDS[severity]


def levels_in(text: str) -> set[Level]:
    """The levels whose Chinese colour words stand in a text."""
    return {level for word, level in _MAIN_COLOURS.items() if word in text}


ISSUES: Final = "发布"
LIFTS: Final = "解除"
WARNING: Final = "预警"
DRILLS: Final = ("演练", "演习", "测试")
"""Words of a headline that say the message is no real warning."""

TEST_EVENT: Final = "00000"
"""The event type that stands for a test only."""

_CATEGORIES = (
    ("11A", Category.MET),
    ("11B", Category.MET),
    ("11C", Category.GEO),
    ("11D", Category.GEO),
    ("11E01", Category.GEO),
    ("11E", Category.MET),
    ("11F", Category.ENV),
    ("11G", Category.FIRE),
    ("12D", Category.CBRNE),
    ("12G", Category.FIRE),
    ("12H", Category.TRANSPORT),
    ("12J", Category.TRANSPORT),
    ("12K", Category.TRANSPORT),
    ("12L", Category.TRANSPORT),
    ("12M", Category.TRANSPORT),
    ("12P", Category.INFRA),
    ("12Q", Category.ENV),
    ("12T", Category.CBRNE),
    ("12U", Category.INFRA),
    ("12", Category.SAFETY),
    ("13", Category.HEALTH),
    ("14", Category.SECURITY),
)


def category_of(event_type: str) -> Category:
    """The CAP category of an event code, by its class and sub-class; Other where none fits."""
    return next((category for prefix, category in _CATEGORIES if event_type.startswith(prefix)), Category.OTHER)


_FILE_KINDS = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "pdf": "application/pdf",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "txt": "text/plain",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "mp4": "video/mp4",
}
UNKNOWN_KIND: Final = "application/octet-stream"


def mime_type_of(file_name: str) -> str:
    """The MIME type that a file's name tells; application/octet-stream where it tells none."""
    return _FILE_KINDS.get(file_name.rpartition(".")[2].casefold(), UNKNOWN_KIND)


def event_named_in(headline: str, sender: str) -> str | None:
    """The event that a headline by the rule names: sender, 发布 or 解除, event, colour, 预警; else None."""
    rest = headline.removeprefix(sender) if sender else headline
    if rest == headline and sender:
        return None
    for verb in (ISSUES, LIFTS):
        if rest.startswith(verb):
            rest = rest.removeprefix(verb)
            break
    else:
        return None
    places = [rest.find(word) for word in _MAIN_COLOURS if word in rest]
    if not places or not rest[min(places) + 2 :].startswith(WARNING):
        return None
    return rest[: min(places)] or None
