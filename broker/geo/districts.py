"""Polygons of the districts: to draw them, to place a point in one, to tell a shape that misses the city.

Polygons marked `approximate` are only drawn: a geocode selects recipients by code, never by these borders.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape

from broker.errors import Problem
from broker.geo.errors import GeoDataError, ShapeError
from broker.geo.shapes import Circle, Polygon, circle_problems, distance_km


@dataclass(frozen=True, slots=True)
class District:
    """One district or county and its outline."""

    code: str
    """Twelve digits."""
    name_zh: str
    name_en: str
    approximate: bool
    """The outline is not the published border: good enough to draw, not to decide."""
    valid_from: date | None
    valid_to: date | None
    outline: shapely.Polygon | shapely.MultiPolygon
    """x = longitude, y = latitude, degrees WGS-84."""

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees."""
        west, south, east, north = self.outline.bounds
        return west, south, east, north

    def valid_on(self, day: date) -> bool:
        """Whether the district exists on `day`."""
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_to is None or day <= self.valid_to
        )


class Districts:
    """The districts of every generation, and the city that they make up."""

    def __init__(self, districts: Iterable[District]) -> None:
        self._by_code = {district.code: district for district in districts}
        self.city: shapely.Polygon | shapely.MultiPolygon = _areal(
            shapely.union_all([district.outline for district in self])
        )
        """The union of all outlines."""
        shapely.prepare(self.city)
        for district in self:
            shapely.prepare(district.outline)

    @classmethod
    def load(cls, path: Path) -> Districts:
        """Read `districts.geojson`; raises GeoDataError naming every feature that is wrong."""
        try:
            features = json.loads(path.read_text(encoding="utf-8"))["features"]
        except (ValueError, KeyError, TypeError) as error:
            raise GeoDataError([Problem(str(path), "districts.geojson", f"not GeoJSON: {error}")]) from error
        problems: list[Problem] = []
        found: dict[str, District] = {}
        for number, feature in enumerate(features):
            place = f"{path}#/features/{number}"
            try:
                district = _district(feature)
            except (ValueError, KeyError, TypeError, shapely.errors.ShapelyError) as error:
                problems.append(Problem(place, "districts.feature", f"{type(error).__name__}: {error}"))
                continue
            if district.code in found:
                problems.append(Problem(place, "districts.unique", f"{district.code} comes twice"))
            found[district.code] = district
        if not found and not problems:
            problems.append(Problem(str(path), "districts.geojson", "no features"))
        if problems:
            raise GeoDataError(problems)
        return cls(found.values())

    def __iter__(self) -> Iterator[District]:
        return iter(self._by_code.values())

    def __len__(self) -> int:
        return len(self._by_code)

    def get(self, code: str) -> District | None:
        """The district of a 6- or 12-digit code, or None where there is no outline."""
        return self._by_code.get(code.ljust(12, "0"))

    def on(self, day: date | None = None) -> tuple[District, ...]:
        """The districts of a date (None: the newest), by code; together they cover the city once."""
        return tuple(sorted((d for d in self if d.valid_on(day or date.max)), key=lambda district: district.code))

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """West, south, east, north of the city."""
        west, south, east, north = self.city.bounds
        return west, south, east, north

    def district_at(self, lon: float, lat: float, on: date | None = None) -> District | None:
        """The district drawn at a place, None outside the city; on a shared border the lowest code.

        For maps and messages to people. Where the outline is approximate, so is the answer.
        """
        return next((d for d in self.on(on) if bool(shapely.intersects_xy(d.outline, lon, lat))), None)

    def outside_city(self, target: Polygon | Circle) -> bool:
        """Whether a shape has no point in common with the city; raises ShapeError for a bad shape."""
        if isinstance(target, Polygon):
            return not bool(shapely.intersects(self.city, target.geometry()))
        problems = circle_problems(target.lat, target.lon, target.radius_km)
        if problems:
            raise ShapeError("circle", problems)
        return self.distance_km(target.lat, target.lon) > target.radius_km

    def distance_km(self, lat: float, lon: float) -> float:
        """Great-circle distance to the city, 0 inside.

        On each edge the nearest point is found in a plane with the scale of the place itself, which is some
        metres off at most where the answer matters, within a few hundred kilometres.
        """
        if bool(shapely.intersects_xy(self.city, lon, lat)):
            return 0.0
        parts = shapely.get_parts(shapely.boundary(self.city))
        return min(_distance_to_line(shapely.get_coordinates(part), lat, lon) for part in parts)


def _distance_to_line(line: np.ndarray[Any, np.dtype[np.float64]], lat: float, lon: float) -> float:
    """Least great-circle distance from a place to a chain of straight edges."""
    squeeze = math.cos(math.radians(lat))
    start, step = line[:-1], np.diff(line, axis=0)
    scale = np.array([squeeze, 1.0])
    towards, along = (np.array([lon, lat]) - start) * scale, step * scale
    length = np.maximum((along**2).sum(axis=1), np.finfo(np.float64).tiny)
    share = np.clip((towards * along).sum(axis=1) / length, 0.0, 1.0)
    nearest = np.vstack([start + step * share[:, None], line])
    return float(distance_km(lat, lon, nearest[:, 0], nearest[:, 1]).min())


def _district(feature: Any) -> District:
    """One feature; ValueError, KeyError or TypeError say what is wrong with it."""
    properties = feature["properties"]
    code = properties["code"]
    if len(code) != 12 or not code.isdigit():
        raise ValueError(f"code {code!r} is not twelve digits")
    if not isinstance(properties["approximate"], bool):
        raise TypeError(f"{code}: approximate is neither true nor false")
    outline = _areal(shape(feature["geometry"]))
    if not outline.is_valid:
        raise ValueError(f"{code}: {shapely.is_valid_reason(outline)}")
    return District(
        code,
        str(properties["name_zh"]),
        str(properties["name_en"]),
        properties["approximate"],
        _day(properties["valid_from"]),
        _day(properties["valid_to"]),
        outline,
    )


def _areal(geometry: shapely.Geometry) -> shapely.Polygon | shapely.MultiPolygon:
    if not isinstance(geometry, (shapely.Polygon, shapely.MultiPolygon)):
        raise TypeError(f"{type(geometry).__name__} instead of a polygon")
    return geometry


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
