"""What can be wrong with the shape of a polygon once its points are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import shapely
from shapely.validation import explain_validity

Point = tuple[float, float]

_KEPT_POINTS = 500
"""The answer for a longer polygon is not remembered, so that what is kept stays small whatever is sent."""

HALF_TURN = 180.0
"""Degrees of longitude beyond which a ring is not told apart from its complement."""


def ring_problems(points: Sequence[Point]) -> Iterator[tuple[str, str]]:
    """Yield (kind, sentence) for each problem of a ring of (latitude, longitude) points in range.

    Kinds are `points`, `closed`, `flat`, `crossing` and `span`. Shapes are judged in the plane of degrees,
    as CAP draws them (CAP 1.2, 3.2.4); a ring that is too short or open is not judged for its shape.
    """
    if len(points) < 4:
        yield "points", f"{len(points)} pairs, at least 4 are needed"
    if points[0] != points[-1]:
        first, last = _shown(points[0]), _shown(points[-1])
        yield "closed", f"it starts at {first} and ends at {last}; the last pair must repeat the first"
    longitudes = [longitude for _, longitude in points]
    width = max(longitudes) - min(longitudes)
    if width > HALF_TURN:
        yield "span", f"it spans {width:g} degrees of longitude; does it cross the 180th meridian?"
    if len(points) >= 4 and points[0] == points[-1]:
        # The infos of one message mostly draw the same polygon, once for each language.
        yield from _kept_problems(tuple(points)) if len(points) <= _KEPT_POINTS else _shape_problems(points)


@lru_cache(maxsize=256)
def _kept_problems(points: tuple[Point, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(_shape_problems(points))


def _shape_problems(points: Sequence[Point]) -> Iterator[tuple[str, str]]:
    # From one array: an object for each point costs ten times as much.
    polygon = shapely.polygons(np.array(points, np.float64)[:, ::-1])
    assert isinstance(polygon, shapely.Polygon)
    if polygon.area == 0 and len(set(points)) < 3:
        yield "flat", "it has fewer than three different points"
    elif shapely.is_valid(polygon):
        return
    elif polygon.convex_hull.area == 0:
        yield "flat", "its points lie on one line and enclose nothing"
    else:
        yield "crossing", f"it crosses or touches itself near {_near(explain_validity(polygon))}"


def _near(explanation: str) -> str:
    """The place in GEOS's `Self-intersection[lon lat]`, as lat,lon."""
    inside = explanation.partition("[")[2].rstrip("]").split()
    return f"{inside[1]},{inside[0]}" if len(inside) == 2 else "an unknown place"


def _shown(point: Point) -> str:
    return f"{point[0]!r},{point[1]!r}"
