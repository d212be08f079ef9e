"""Shapes that an alert draws on the map, and who stands in them.

Rules (CAP 1.2 §3.2.4, `polygon` and `circle`):

* Points are WGS-84 degrees, written latitude first. Edges of a polygon are straight in the plane of longitude
  and latitude, as drawn on an ordinary map; they do not follow great circles and do not cross 180°.
* A point on an edge or corner is inside. The test is exact for coordinates as people write them: GEOS computes
  the side of an edge with twice the digits of a double.
* Several rings are several polygons; whoever stands in any of them is inside. CAP knows no holes.
* A circle holds the points whose great-circle distance from the centre is at most the radius, on a sphere of
  the mean Earth radius. A radius of 0 holds its centre.
* A shape with anything wrong is refused, never repaired.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely
from shapely.validation import explain_validity

from broker.geo.errors import ShapeError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Ring = Sequence[tuple[float, float]]
"""Points as (latitude, longitude), the last equal to the first."""

EARTH_RADIUS_KM = 6371.0088
"""Mean radius of the Earth (IUGG)."""

HALF_ROUND_KM = math.pi * EARTH_RADIUS_KM
"""No two places are farther apart."""

_KEPT = 256
"""How many polygons are remembered once they are built, of at most so many points each."""
_KEPT_POINTS = 500


@dataclass(frozen=True, slots=True)
class Polygon:
    """One CAP `polygon`."""

    ring: tuple[tuple[float, float], ...]

    def mask(self, lon: FloatArray, lat: FloatArray) -> BoolArray:
        """Which points are inside or on the border; raises ShapeError."""
        return polygon_mask([self.ring], lon, lat)

    def geometry(self) -> shapely.Polygon:
        """The polygon with x = longitude; raises ShapeError. It may be shared: do not prepare it."""
        # Intake asks several times for the polygons of one message. Long rings are left out, so that what is
        # kept stays small whatever is sent.
        return _kept_polygon(self.ring) if len(self.ring) <= _KEPT_POINTS else _polygon(self.ring)


@dataclass(frozen=True, slots=True)
class Circle:
    """One CAP `circle`: centre in degrees, radius in kilometres."""

    lat: float
    lon: float
    radius_km: float

    def mask(self, lon: FloatArray, lat: FloatArray) -> BoolArray:
        """Which points are inside or on the border; raises ShapeError."""
        return circle_mask(self.lat, self.lon, self.radius_km, lon, lat)


def point_problems(lat: float, lon: float) -> list[str]:
    """What is wrong with one place, as sentences; empty when it is on Earth."""
    problems = []
    if not (math.isfinite(lat) and math.isfinite(lon)):
        return [f"{lat}, {lon} are not numbers"]
    if abs(lat) > 90:
        problems.append(f"latitude {lat} is not within -90 and 90{_swap_hint(lat, lon)}")
    if abs(lon) > 180:
        problems.append(f"longitude {lon} is not within -180 and 180")
    return problems


def ring_problems(ring: Ring) -> list[str]:
    """Everything wrong with a polygon, as sentences that count points from 1; empty when it is usable.

    CAP 1.2 wants four points at least, the last the same as the first. Rings that cross or touch themselves,
    or that enclose nothing, are refused because nobody could say who is inside.
    """
    problems = [
        f"point {number}: {complaint}"
        for number, (lat, lon) in enumerate(ring, start=1)
        for complaint in point_problems(lat, lon)
    ]
    if len(ring) < 4:
        problems.append(f"a polygon has at least 4 points, this one {len(ring)}")
    if ring and tuple(ring[0]) != tuple(ring[-1]):
        problems.append("the polygon is not closed: the last point must equal the first")
    if problems:
        return problems
    outline = _outline(ring)
    if outline.is_valid:
        return []
    if outline.convex_hull.geom_type != "Polygon":
        return ["the polygon encloses nothing: all its points are on one line"]
    return [_crossing(outline)]


def circle_problems(lat: float, lon: float, radius_km: float) -> list[str]:
    """Everything wrong with a circle, as sentences; empty when it is usable."""
    problems = [f"centre: {complaint}" for complaint in point_problems(lat, lon)]
    if not math.isfinite(radius_km) or radius_km < 0:
        problems.append(f"radius {radius_km} is not a distance")
    elif radius_km > HALF_ROUND_KM:
        problems.append(f"radius {radius_km} km is more than half round the Earth")
    return problems


def polygon_mask(rings: Sequence[Ring], lon: FloatArray, lat: FloatArray) -> BoolArray:
    """Which of the points stand in any of the polygons or on a border.

    Raises ShapeError with everything wrong with any ring. A point that is not a number is nowhere.
    """
    inside = np.zeros(len(lon), dtype=np.bool_)
    for ring in rings:
        outline = _polygon(ring)
        west, south, east, north = outline.bounds
        near = np.flatnonzero((lon >= west) & (lon <= east) & (lat >= south) & (lat <= north) & ~inside)
        if len(near):
            shapely.prepare(outline)
            inside[near] = shapely.intersects_xy(outline, lon[near], lat[near])
    return inside


def circle_mask(
    centre_lat: float, centre_lon: float, radius_km: float, lon: FloatArray, lat: FloatArray
) -> BoolArray:
    """Which of the points are at most `radius_km` from the centre, along a great circle.

    Raises ShapeError. A point that is not a number is nowhere.
    """
    problems = circle_problems(centre_lat, centre_lon, radius_km)
    if problems:
        raise ShapeError("circle", problems)
    # A degree of latitude is the same everywhere, so this never drops a point of the circle.
    reach = math.degrees(radius_km / EARTH_RADIUS_KM) * (1 + 1e-9) + 1e-9
    near = np.flatnonzero(np.abs(lat - centre_lat) <= reach)
    inside = np.zeros(len(lon), dtype=np.bool_)
    inside[near] = distance_km(centre_lat, centre_lon, lon[near], lat[near]) <= radius_km
    return inside


def distance_km(centre_lat: float, centre_lon: float, lon: FloatArray, lat: FloatArray) -> FloatArray:
    """Great-circle distances from one place to many, by the haversine formula."""
    phi = np.radians(lat)
    centre_phi = math.radians(centre_lat)
    half_chord = (
        np.sin((phi - centre_phi) / 2) ** 2
        + math.cos(centre_phi) * np.cos(phi) * np.sin(np.radians(lon - centre_lon) / 2) ** 2
    )
    arc = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half_chord, 1.0)))
    return np.asarray(arc, dtype=np.float64)


def _polygon(ring: Ring) -> shapely.Polygon:
    problems = ring_problems(ring)
    if problems:
        raise ShapeError("polygon", problems)
    return _outline(ring)


_kept_polygon = lru_cache(maxsize=_KEPT)(_polygon)


def _outline(ring: Ring) -> shapely.Polygon:
    # From one array: an object for each point costs ten times as much.
    made = shapely.polygons(np.array(ring, np.float64)[:, ::-1])
    assert isinstance(made, shapely.Polygon)
    return made


def _crossing(outline: shapely.Polygon) -> str:
    """GEOS's complaint in our words; it ends with the place as [x y]."""
    reason = explain_validity(outline)
    kind, _, where = reason.rstrip("]").partition("[")
    if not where:
        return f"the polygon is not simple: {kind}"
    x, y = where.split()
    return f"the polygon crosses or touches itself at {float(y):g},{float(x):g}"


def _swap_hint(lat: float, lon: float) -> str:
    return " (latitude comes first; are the two swapped?)" if abs(lat) <= 180 and abs(lon) <= 90 else ""
