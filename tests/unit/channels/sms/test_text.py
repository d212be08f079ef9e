"""Texts become short messages and come back whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.sms.text import (
    DEFAULT_ALPHABET,
    MAX_PARTS,
    UCS2,
    concatenation_header,
    decode,
    encode,
    gsm_decode,
    gsm_encode,
    parts_needed,
    split_header,
)

_GSM = st.text(st.sampled_from("aZ9 @£$èΔ_ΦÉß!?äöñüà\n€[]{}\\|^~"), min_size=1, max_size=700)
_ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=500)


@given(_GSM)
def test_gsm_text_round_trips(text: str) -> None:
    encoded = gsm_encode(text)
    assert encoded is not None
    assert gsm_decode(encoded) == text


@given(st.one_of(_GSM, _ANY), st.integers(0, 255))
def test_parts_carry_the_text_within_the_limits_and_split_no_character(text: str, reference: int) -> None:
    encoded = encode(text, reference)
    joined = ""
    for number, part in enumerate(encoded.parts, 1):
        assert len(part) <= (140 if encoded.data_coding == UCS2 else 160)
        if encoded.has_header:
            place, part = split_header(part)
            assert place == (reference, len(encoded.parts), number)
            assert len(part) <= (134 if encoded.data_coding == UCS2 else 153)
        # Every part decodes by itself: no surrogate pair and no escape pair is cut in two.
        joined += decode(encoded.data_coding, part)
    assert joined == text


@pytest.mark.parametrize(
    ("text", "coding", "parts"),
    [
        ("a" * 160, DEFAULT_ALPHABET, 1),
        ("a" * 161, DEFAULT_ALPHABET, 2),
        ("a" * 306, DEFAULT_ALPHABET, 2),
        ("a" * 307, DEFAULT_ALPHABET, 3),
        ("€" * 80, DEFAULT_ALPHABET, 1),
        ("€" * 81, DEFAULT_ALPHABET, 2),
        ("暴" * 70, UCS2, 1),
        ("暴" * 71, UCS2, 2),
        ("暴" * 134, UCS2, 2),
        ("暴" * 135, UCS2, 3),
        ("雨" * 168, UCS2, 3),
        ("😀" * 35, UCS2, 1),
        ("😀" * 67, UCS2, 3),
    ],
)
def test_the_number_of_parts_is_that_of_the_standard(text: str, coding: int, parts: int) -> None:
    assert encode(text, 0).data_coding == coding
    assert parts_needed(text) == parts


def test_an_escape_pair_at_the_end_of_a_part_moves_to_the_next() -> None:
    encoded = encode("a" * 152 + "€" + "b" * 10, 7)
    assert [len(part) - 6 for part in encoded.parts] == [152, 12]


def test_a_text_beyond_255_parts_is_refused() -> None:
    assert len(encode("雨" * 67 * MAX_PARTS, 0).parts) == MAX_PARTS
    with pytest.raises(ValueError, match="256 parts"):
        encode("雨" * (67 * MAX_PARTS + 1), 0)


@pytest.mark.parametrize("text", ["", "\ud800"])
def test_an_empty_or_broken_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        encode(text, 0)


@given(st.binary(max_size=20))
def test_a_user_data_header_is_read_or_refused_never_guessed(data: bytes) -> None:
    try:
        place, rest = split_header(data)
    except ValueError:
        return
    assert rest == data[1 + data[0] :]
    assert place is None or 1 <= place[2] <= place[1]


def test_a_16_bit_reference_is_understood() -> None:
    assert split_header(bytes([6, 8, 4, 1, 2, 3, 1]) + b"x") == ((0x102, 3, 1), b"x")
    assert concatenation_header(0x1FF, 2, 1) == bytes([5, 0, 3, 0xFF, 2, 1])
