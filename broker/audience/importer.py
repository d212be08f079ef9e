"""Import of recipients from CSV: streamed, every bad row reported with its line and reason, good rows kept."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from broker.audience import table
from broker.audience.pages import MAX_GROUPS, MAX_LANGUAGES
from broker.audience.recipients import RecipientColumns, Written, write_all
from broker.errors import Problem
from broker.geo.regions import Regions
from broker.sealing import Keyring
from broker.store.contract import Registry
from broker.types import CHANNELS, ChannelName

_CHUNK: Final = 16_384


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file."""

    rows: int
    """Rows read, the header not counted."""
    added: int
    replaced: int
    problems: tuple[Problem, ...]
    """Everything wrong, in the order of lines; a row may have several."""

    @property
    def imported(self) -> int:
        """Rows that are in the registry now."""
        return self.added + self.replaced


async def import_csv(
    path: Path, store: Registry, keyring: Keyring, regions: Regions, *, strict: bool = False
) -> ImportReport:
    """Read a CSV file into the registry, in one transaction.

    Rows with any problem are left out and reported; with `strict` one problem keeps the whole file out.
    A row whose id is in the registry already replaces what is there.
    """
    parsed = await asyncio.to_thread(_read, path, regions)
    groups = {name for text in parsed.groups for name in text.split("|") if name}
    problems = list(parsed.problems)
    for kind, names, most in (("group", groups, MAX_GROUPS), ("language", set(parsed.languages), MAX_LANGUAGES)):
        n = len(set(await store.names(kind)) | names)
        if n > most:
            message = f"with this file there would be {n} {kind}s; the registry holds {most}"
            problems.append(Problem(f"{path}", f"registry.{kind}s", message))
            strict = True  # no row can be told to be the one too many
    written = Written(0, 0)
    if not (strict and problems) and any(map(len, parsed.channels.values())):
        group_bits = await store.add_names("group", sorted(groups)) if groups else {}
        language_numbers = await store.add_names("language", sorted(parsed.languages))
        written = await write_all(store, keyring, parsed.numbered(group_bits, language_numbers))
    return ImportReport(parsed.rows, written.added, written.replaced, tuple(problems))


@dataclass(slots=True)
class Parsed:
    """A file's good rows by channel, with groups and languages by the numbers of this file, and its problems."""

    rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    channels: dict[ChannelName, RecipientColumns] = field(default_factory=dict)
    group_lists: dict[ChannelName, NDArray[np.int64]] = field(default_factory=dict)
    spoken: dict[ChannelName, NDArray[np.int64]] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    """Lists of groups as they stand in the file."""
    languages: list[str] = field(default_factory=list)

    def numbered(
        self, group_bits: dict[str, int], language_numbers: dict[str, int]
    ) -> dict[ChannelName, RecipientColumns]:
        """The rows with the registry's numbers of groups and languages."""
        masks = [sum(1 << group_bits[name] for name in set(text.split("|")) if name) for text in self.groups]
        mask_of = np.array(masks, np.uint64)
        number_of = np.array([language_numbers[name] for name in self.languages], np.uint8)
        return {
            channel: RecipientColumns(
                rows.ids,
                rows.holders,
                rows.lon,
                rows.lat,
                rows.regions,
                rows.kinds,
                mask_of[self.group_lists[channel]],
                number_of[self.spoken[channel]],
                rows.addresses,
            )
            for channel, rows in self.channels.items()
            if len(rows)
        }


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some rows' columns; `good` tells which rows have no problem."""

    lines: NDArray[np.int64]
    good: NDArray[np.bool_]
    channels: NDArray[np.str_]
    ids: NDArray[np.uint32]
    holders: NDArray[np.uint32]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    regions: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    groups: NDArray[np.int64]
    languages: NDArray[np.int64]
    addresses: NDArray[np.bytes_]


def _read(path: Path, regions: Regions) -> Parsed:
    # Excel writes a byte order mark; bytes that are no UTF-8 must spoil their row only, not the reading.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        return read_recipients(lines, str(path), regions)


def read_recipients(lines: Iterable[str], name: str, regions: Regions) -> Parsed:
    """Read CSV lines; `name` stands for the file in problems."""
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        return Parsed(problems=[Problem(f"{name}:1", "registry.csv", f"not CSV: {error}")])
    wrong = table.header_problems(header)
    if wrong:
        return Parsed(problems=[Problem(f"{name}:1", "registry.header", sentence) for sentence in wrong])
    reading = _Reading(name, [header.index(column) for column in table.COLUMNS], regions)
    reading.read(reader)
    return reading.finish()


class _Reader(Protocol):
    """What `csv.reader` makes."""

    @property
    def line_num(self) -> int: ...
    def __iter__(self) -> Iterator[list[str]]: ...


