"""The registry's CSV form: its columns, and what is wrong with a value in each of them.

Values are judged column by column over many rows at once: the common case costs one look at the whole column,
and only a column that fails it is looked at row by row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker.audience.pages import MAX_ID
from broker.geo.errors import UnknownRegion
from broker.geo.regions import Regions
from broker.types import CHANNELS, ChannelName, Kind
from broker.yamlfile import suggestion

COLUMNS: Final = (
    "id",
    "channel",
    "address",
    "holder",
    "kind",
    "region",
    "lon",
    "lat",
    "groups",
    "language",
)
"""The header; the order in the file is free. `groups` are separated by |, `lon` and `lat` may both be empty."""

KINDS: Final = {kind.name.lower(): int(kind) for kind in Kind}

Bad = Callable[[int, str, str], None]
"""Takes row, rule and sentence of something wrong."""

_ADDRESSES: Final = {
    ChannelName.SMS: (re.compile(r"[1-9][0-9]{6,14}"), "7 to 15 digits of an E.164 number without +"),
    ChannelName.BROADCAST: (re.compile(r"[1-6][0-9]{22}"), "the 23 digits of a broadcast resource code"),
    ChannelName.APP: (re.compile(r"[A-Za-z0-9_-]{1,24}"), "an installation id of up to 24 letters and digits"),
    ChannelName.SIGNAGE: (re.compile(r"[A-Za-z0-9_-]{1,24}"), "a screen id of up to 24 letters and digits"),
}
_GROUP: Final = re.compile(r"[\w-]{1,40}")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_DEGREES: Final = re.compile(r"-?[0-9]{1,3}(\.[0-9]+)?")
_DEGREE_SIGNS: Final = frozenset("0123456789.-")


class Words:
    """Gives each distinct text of a column a number, judging it only when it comes for the first time."""

    def __init__(self, judge: Callable[[str], str | None]) -> None:
        self._judge = judge
        self._numbers: dict[str, int] = {}
        self._wrong: dict[str, str] = {}
        self.texts: list[str] = []

    def numbers(self, column: Sequence[str], rule: str, bad: Bad) -> NDArray[np.int64]:
        """The number of each row's text; rows with a bad text are reported and get 0."""
        for text in set(column) - self._numbers.keys() - self._wrong.keys():
            wrong = self._judge(text)
            if wrong is None:
                self._numbers[text] = len(self.texts)
                self.texts.append(text)
            else:
                self._wrong[text] = wrong
        if not self._wrong:
            return np.array([self._numbers[text] for text in column], np.int64)
        found = np.zeros(len(column), np.int64)
        for row, text in enumerate(column):
            if text in self._wrong:
                bad(row, rule, self._wrong[text])
            else:
                found[row] = self._numbers[text]
        return found


def channel_words() -> Words:
    """The column `channel`."""
    return Words(
        lambda text: (
            None
            if text in CHANNELS
            else f"no channel {text!r}{suggestion(text, CHANNELS)}; known: {', '.join(CHANNELS)}"
        )
    )


def kind_words() -> Words:
    """The column `kind`."""
    return Words(
        lambda text: (
            None if text in KINDS else f"no kind {text!r}{suggestion(text, KINDS)}; known: {', '.join(KINDS)}"
        )
    )


def language_words() -> Words:
    """The column `language`."""
    return Words(lambda text: None if _LANGUAGE.fullmatch(text) else f"{text!r} is no language tag like zh-CN")


def group_words() -> Words:
    """The column `groups`: each text is a whole list."""

    def judge(text: str) -> str | None:
        wrong = [name for name in text.split("|") if not _GROUP.fullmatch(name)] if text else []
        return f"no names of groups: {', '.join(map(repr, wrong))}" if wrong else None

    return Words(judge)


def region_words(regions: Regions) -> Words:
    """The column `region`: a code of 6, 9 or 12 digits that some division has or had."""

    def judge(text: str) -> str | None:
        try:
            regions.get(text)
        except UnknownRegion as error:
            return str(error)
        return None

    return Words(judge)


def integers(column: Sequence[str], what: str, rule: str, bad: Bad) -> NDArray[np.uint32]:
    """A column of unsigned 32-bit integers."""
    joined = "".join(column)
    if joined.isascii() and joined.isdigit() and all(column) and max(map(len, column)) <= 10:
        values = np.array(list(map(int, column)), np.int64)
        if len(values) and int(values.max()) <= MAX_ID:
            return values.astype(np.uint32)
    found = np.zeros(len(column), np.uint32)
    for row, text in enumerate(column):
        if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID:
            found[row] = int(text)
        else:
            bad(row, rule, f"{what} {text[:20]!r} is no whole number from 0 to {MAX_ID}")
    return found


def degrees(column: Sequence[str], what: str, limit: int, rule: str, bad: Bad) -> NDArray[np.float64]:
    """A column of degrees; NaN where it is empty."""
    if set("".join(column)) <= _DEGREE_SIGNS:
        try:
            values = np.array([float(text) if text else np.nan for text in column], np.float64)
        except ValueError:
            values = np.full(len(column), np.inf)
        if not (np.abs(values) > limit).any():
            return values
    found = np.full(len(column), np.nan)
    for row, text in enumerate(column):
        if not text:
            continue
        if not _DEGREES.fullmatch(text):
            bad(row, rule, f"{what} {text[:20]!r} is no number of degrees")
        elif abs(float(text)) > limit:
            bad(row, rule, f"{what} {text[:20]} is not within -{limit} and {limit}")
        else:
            found[row] = float(text)
    return found


def addresses(
    column: Sequence[str], channels: Sequence[str], regions: Regions, known: set[str], bad: Bad
) -> NDArray[np.bytes_]:
    """A column of addresses, each in the form of its row's channel; what is wrong never repeats an address.

    `known` collects divisions that broadcast addresses name and that are known to exist.
    """
    found: list[bytes] = []
    for row, (text, channel) in enumerate(zip(column, channels, strict=True)):
        form = _ADDRESSES.get(channel)  # type: ignore[call-overload]  # a StrEnum equals its text
        if form is None:
            found.append(b"")  # the channel itself is reported
        elif not form[0].fullmatch(text):
            bad(row, "registry.address", f"the address is not {form[1]}")
            found.append(b"")
        else:
            if channel == ChannelName.BROADCAST and text[1:13] not in known:
                if text[1:13] in regions:
                    known.add(text[1:13])
                else:
                    message = f"the address names the division {text[1:13]}, which nobody knows"
                    bad(row, "registry.address", message)
            found.append(text.encode("ascii"))
    return np.array(found, np.bytes_)


def header_problems(header: Iterable[str]) -> list[str]:
    """What is wrong with the first line."""
    names = list(header)
    said = [f"no column {name!r} here{suggestion(name, COLUMNS)}" for name in names if name not in COLUMNS]
    said += [f"the column {name!r} is missing" for name in COLUMNS if name not in names]
    said += [f"the column {name!r} comes twice" for name in COLUMNS if names.count(name) > 1]
    return said
