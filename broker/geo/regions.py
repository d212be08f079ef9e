"""Divisions of both generations, and who stands on their ground.

The ground of a division is the set of townships, by their oldest codes, that lie in it. Two codes of different
generations meet where their ground does: so an alert for 两江新区 500157 finds the recipients that are still
registered under 江北 500105 or 渝北 500112, and not the five towns of 渝北 that went to 北碚.

Rules:

* Codes of 6, 9 and 12 digits are padded on the right with zeros; 14 digits must end in `00`, which is dropped.
  Nothing else is accepted.
* A date, where one is asked for, chooses the generation whose ground counts: 北碚 500109 lost five units and
  gained five on 2026-01-01. No date means the newest. A code that is not in force on the date keeps the ground
  of its own time.
* Villages have one code in the table, that of the statistical list; a village of a township that changed its
  code hangs below the successor of that township.
* A code as coarse as a district whose ground was divided lies in none of the parts, since nobody can tell where.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from broker.geo.division import PREFIX_DIGITS, Region, prefix_range, read_divisions
from broker.geo.errors import UnknownRegion

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

__all__ = ["Region", "RegionSelector", "Regions", "Resolved"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a code in a message means."""

    given: str
    """The code as it was written."""
    region: Region
    """The division that has this code."""
    current: tuple[Region, ...]
    """Who holds its ground on the date: itself, or its heirs, or those before it."""
    prefixes: tuple[str, ...]
    """Every recipient whose 12-digit code starts with one of these stands on its ground; sorted, disjoint."""

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The same as half-open ranges of integers, sorted and merged."""
        return _merge(prefix_range(prefix) for prefix in self.prefixes)


class RegionSelector:
    """Tells recipients on chosen ground from the others, by their region codes as integers."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self.ranges = _merge(ranges)
        """Half-open, sorted, disjoint."""
        self._starts = np.array([start for start, _ in self.ranges], dtype=np.int64)
        self._ends = np.array([end for _, end in self.ranges], dtype=np.int64)

    def mask(self, regions: IntArray) -> BoolArray:
        """Which of the codes are on the ground, in one search over the sorted ranges."""
        if not self.ranges:
            return np.zeros(len(regions), dtype=np.bool_)
        index = np.searchsorted(self._starts, regions, side="right") - 1
        inside = regions < self._ends[index]  # index -1 reads the last range; the next line takes it back
        return np.asarray(inside & (index >= 0), dtype=np.bool_)


