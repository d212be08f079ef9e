"""Who should get a warning, counted the slow way: one recipient at a time, in plain Python, from the alert's bytes.

Nothing here shares code with the targeting that it checks: it has its own reading of the XML, its own
point-in-polygon and its own great circle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from broker.types import Kind

_CAP = "{urn:oasis:names:tc:emergency:cap:1.2}"
_EARTH_KM = 6371.0088


@dataclass(frozen=True, slots=True)
class Row:
    """One recipient, as the count needs it."""

    id: int
    lon: float
    lat: float
    region: str
    kind: int


@dataclass(frozen=True, slots=True)
class NaiveArea:
    """The area of an alert, read from its XML."""

    polygons: tuple[tuple[tuple[float, float], ...], ...]
    circles: tuple[tuple[float, float, float], ...]
    prefixes: tuple[str, ...]

    @classmethod
    def of(cls, body: bytes) -> NaiveArea:
        """Read every area of every info; they say the same in each language."""
        root = ET.fromstring(body)  # noqa: S314 - the demo's own bytes
        polygons = set()
        circles = set()
        prefixes = set()
        for area in root.iter(f"{_CAP}area"):
            for polygon in area.findall(f"{_CAP}polygon"):
                pairs = (polygon.text or "").split()
                polygons.add(tuple((float(p.split(",")[0]), float(p.split(",")[1])) for p in pairs))
            for circle in area.findall(f"{_CAP}circle"):
                centre, radius = (circle.text or "").split()
                circles.add((float(centre.split(",")[0]), float(centre.split(",")[1]), float(radius)))
            for geocode in area.findall(f"{_CAP}geocode"):
                code = geocode.findtext(f"{_CAP}value") or ""
                prefixes.add(code.rstrip("0") if len(code.rstrip("0")) > 9 else code[:9])
        return cls(tuple(polygons), tuple(circles), tuple(prefixes))

    def holds(self, row: Row) -> bool:
        """Whether a recipient is in the area."""
        return (
            any(row.region.startswith(prefix) for prefix in self.prefixes)
            or any(_in_polygon(row.lat, row.lon, polygon) for polygon in self.polygons)
            or any(_km(row.lat, row.lon, lat, lon) <= radius for lat, lon, radius in self.circles)
        )


def expected(rows: Iterable[Row], area: NaiveArea) -> set[int]:
    """Ids of the public and duty recipients in the area (an Actual alert never reaches training ones)."""
    return {row.id for row in rows if row.kind != Kind.TRAINING and area.holds(row)}


def _in_polygon(lat: float, lon: float, polygon: tuple[tuple[float, float], ...]) -> bool:
    inside = False
    for (lat1, lon1), (lat2, lon2) in itertools.pairwise(polygon):
        if (lat1 > lat) != (lat2 > lat) and lon < (lon2 - lon1) * (lat - lat1) / (lat2 - lat1) + lon1:
            inside = not inside
    return inside


def _km(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    phi1, phi2 = math.radians(lat1), math.radians(lat2)
    half = (
        math.sin((phi2 - phi1) / 2) ** 2
        + math.cos(phi1) * math.cos(phi2) * math.sin(math.radians(lon2 - lon1) / 2) ** 2
    )
    return 2 * _EARTH_KM * math.asin(math.sqrt(half))
