"""Texts as short messages: the GSM alphabet where it fits, else UCS-2, and parts where one is too short.

3GPP TS 23.038 (alphabets) and 3GPP TS 23.040 §9.2.3.24.1 (concatenation by an 8-bit reference).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEFAULT_ALPHABET: Final = 0
"""data_coding of the SMSC's default alphabet, here GSM 7-bit sent as one septet per octet."""
UCS2: Final = 8
"""data_coding of UTF-16 in network order."""
SINGLE_SEPTETS: Final = 160
PART_SEPTETS: Final = 153
SINGLE_UCS2_BYTES: Final = 140
PART_UCS2_BYTES: Final = 134
MAX_PARTS: Final = 255
UDH_LENGTH: Final = 6
_ESCAPE: Final = 0x1B

_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION: Final = {
    "\f": 0x0A,
    "^": 0x14,
    "{": 0x28,
    "}": 0x29,
    "\\": 0x2F,
    "[": 0x3C,
    "~": 0x3D,
    "]": 0x3E,
    "|": 0x40,
    "€": 0x65,
}
_TO_GSM: Final = {
    **{letter: bytes([code]) for code, letter in enumerate(_BASIC) if code != _ESCAPE},
    **{letter: bytes([_ESCAPE, code]) for letter, code in _EXTENSION.items()},
}
_FROM_EXTENSION: Final = {code: letter for letter, code in _EXTENSION.items()}


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text ready for submission: one user data field for each part, UDH included where there are several."""

    data_coding: int
    parts: tuple[bytes, ...]

    @property
    def has_header(self) -> bool:
        """Whether the parts begin with a user data header (esm_class bit 6)."""
        return len(self.parts) > 1


def encode(text: str, reference: int) -> EncodedText:
    """Encode `text`, in parts with the 8-bit `reference` if one message cannot hold it.

    Raises ValueError for an empty text, one with lone surrogates, or one that needs more than 255 parts.
    """
    if not text:
        raise ValueError("an SMS needs a text")
    septets = gsm_encode(text)
    if septets is not None:
        coding, data, single, per_part = DEFAULT_ALPHABET, septets, SINGLE_SEPTETS, PART_SEPTETS
    else:
        coding, data, single, per_part = UCS2, text.encode("utf-16-be"), SINGLE_UCS2_BYTES, PART_UCS2_BYTES
    if len(data) <= single:
        return EncodedText(coding, (data,))
    pieces = _cut(data, per_part, coding)
    if len(pieces) > MAX_PARTS:
        raise ValueError(f"the text needs {len(pieces)} parts, the limit is {MAX_PARTS}")
    total = len(pieces)
    return EncodedText(
        coding,
        tuple(concatenation_header(reference, total, n) + piece for n, piece in enumerate(pieces, 1)),
    )


def parts_needed(text: str) -> int:
    """How many short messages `text` takes. Raises ValueError as `encode` does."""
    return len(encode(text, 0).parts)


def decode(data_coding: int, data: bytes) -> str:
    """The text of user data without its header.

    Raises ValueError for a data coding other than DEFAULT_ALPHABET and UCS2, and for malformed data.
    """
    if data_coding == UCS2:
        return data.decode("utf-16-be")
    if data_coding == DEFAULT_ALPHABET:
        return gsm_decode(data)
    raise ValueError(f"data coding {data_coding} is not supported")


def gsm_encode(text: str) -> bytes | None:
    """One octet per septet of the GSM default alphabet and its extension; None if a character is in neither."""
    try:
        return b"".join([_TO_GSM[letter] for letter in text])
    except KeyError:
        return None


def gsm_decode(data: bytes) -> str:
    """The reverse of `gsm_encode`. Raises ValueError for an octet above 0x7F or a broken escape."""
    letters = []
    octets = iter(data)
    for octet in octets:
        if octet > 0x7F:
            raise ValueError(f"octet {octet:#04x} is no septet")
        if octet != _ESCAPE:
            letters.append(_BASIC[octet])
            continue
        letter = _FROM_EXTENSION.get(next(octets, -1))
        if letter is None:
            raise ValueError("an escape without a character of the extension table")
        letters.append(letter)
    return "".join(letters)


def concatenation_header(reference: int, total: int, number: int) -> bytes:
    """UDH with one element: concatenated short messages, 8-bit reference (TS 23.040 §9.2.3.24.1)."""
    return bytes([5, 0, 3, reference & 0xFF, total, number])


def split_header(data: bytes) -> tuple[tuple[int, int, int] | None, bytes]:
    """Take user data with a UDH apart: (reference, total, number) if it is concatenated, and what follows.

    Understands 8-bit and 16-bit references. Raises ValueError for a header that does not add up.
    """
    if not data or len(data) < 1 + data[0]:
        raise ValueError("the user data header is longer than the user data")
    end = 1 + data[0]
    place: tuple[int, int, int] | None = None
    at = 1
    while at < end:
        if at + 2 > end or at + 2 + data[at + 1] > end:
            raise ValueError("an element of the user data header is longer than the header")
        element, body = data[at], data[at + 2 : at + 2 + data[at + 1]]
        if element == 0x00 and len(body) == 3:
            place = body[0], body[1], body[2]
        elif element == 0x08 and len(body) == 4:
            place = body[0] << 8 | body[1], body[2], body[3]
        at += 2 + len(body)
    if place is not None and not 1 <= place[2] <= place[1]:
        raise ValueError(f"part {place[2]} of {place[1]}")
    return place, data[end:]


def _cut(data: bytes, size: int, coding: int) -> list[bytes]:
    pieces = []
    start = 0
    while start < len(data):
        end = min(start + size, len(data))
        if end < len(data) and _would_split(data, end, coding):
            end -= 2 if coding == UCS2 else 1
        pieces.append(data[start:end])
        start = end
    return pieces


def _would_split(data: bytes, end: int, coding: int) -> bool:
    """Whether a cut before `end` parts a surrogate pair or an escape from its character."""
    if coding == UCS2:
        return 0xD8 <= data[end - 2] <= 0xDB
    return data[end - 1] == _ESCAPE