class Regions:
    """All divisions of the city, of every generation."""

    def __init__(self, divisions: dict[str, Region]) -> None:
        self._by_code = divisions

    @classmethod
    def load(cls, path: Path) -> Regions:
        """Read `divisions.csv`; raises GeoDataError with every problem in it."""
        return cls(read_divisions(path))

    def __len__(self) -> int:
        return len(self._by_code)

    def __iter__(self) -> Iterator[Region]:
        return iter(self._by_code.values())

    def __contains__(self, code: str) -> bool:
        return code in self._by_code

    # ── single divisions ──────────────────────────────────────────────────────────────────────────────

    def get(self, code: str) -> Region:
        """The division of a code of 6, 9, 12 or 14 digits; UnknownRegion names the nearest known ones."""
        region = self._by_code.get(code)
        return region if region is not None else self._by_code[self.normalise(code)]

    def normalise(self, code: str) -> str:
        """The known 12-digit form of `code`, or UnknownRegion."""
        if not (code.isascii() and code.isdigit()) or len(code) not in (6, 9, 12, 14):
            raise UnknownRegion(code, "a code has 6, 9, 12 or 14 digits")
        full = code.ljust(12, "0")
        if len(code) == 14:
            if not code.endswith("00"):
                raise UnknownRegion(code, "the last two of 14 digits must be 00", *self._nearest(code[:12]))
            full = code[:12]
        if full not in self._by_code:
            raise UnknownRegion(code, "no division has this code", *self._nearest(full))
        return full

    @staticmethod
    def prefix(code: str) -> str:
        """The leading digits of a 12-digit code: 2 for the city, 6, 9, 12 for the village."""
        for digits in PREFIX_DIGITS.values():
            if not code[digits:].strip("0"):
                return code[:digits]
        return code

    @cached_property
    def city(self) -> Region:
        """The division that all others lie in."""
        return next(region for region in self if region.level == "city")

    def districts(self, on: date | None = None) -> tuple[Region, ...]:
        """The districts and counties of a date, in the order of their codes."""
        day = on or date.max
        return tuple(region for region in self._of_level["district"] if region.valid_on(day))

    def parent_of(self, code: str, on: date | None = None) -> Region | None:
        """The division above, on a date: heirs stand for what has ended, on either step."""
        return self._parent_on(self.get(code), on or date.max)

    def ancestors(self, code: str, on: date | None = None) -> tuple[Region, ...]:
        """What the division lies in, nearest first, the city last."""
        day = on or date.max
        found = []
        above = self._parent_on(self.get(code), day)
        while above is not None:
            found.append(above)
            above = self._parent_on(above, day)
        return tuple(found)

    def children(self, code: str, on: date | None = None) -> tuple[Region, ...]:
        """The divisions one level down that exist on a date, in the order of their codes.

        An ended division has the children that it had on its last day.
        """
        region = self.get(code)
        day = _clamp(region, on or date.max)
        candidates = list(self._below.get(region.code, ()))
        for ended in self._predecessors_of(region):
            candidates.extend(self._below.get(ended.code, ()))
        return tuple(
            sorted(
                (child for child in candidates if child.valid_on(day) and self._parent_on(child, day) == region),
                key=lambda child: child.code,
            )
        )

    def district_of(self, code: str, on: date | None = None) -> Region:
        """The district that holds the division on a date; of a divided district's own code, the principal heir.

        Raises UnknownRegion for the city itself.
        """
        region = self._in_force(self.get(code), on or date.max)[0]
        for candidate in (region, *self.ancestors(region.code, on)):
            if candidate.level == "district":
                return candidate
        raise UnknownRegion(code, "the city lies in no district")

    # ── ground ────────────────────────────────────────────────────────────────────────────────────────

    @lru_cache(maxsize=4_096)  # noqa: B019 - one Regions lives as long as the process
    def resolve(self, code: str, on: date | None = None) -> Resolved:
        """What `code` selects, in the codes of every generation.

        Raises UnknownRegion; an unknown code is never widened to the division around it.
        """
        region = self.get(code)
        day = on or date.max
        return Resolved(code, region, self._in_force(region, day), self._prefixes(region, day))

    def selector(self, codes: Iterable[str], on: date | None = None) -> RegionSelector:
        """Select the union of several divisions; raises UnknownRegion for the first unknown one."""
        return RegionSelector(pair for code in codes for pair in map(prefix_range, self.resolve(code, on).prefixes))

    @lru_cache(maxsize=16_384)  # noqa: B019 - one Regions lives as long as the process
    def contains(self, code: str, other: str, on: date | None = None) -> bool:
        """Whether all ground of `other` lies in `code`; each contains itself."""
        outer = self.resolve(code, on).ranges
        return all(
            any(start <= low and high <= end for start, end in outer)
            for low, high in self.resolve(other, on).ranges
        )

    def districts_of(self, regions: IntArray, on: date | None = None) -> IntArray:
        """The six-digit district of many codes at once; 0 for the city and for codes that nobody knows.

        Follows `district_of`; codes below a known township count as known.
        """
        starts, ends, districts = self._district_table(on or date.max)
        index = np.maximum(np.searchsorted(starts, regions, side="right") - 1, 0)
        known = (regions >= starts[index]) & (regions < ends[index])
        return np.where(known, districts[index], 0)

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _of_level(self) -> dict[str, list[Region]]:
        levels: dict[str, list[Region]] = {level: [] for level in PREFIX_DIGITS}
        for region in self:
            levels[region.level].append(region)
        return {level: sorted(found, key=lambda r: r.code) for level, found in levels.items()}

    @cached_property
    def _below(self) -> dict[str, list[Region]]:
        """Children by the prefix of their codes."""
        below: dict[str, list[Region]] = {}
        for region in self:
            if region.parent is not None:
                below.setdefault(region.parent, []).append(region)
        return below

    @cached_property
    def _predecessors(self) -> dict[str, list[Region]]:
        before: dict[str, list[Region]] = {}
        for region in self:
            for heir in region.successors:
                before.setdefault(heir, []).append(region)
        return before

    def _predecessors_of(self, region: Region) -> Iterator[Region]:
        """All before it, back to the first."""
        for before in self._predecessors.get(region.code, ()):
            yield before
            yield from self._predecessors_of(before)

    def _in_force(self, region: Region, day: date) -> tuple[Region, ...]:
        """Who holds the ground on a day, following heirs forwards or backwards."""
        if region.valid_on(day):
            return (region,)
        forwards = region.valid_to is not None and day > region.valid_to
        related = (
            [self._by_code[heir] for heir in region.successors]
            if forwards
            else self._predecessors.get(region.code, [])
        )
        found = dict.fromkeys(holder for other in related for holder in self._in_force(other, day))
        return tuple(found) or (region,)

    def _parent_on(self, region: Region, day: date) -> Region | None:
        holder = self._in_force(region, day)[0]
        if holder.parent is None:
            return None
        # A village keeps its code when its township's changes, so the parent in the table may have ended.
        return self._in_force(self._by_code[holder.parent], day)[0]

    @cached_property
    def _cells(self) -> dict[str, frozenset[str]]:
        """The ground of every township, as the oldest codes of it."""

        def cells(region: Region) -> frozenset[str]:
            before = self._predecessors.get(region.code)
            if not before:
                return frozenset((region.code,))
            return frozenset[str]().union(*(cells(ended) for ended in before))

        return {region.code: cells(region) for region in self._of_level["township"]}

    def _ground(self, region: Region, day: date) -> frozenset[str]:
        """The cells of a district or township on a day, or on the nearest day that it existed."""
        if region.level == "township":
            return self._cells[region.code]
        then = _clamp(region, day)
        return frozenset[str]().union(
            *(self._cells[town.code] for town in self._below.get(region.code, ()) if town.valid_on(then))
        )

    def _prefixes(self, region: Region, day: date) -> tuple[str, ...]:
        if region.level in ("city", "village"):
            return (region.prefix,)
        return self._ground_prefixes(self._ground(region, day), region)

    def _ground_prefixes(self, ground: frozenset[str], region: Region) -> tuple[str, ...]:
        """All codes on some ground: whole districts where nothing of them is elsewhere, else their townships."""
        found: list[str] = []
        for district in self._of_level["district"]:
            towns = self._below.get(district.code, [])
            inside = [town for town in towns if self._cells[town.code] <= ground]
            if region.level == "district" and inside and len(inside) == len(towns):
                found.append(district.prefix)
                continue
            if district == region:
                found.append(district.code)  # its own code, of those who are placed no finer
            found.extend(town.prefix for town in inside)
        return tuple(sorted(found))

    @lru_cache(maxsize=64)  # noqa: B019 - one Regions lives as long as the process
    def _district_table(self, day: date) -> tuple[IntArray, IntArray, IntArray]:
        """Sorted, disjoint ranges of codes and the district of each."""
        rows = [
            (*prefix_range(town.prefix), int(self.district_of(town.code, day).prefix))
            for town in self._of_level["township"]
        ]
        for district in self._of_level["district"]:
            home = int(self.district_of(district.code, day).prefix)
            rows.append((district.number, district.number + 1, home))
        starts, ends, districts = zip(*sorted(rows), strict=True)
        return (
            np.array(starts, dtype=np.int64),
            np.array(ends, dtype=np.int64),
            np.array(districts, dtype=np.int64),
        )

    @cached_property
    def _sorted_codes(self) -> list[str]:
        return sorted(self._by_code)

    def _nearest(self, code: str) -> tuple[tuple[str, ...], str]:
        """Up to three known codes that share the longest beginning with `code`, and the same for people."""
        here = bisect_left(self._sorted_codes, code)
        around = self._sorted_codes[max(0, here - 4) : here + 4]

        def closeness(known: str) -> tuple[int, int]:
            shared = next((i for i in range(12) if known[i] != code[i]), 12)
            return -shared, abs(int(known) - int(code))

        parents = {code[:digits].ljust(12, "0") for digits in (6, 9)} & self._by_code.keys()
        near = sorted({c for c in around if c[:2] == code[:2]} | parents, key=closeness)[:3]
        return tuple(near), ", ".join(f"{c} {self._by_code[c].name_zh}" for c in near)


def _clamp(region: Region, day: date) -> date:
    """The day itself, or the nearest on which the division existed."""
    if region.valid_to is not None and day > region.valid_to:
        return region.valid_to
    if region.valid_from is not None and day < region.valid_from:
        return region.valid_from
    return day


def _merge(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Sort half-open ranges and join those that touch."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)