class _Reading:
    """One pass over a file."""

    def __init__(self, name: str, order: list[int], regions: Regions) -> None:
        self._name = name
        self._order = order
        self._regions = regions
        self._chunks: list[_Chunk] = []
        self._channel = table.channel_words()
        self._kind = table.kind_words()
        self._region = table.region_words(regions)
        self._group = table.group_words()
        self._language = table.language_words()
        self._known: set[str] = set()
        self._found: list[tuple[int, Problem]] = []
        self._rows = 0

    def read(self, reader: _Reader) -> None:
        rows: list[list[str]] = []
        lines: list[int] = []
        for line, row in self._rows_of(reader):
            self._rows += 1
            if len(row) != len(self._order):
                self._refuse(line, "registry.width", f"{len(row)} fields instead of {len(self._order)}")
                continue
            rows.append(row)
            lines.append(line)
            if len(rows) == _CHUNK:
                self._chunks.append(self._chunk(rows, lines))
                rows, lines = [], []
        if rows:
            self._chunks.append(self._chunk(rows, lines))

    def _rows_of(self, reader: _Reader) -> Iterator[tuple[int, list[str]]]:
        while True:
            try:
                for row in reader:
                    if row:
                        yield reader.line_num, row
                return
            except csv.Error as error:
                self._rows += 1
                self._refuse(reader.line_num, "registry.csv", f"not CSV: {error}")

    def _chunk(self, rows: Sequence[Sequence[str]], lines: list[int]) -> _Chunk:
        good = np.ones(len(rows), np.bool_)

        def bad(row: int, rule: str, sentence: str) -> None:
            good[row] = False
            self._refuse(lines[row], rule, sentence)

        columns = list(zip(*rows, strict=True))
        ids, channels, addresses, holders, kinds, regions, lons, lats, groups, languages = (
            columns[position] for position in self._order
        )
        self._channel.numbers(channels, "registry.channel", bad)
        kind = self._kind.numbers(kinds, "registry.kind", bad)
        region = self._region.numbers(regions, "registry.region", bad)
        lon = table.degrees(lons, "longitude", 180, "registry.lon", bad)
        lat = table.degrees(lats, "latitude", 90, "registry.lat", bad)
        for row in np.flatnonzero((np.isnan(lon) != np.isnan(lat)) & good):
            bad(int(row), "registry.place", "a place needs both longitude and latitude")
        kind_of = np.array([table.KINDS[text] for text in self._kind.texts] or [0], np.uint8)
        region_of = np.array([self._regions.get(text).number for text in self._region.texts] or [0], np.int64)
        return _Chunk(
            ids=table.integers(ids, "id", "registry.id", bad),
            holders=table.integers(holders, "holder", "registry.holder", bad),
            groups=self._group.numbers(groups, "registry.groups", bad),
            languages=self._language.numbers(languages, "registry.language", bad),
            addresses=table.addresses(addresses, channels, self._regions, self._known, bad),
            lines=np.array(lines, np.int64),
            good=good,
            channels=np.array(channels),
            lon=lon,
            lat=lat,
            regions=region_of[region],
            kinds=kind_of[kind],
        )

    def finish(self) -> Parsed:
        """Join the chunks and look for what can only be seen over the whole file: ids and addresses twice."""
        parsed = Parsed(rows=self._rows, groups=self._group.texts, languages=self._language.texts)
        for channel in CHANNELS:
            parts = [(chunk, chunk.good & (chunk.channels == str(channel))) for chunk in self._chunks]
            parts = [(chunk, mask) for chunk, mask in parts if mask.any()]
            if not parts:
                continue
            lines = np.concatenate([chunk.lines[mask] for chunk, mask in parts])
            ids = np.concatenate([chunk.ids[mask] for chunk, mask in parts])
            addresses = np.concatenate([chunk.addresses[mask] for chunk, mask in parts])
            keep = self._first(ids, lines, f"{channel}: the id {{}}", "registry.id", show=True)
            # Not repeated even here: an address in a report is an address in a log.
            keep &= self._first(addresses, lines, f"{channel}: the address", "registry.address", show=False)
            columns = {
                name: np.concatenate([getattr(chunk, name)[mask] for chunk, mask in parts])[keep]
                for name in ("holders", "lon", "lat", "regions", "kinds", "groups", "languages")
            }
            n = int(np.count_nonzero(keep))
            parsed.group_lists[channel] = columns["groups"]
            parsed.spoken[channel] = columns["languages"]
            parsed.channels[channel] = RecipientColumns(
                ids=ids[keep],
                holders=columns["holders"],
                lon=columns["lon"],
                lat=columns["lat"],
                regions=columns["regions"],
                kinds=columns["kinds"],
                groups=np.zeros(n, np.uint64),
                languages=np.zeros(n, np.uint8),
                addresses=addresses[keep],
            )
        parsed.problems = [problem for _, problem in sorted(self._found, key=lambda found: found[0])]
        return parsed

    def _first(
        self,
        values: NDArray[np.uint32] | NDArray[np.bytes_],
        lines: NDArray[np.int64],
        what: str,
        rule: str,
        *,
        show: bool,
    ) -> NDArray[np.bool_]:
        """Which rows hold a value for the first time; the others are reported."""
        _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
        first_of = first[inverse]
        again: NDArray[np.bool_] = first_of != np.arange(len(values))
        for row in np.flatnonzero(again):
            thing = what.format(values[row]) if show else what
            self._refuse(int(lines[row]), rule, f"{thing} stands already on line {lines[first_of[row]]}")
        return ~again

    def _refuse(self, line: int, rule: str, sentence: str) -> None:
        self._found.append((line, Problem(f"{self._name}:{line}", rule, sentence)))
