"""Texts of CAP read as values: times, coordinates, references, lists, URIs. None means "not well-formed"."""

from __future__ import annotations

import base64
import binascii
import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

XML_SPACE = " \t\r\n"
"""What XML calls white space; wider Unicode spaces are text."""

_SPACES = re.compile(r"[ \t\r\n]+")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2})([+-])([0-9]{2}):([0-9]{2})")
_TIME_LENGTH = len("YYYY-MM-DDThh:mm:ss+hh:mm")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")
_DIGEST = re.compile(r"[0-9A-Fa-f]{40}")
_MIME_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:[ \t]*;.*)?", re.DOTALL)
_LIST_ITEM = re.compile(r'"([^"]*)"|([^ \t\r\n"]+)')
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BCP_47 = re.compile(
    r"(?:(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})"
    r"(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?"
    r"(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"
    r"(?:-[0-9a-wy-z](?:-[a-z0-9]{2,8})+)*"
    r"(?:-x(?:-[a-z0-9]{1,8})+)?"
    r"|x(?:-[a-z0-9]{1,8})+|i-[a-z]{2,8})",
    re.IGNORECASE,
)
_KEPT_LENGTH = 10_000
"""Characters of the longest polygon that is remembered, so that what is kept stays small whatever is sent."""
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")

# Quantifiers are possessive, so that a long text costs neither time nor memory.
# RFC 3986, "URI-reference", after the schema's own escaping of characters that a URI cannot hold. As schema
# processors have it, a colon brings a port, and a fragment may hold square brackets.
_PCHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_AUTHORITY = (
    r"//(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*+@)?"
    r"(?:\[[^\]]*\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*+)(?::0*[0-9]{1,8})?(?:/" + _PCHAR + r"*+)*+"
)
_TAIL = rf"(?:\?(?:{_PCHAR}|[/?])*+)?(?:\#(?:{_PCHAR}|[/?\[\]])*+)?"
_ROOTED = rf"/(?:{_PCHAR}++(?:/{_PCHAR}*+)*+)?"
_ABSOLUTE_URI = re.compile(
    rf"[A-Za-z][A-Za-z0-9+.-]*:(?:{_AUTHORITY}|{_ROOTED}|{_PCHAR}++(?:/{_PCHAR}*+)*+|){_TAIL}"
)
_RELATIVE_URI = re.compile(
    rf"(?:{_AUTHORITY}|{_ROOTED}|(?:(?!:){_PCHAR})++(?:/{_PCHAR}*+)*+|){_TAIL}",
)
_URI_ESCAPED = re.compile(r"[\x00-\x20\x7f-\U0010ffff<>\"{}|\\^`]")


def collapse(text: str) -> str:
    """`text` with white space collapsed as XML Schema does before it looks at a time, number or URI."""
    if " " not in text and "\n" not in text and "\t" not in text and "\r" not in text:
        return text  # what nearly every value is, at a tenth of the cost
    return _SPACES.sub(" ", text).strip(" ")


def is_blank(text: str) -> bool:
    """Whether `text` holds nothing but white space, the wider Unicode spaces included."""
    return not text or text.isspace()


def parse_time(text: str) -> datetime | None:
    """The instant of a CAP time `YYYY-MM-DDThh:mm:ss±hh:mm` (CAP 1.2, 3.3.2), with its offset; else None."""
    # Only texts of the right length get into the cache, so that it cannot be filled with long ones.
    return _parse_time(text) if len(text) == _TIME_LENGTH else None


@lru_cache(maxsize=1024)  # lint and model read the same few texts
def _parse_time(text: str) -> datetime | None:
    match = _TIME.fullmatch(text)
    if match is None or not _is_offset(match[4], match[5]):
        return None
    try:
        instant = datetime.fromisoformat(text)
        instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return instant


