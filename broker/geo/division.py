"""One division, and the reading of `divisions.csv`, which holds all of them.

Codes have twelve digits and form a prefix tree: two digits name the city, six the district (GB/T 2260), nine
the township, twelve the village; the rest is zeros.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from broker.errors import Problem
from broker.geo.errors import GeoDataError

LEVELS = ("city", "district", "township", "village")
"""From the top down."""

PREFIX_DIGITS = {"city": 2, "district": 6, "township": 9, "village": 12}
"""How many leading digits of a code tell a division of this level from the others."""

PARENT_DIGITS = {"city": 0, "district": 2, "township": 6, "village": 9}

COLUMNS = [
    "code",
    "name_zh",
    "name_en",
    "level",
    "parent",
    "valid_from",
    "valid_to",
    "successors",
    "lon",
    "lat",
    "place",
    "population",
]

PLACES = ("synthetic", "centroid")


@dataclass(frozen=True, slots=True)
class Region:
    """A division of the city, down to the village."""

    code: str
    """Twelve digits."""
    name_zh: str
    name_en: str
    level: str
    """One of LEVELS."""
    parent: str | None
    """Code of the division that the prefix names; None for the city. It may have ended before its children."""
    valid_from: date | None
    """First day; None where it began before the table does."""
    valid_to: date | None
    """Last day; None while it lasts."""
    successors: tuple[str, ...]
    """Where its ground went, the principal heir first."""
    lon: float
    """Degrees east, WGS-84."""
    lat: float
    """Degrees north, WGS-84."""
    place: str
    """`centroid`: a point inside the district's polygon; `synthetic`: drawn by rule, not a real place."""
    population: int | None
    """Residents, approximate; districts and city only."""

    @property
    def number(self) -> int:
        """The code as the integer that recipients carry."""
        return int(self.code)

    @property
    def prefix(self) -> str:
        """The leading digits shared by the division and everything under it."""
        return self.code[: PREFIX_DIGITS[self.level]]

    def valid_on(self, day: date) -> bool:
        """Whether the division exists on `day`."""
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_to is None or day <= self.valid_to
        )


def prefix_range(prefix: str) -> tuple[int, int]:
    """The half-open range of 12-digit codes that start with `prefix`."""
    width = 10 ** (12 - len(prefix))
    start = int(prefix) * width
    return start, start + width


def level_of(code: str) -> str:
    """The level that the zeros of a 12-digit code tell."""
    if code[9:] != "000":
        return "village"
    if code[6:9] != "000":
        return "township"
    return "district" if code[2:6] != "0000" else "city"


def read_divisions(path: Path) -> dict[str, Region]:
    """Read and check `divisions.csv`.

    Raises GeoDataError naming every bad line: a wrong header, a code that is not twelve digits or comes
    twice, a level that the zeros of the code contradict, a parent that is not there or is not the code's
    prefix, a successor that is not there, of another level or not later, a bad date or coordinate.
    """
    regions: dict[str, Region] = {}
    problems: list[Problem] = []
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines)
        if next(reader, None) != COLUMNS:
            message = f"the first line must be {','.join(COLUMNS)}"
            raise GeoDataError([Problem(f"{path}:1", "regions.header", message)])
        for row in reader:
            place = f"{path}:{reader.line_num}"
            try:
                region = _parse(row)
            except ValueError as error:
                problems.append(Problem(place, "regions.value", str(error)))
                continue
            if region.code in regions:
                problems.append(Problem(place, "regions.unique", f"{region.code} comes twice"))
            regions[region.code] = region
    problems.extend(Problem(f"{path}", "regions.tree", message) for message in _tree_complaints(regions))
    if problems:
        raise GeoDataError(problems)
    return regions


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None


def _parse(row: list[str]) -> Region:
    """One line; ValueError says what is wrong with it."""
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} columns instead of {len(COLUMNS)}")
    code, name_zh, name_en, level, parent, begins, ends, heirs, lon_text, lat_text, place, people = row
    if len(code) != 12 or not (code.isascii() and code.isdigit()):
        raise ValueError(f"code {code!r} is not twelve digits")
    if level != level_of(code):
        raise ValueError(f"{code} cannot be a {level!r}")
    if not name_zh or not name_en:
        raise ValueError(f"{code} has no name in both languages")
    lon, lat = float(lon_text), float(lat_text)
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):  # also refuses NaN
        raise ValueError(f"{code}: {lon_text}, {lat_text} is no place on Earth")
    if place not in PLACES:
        raise ValueError(f"{code}: place is {place!r}, not one of {', '.join(PLACES)}")
    return Region(
        code,
        name_zh,
        name_en,
        level,
        parent or None,
        _day(begins),
        _day(ends),
        tuple(heirs.split("|")) if heirs else (),
        lon,
        lat,
        place,
        int(people) if people else None,
    )


def _tree_complaints(regions: dict[str, Region]) -> Iterator[str]:
    """What contradicts itself between lines."""
    if not regions:
        yield "no divisions at all"
    for code, region in regions.items():
        digits = PARENT_DIGITS[region.level]
        expected = code[:digits].ljust(12, "0") if digits else None
        if region.parent != expected:
            yield f"{code}: the parent is {region.parent}, but the code says {expected}"
        elif expected is not None and expected not in regions:
            yield f"{code}: its parent {expected} is missing"
        if region.successors:
            yield from _succession_complaints(region, regions)


def _succession_complaints(region: Region, regions: dict[str, Region]) -> Iterator[str]:
    """What is wrong with one division's successors."""
    if region.valid_to is None:
        yield f"{region.code} has successors but no last day"
    if region.level in ("township", "village") and len(region.successors) > 1:
        # Nothing under a township says which of its parts went where: the ground could not be told apart.
        yield f"{region.code}: a {region.level} can have one successor only"
    for heir in region.successors:
        found = regions.get(heir)
        if found is None:
            yield f"{region.code}: its successor {heir} is missing"
        elif found.level != region.level:
            yield f"{region.code}: its successor {heir} is a {found.level}"
        elif found.valid_to and region.valid_to and found.valid_to <= region.valid_to:
            yield f"{region.code}: its successor {heir} does not outlast it"
