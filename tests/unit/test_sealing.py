"""Sealed pages open only as what they were sealed, with the key they were sealed with, unaltered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ConfigError
from broker.sealing import KEYS_VARIABLE, Keyring, SealError, batch_context, masked, pack, page_context

OLD, NEW = b"o" * 32, b"n" * 32
RING = Keyring({"new": NEW, "old": OLD})
NUMBERS = ["8613800001111", "8613800002222", "861390000333"]

addresses = st.lists(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30), min_size=1
)


@given(addresses, st.text())
def test_a_page_opens_as_it_was_sealed(texts: list[str], context: str) -> None:
    page = pack(texts)
    opened = RING.open(RING.seal(page, context), context)
    assert opened.tolist() == [text.encode() for text in texts]
    assert opened.dtype == page.dtype


def test_a_page_of_nobody_opens_too() -> None:
    assert RING.open(RING.seal(pack([]), "c"), "c").tolist() == []


def test_no_number_can_be_read_in_a_sealed_page_and_no_two_pages_look_alike() -> None:
    one, other = RING.seal(pack(NUMBERS), "c"), RING.seal(pack(NUMBERS), "c")
    assert one != other
    for number in NUMBERS:
        assert number.encode() not in one


def test_a_page_with_any_bit_turned_does_not_open() -> None:
    sealed = RING.seal(pack(NUMBERS), "c")
    for position in range(len(sealed)):
        for bit in (0, 7):
            altered = bytearray(sealed)
            altered[position] ^= 1 << bit
            with pytest.raises(SealError):
                RING.open(bytes(altered), "c")


@given(st.binary(max_size=80))
def test_whatever_is_no_page_does_not_open(data: bytes) -> None:
    with pytest.raises(SealError):
        RING.open(data, "c")


def test_a_page_cut_short_does_not_open() -> None:
    sealed = RING.seal(pack(NUMBERS), "c")
    for end in range(len(sealed)):
        with pytest.raises(SealError):
            RING.open(sealed[:end], "c")


def test_a_page_moved_to_other_recipients_does_not_open() -> None:
    sealed = RING.seal(pack(NUMBERS), batch_context(7))
    for elsewhere in (batch_context(8), page_context("sms", 7), ""):
        with pytest.raises(SealError, match="does not open"):
            RING.open(sealed, elsewhere)


def test_another_key_does_not_open_a_page_whatever_its_name() -> None:
    sealed = Keyring({"old": OLD}).seal(pack(NUMBERS), "c")
    with pytest.raises(SealError, match="no key with id"):
        Keyring({"new": NEW}).open(sealed, "c")
    with pytest.raises(SealError, match="does not open"):
        Keyring({"old": NEW}).open(sealed, "c")


def test_after_a_rotation_old_pages_open_and_new_ones_need_the_new_key() -> None:
    before = Keyring({"old": OLD}).seal(pack(NUMBERS), "c")
    assert RING.open(before, "c").tolist() == pack(NUMBERS).tolist()
    after = RING.seal(pack(NUMBERS), "c")
    with pytest.raises(SealError):
        Keyring({"old": OLD}).open(after, "c")
    assert Keyring({"new": NEW}).open(after, "c").tolist() == pack(NUMBERS).tolist()


def test_errors_and_representations_show_neither_keys_nor_numbers() -> None:
    sealed = RING.seal(pack(NUMBERS), "c")
    with pytest.raises(SealError) as caught:
        RING.open(sealed, "d")
    for text in (repr(RING), str(RING), repr(caught.value)):
        assert "8613" not in text
        assert OLD.decode() not in text
        assert NEW.hex() not in text


def test_addresses_are_ascii() -> None:
    with pytest.raises(UnicodeEncodeError):
        pack(["１３８"])


def test_the_index_of_an_address_says_nothing_without_the_key() -> None:
    assert RING.index(NUMBERS[0]) == RING.index(NUMBERS[0])
    assert RING.index(NUMBERS[0]) != RING.index(NUMBERS[1])
    assert RING.index(NUMBERS[0]) != Keyring({"other": OLD}).index(NUMBERS[0])


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("13812345678", "138****5678"),
        ("8613812345678", "86138****5678"),
        ("1234567890", "****90"),
        ("12345", "****45"),
        ("1234", "****"),
        ("7", "****"),
        ("", "****"),
    ],
)
def test_people_see_enough_of_an_address_to_recognise_it_and_no_more(address: str, shown: str) -> None:
    assert masked(address) == shown


@given(st.text(st.characters(min_codepoint=48, max_codepoint=57), max_size=25))
def test_a_masked_address_hides_at_least_four_digits_or_all(address: str) -> None:
    assert len(address) - len(masked(address).replace("*", "")) >= min(3, len(address))


# ── key files ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_fresh_key_line_is_a_key_and_no_two_are_alike() -> None:
    first, second = Keyring.new_line(), Keyring.new_line()
    assert first != second
    sealed = Keyring.parse(f"{second}\n{first}\n", "f").seal(pack(NUMBERS), "c")
    assert Keyring.parse(second, "f").open(sealed, "c").tolist() == pack(NUMBERS).tolist()


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", [("f", "keys.none")]),
        (f"a={'0' * 63}", [("f:1", "keys.form")]),
        (f"={'0' * 64}", [("f:1", "keys.form")]),
        (f"a={'0' * 64}\nb={'x' * 64}\nc", [("f:2", "keys.form"), ("f:3", "keys.form")]),
        (f"a={'0' * 64}\na={'1' * 64}", [("f:2", "keys.twice")]),
    ],
)
def test_every_bad_line_of_a_key_file_is_named_and_no_key_repeated(
    text: str, problems: list[tuple[str, str]]
) -> None:
    with pytest.raises(ConfigError) as caught:
        Keyring.parse(text, "f")
    assert [(problem.place, problem.rule) for problem in caught.value.problems] == problems
    assert "00000000" not in str(caught.value)


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f"old={OLD.hex()}\n")
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    sealed = Keyring.load(file).seal(pack(NUMBERS), "c")
    assert Keyring({"old": OLD}).open(sealed, "c").tolist() == pack(NUMBERS).tolist()
    monkeypatch.setenv(KEYS_VARIABLE, f"new={NEW.hex()}")
    with pytest.raises(SealError):
        Keyring.load(file).open(sealed, "c")


def test_missing_keys_are_said_with_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="nowhere"):
        Keyring.load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=KEYS_VARIABLE):
        Keyring.load(None)


def test_a_keyring_without_keys_or_with_a_short_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Keyring({})
    with pytest.raises(ValueError, match="32 bytes"):
        Keyring({"a": b"short"})


def test_opened_addresses_cannot_be_changed_in_place() -> None:
    opened = RING.open(RING.seal(pack(NUMBERS), "c"), "c")
    with pytest.raises(ValueError):
        opened[0] = np.bytes_(b"1")