def is_schema_time(text: str) -> bool:
    """Whether the OASIS schema takes this (collapsed) text for a time.

    It differs from `parse_time` at the edges of xs:dateTime only: midnight may be written 24:00:00.
    """
    if parse_time(text) is not None:
        return True
    match = _TIME.fullmatch(text)
    if match is None or not _is_offset(match[4], match[5]):
        return False
    clock = "00:00:00" if match[2] == "24:00:00" else match[2]
    try:
        datetime.fromisoformat(f"{match[1]}T{clock}")
    except ValueError:
        return False
    return True


def _is_offset(hours: str, minutes: str) -> bool:
    return minutes < "60" and (hours < "14" or hours + minutes == "1400")


def parse_number(text: str) -> float | None:
    """A plain decimal number (no exponent) as coordinates are written; else None, also when out of all bounds."""
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def parse_decimal(text: str) -> Decimal | None:
    """An xs:decimal, exact; else None."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def parse_integer(text: str) -> int | None:
    """An xs:integer of at most 24 digits (more cannot be a size of anything); else None."""
    return int(text) if _INTEGER.fullmatch(text) and len(text.lstrip("+-")) <= 24 else None


def parse_pair(text: str) -> tuple[float, float] | None:
    """A coordinate pair `latitude,longitude` in degrees, ranges not looked at; else None."""
    parts = text.split(",")
    if len(parts) != 2:
        return None
    latitude, longitude = parse_number(parts[0]), parse_number(parts[1])
    return None if latitude is None or longitude is None else (latitude, longitude)


def parse_pairs(text: str) -> tuple[tuple[float, float] | None, ...]:
    """The coordinate pairs of a list that white space separates, None for each that is none."""
    # Lint and model read the same polygon, and so do the infos of a message in several languages.
    return _kept_pairs(text) if len(text) <= _KEPT_LENGTH else _parse_pairs(text)


def _parse_pairs(text: str) -> tuple[tuple[float, float] | None, ...]:
    return tuple([parse_pair(word) for word in words(text)])


_kept_pairs = lru_cache(maxsize=128)(_parse_pairs)


def words(text: str) -> list[str]:
    """The parts of a list that XML white space separates."""
    return [part for part in _SPACES.split(text) if part]


def parse_list(text: str) -> tuple[str, ...] | None:
    """Items of `addresses` or `incidents`: separated by space, in double quotes when they hold spaces.

    None when a quote is left open or stands inside an item.
    """
    items: list[str] = []
    position = 0
    stripped = text.strip(XML_SPACE)
    while position < len(stripped):
        match = _LIST_ITEM.match(stripped, position)
        if match is None:
            return None
        items.append(match[2] if match[1] is None else match[1])
        gap = _SPACES.match(stripped, match.end())
        if gap is None and match.end() < len(stripped):
            return None
        position = gap.end() if gap else match.end()
    return tuple(items)


def is_language(text: str) -> bool:
    """Whether `text` is an xs:language."""
    return _LANGUAGE.fullmatch(text) is not None


def is_language_tag(text: str) -> bool:
    """Whether `text` is well-formed by RFC 5646 (the grammar, not the registry)."""
    return _BCP_47.fullmatch(text) is not None


def is_uri(text: str) -> bool:
    """Whether a collapsed text is an xs:anyURI: a URI reference once odd characters are escaped."""
    escaped = _URI_ESCAPED.sub("_", text)
    pattern = _ABSOLUTE_URI if _SCHEME.match(escaped) else _RELATIVE_URI
    return pattern.fullmatch(escaped) is not None


def scheme_of(uri: str) -> str | None:
    """The lower-case scheme of a URI; None for a relative one."""
    match = _SCHEME.match(uri)
    return match[0][:-1].lower() if match else None


def is_mime_type(text: str) -> bool:
    """Whether `text` is a MIME type `type/subtype`, parameters allowed (RFC 2046)."""
    return _MIME_TYPE.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether `text` is a SHA-1 digest: 40 hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def parse_base64(text: str) -> bytes | None:
    """The content of a `derefUri`, line breaks allowed; None when it is not base64."""
    try:
        return base64.b64decode(_SPACES.sub("", text).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None


def has_han(text: str) -> bool:
    """Whether `text` holds Chinese characters."""
    return _HAN.search(text) is not None
