"""Targeting by polygon and circle, against slow exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from broker.geo.errors import ShapeError
from broker.geo.shapes import (
    EARTH_RADIUS_KM,
    Circle,
    Polygon,
    circle_mask,
    circle_problems,
    polygon_mask,
    ring_problems,
)

Point = tuple[float, float]
SQUARE = [(29.0, 106.0), (29.0, 107.0), (30.0, 107.0), (30.0, 106.0), (29.0, 106.0)]


def side(a: Point, b: Point, p: Point) -> int:
    """Which side of the line a-b holds p, exactly: the sign of the cross product."""
    (ay, ax), (by, bx), (py, px) = ((Fraction(v[0]), Fraction(v[1])) for v in (a, b, p))
    cross = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
    return (cross > 0) - (cross < 0)


def on_edge(a: Point, b: Point, p: Point) -> bool:
    return (
        side(a, b, p) == 0
        and min(a[0], b[0]) <= p[0] <= max(a[0], b[0])
        and min(a[1], b[1]) <= p[1] <= max(a[1], b[1])
    )


def holds(ring: list[Point], p: Point) -> bool:
    """Whether a (lat, lon) ring holds a point: on an edge, or an odd number of edges to the east of it."""
    if any(on_edge(a, b, p) for a, b in pairwise(ring)):
        return True
    odd = False
    for a, b in pairwise(ring):
        low, high = (a, b) if a[0] < b[0] else (b, a)
        if low[0] <= p[0] < high[0] and side(low, high, p) > 0:
            odd = not odd
    return odd


def crosses(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether two segments have a point in common, exactly."""
    if any(on_edge(*pair) for pair in ((a, b, c), (a, b, d), (c, d, a), (c, d, b))):
        return True
    return side(a, b, c) != side(a, b, d) and side(c, d, a) != side(c, d, b)


def simple(ring: list[Point]) -> bool:
    """Whether no two edges meet but where they follow each other: brute force over all pairs."""
    edges = list(pairwise(ring))
    n = len(edges)
    for i in range(n):
        for j in range(i + 1, n):
            (a, b), (c, d) = edges[i], edges[j]
            if j == i + 1 or (i == 0 and j == n - 1):
                first, shared, last = (a, b, d) if j == i + 1 else (c, a, b)
                if n > 2 and (on_edge(first, shared, last) or on_edge(shared, last, first)):
                    return False
            elif crosses(a, b, c, d):
                return False
    return True


lattice = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda p: (29 + p[0] / 8, 106 + p[1] / 8))
decimal = st.tuples(st.integers(0, 3_000_000), st.integers(0, 3_000_000)).map(
    lambda p: (28_500_000 + p[0], 105_500_000 + p[1])
).map(lambda p: (p[0] / 1e6, p[1] / 1e6))  # fmt: skip


@st.composite
def rings(draw: st.DrawFn) -> list[Point]:
    """Simple rings: points in order of their angle round a point among them, on a lattice or with six decimals."""
    kind = draw(st.sampled_from([lattice, decimal]))
    points = draw(st.lists(kind, min_size=3, max_size=12, unique=True))
    lat0, lon0 = draw(kind)
    points.sort(key=lambda p: (math.atan2(p[0] - lat0, p[1] - lon0), math.dist(p, (lat0, lon0))))
    ring = [*points, points[0]]
    assume(simple(ring))
    return ring


@settings(deadline=None)
@given(rings(), st.data())
def test_a_polygon_holds_exactly_the_points_that_exact_arithmetic_says(
    ring: list[Point], data: st.DataObject
) -> None:
    probes = data.draw(st.lists(st.one_of(lattice, decimal), max_size=20))
    probes += ring
    probes += [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in pairwise(ring)]
    probes += [(math.nextafter(lat, 90), lon) for lat, lon in ring]
    probes += [(lat, math.nextafter(lon, 0)) for lat, lon in ring]
    lat, lon = (np.array(values) for values in zip(*probes, strict=True))
    assert polygon_mask([ring], lon, lat).tolist() == [holds(ring, p) for p in probes]


@settings(deadline=None)
@given(st.lists(lattice, min_size=3, max_size=7))
def test_a_ring_is_usable_exactly_when_its_edges_do_not_meet(points: list[Point]) -> None:
    assume(all(a != b for a, b in pairwise([*points, points[0]])))
    ring = [*points, points[0]]
    assert (ring_problems(ring) == []) == simple(ring)


def test_several_rings_are_the_union_of_polygons() -> None:
    east = [(lat, lon + 2) for lat, lon in SQUARE]
    lon, lat = np.array([106.5, 107.5, 108.5, 108.0]), np.array([29.5, 29.5, 29.5, 29.0])
    assert polygon_mask([SQUARE, east], lon, lat).tolist() == [True, False, True, True]
    assert polygon_mask([SQUARE, SQUARE], lon, lat).tolist() == [True, False, False, False]


def test_the_border_is_inside() -> None:
    lon, lat = np.array([106.0, 106.5, 107.0, 107.0000001]), np.array([29.0, 30.0, 29.25, 29.25])
    assert Polygon(tuple(SQUARE)).mask(lon, lat).tolist() == [True, True, True, False]


def test_a_point_that_is_no_number_is_nowhere() -> None:
    lon, lat = np.array([np.nan, 106.5]), np.array([29.5, np.nan])
    assert not polygon_mask([SQUARE], lon, lat).any()
    assert not circle_mask(29.5, 106.5, 20000, lon, lat).any()


def test_nobody_is_in_nothing() -> None:
    empty = np.array([], dtype=np.float64)
    assert polygon_mask([SQUARE], empty, empty).tolist() == []
    assert circle_mask(29.5, 106.5, 1, empty, empty).tolist() == []
    assert polygon_mask([], np.array([106.5]), np.array([29.5])).tolist() == [False]


@pytest.mark.parametrize(
    ("ring", "complaints"),
    [
        ([], ["at least 4 points"]),
        (SQUARE[:3], ["at least 4 points", "not closed"]),
        (SQUARE[:4], ["not closed"]),
        ([SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3], SQUARE[0]], ["crosses or touches itself at 29.5,106.5"]),
        ([(29, 106), (30, 107), (31, 108), (29, 106)], ["encloses nothing"]),
        ([(29, 106)] * 4, ["encloses nothing"]),
        ([(29, 106), (29, 107), (float("nan"), 107), (29, 106)], ["point 3: nan, 107 are not numbers"]),
        ([(29, 106), (29, float("inf")), (30, 107), (29, 106)], ["point 2"]),
        ([(106, 29), (107, 29), (107, 30), (106, 29)], ["point 1: latitude 106", "point 2", "point 3", "point 4"]),
        ([(29, 181), (29, 107), (30, 107), (29, 181)], ["point 1: longitude 181", "point 4: longitude 181"]),
    ],
)
def test_every_fault_of_a_ring_is_named(ring: list[Point], complaints: list[str]) -> None:
    found = ring_problems(ring)
    assert len(found) == len(complaints)
    assert all(complaint in text for complaint, text in zip(complaints, found, strict=True)), found
    with pytest.raises(ShapeError) as caught:
        polygon_mask([SQUARE, ring], np.array([106.5]), np.array([29.5]))
    assert [problem.message for problem in caught.value.problems] == found


def test_swapped_latitude_and_longitude_are_pointed_out() -> None:
    assert "swapped" in ring_problems([(106.0, 29.0), (107.0, 29.0), (107.0, 30.0), (106.0, 29.0)])[0]


def great_circle_km(a: Point, b: Point) -> float:
    """The angle between two directions from the centre of the Earth, by vectors rather than haversines."""

    def direction(p: Point) -> tuple[float, float, float]:
        lat, lon = math.radians(p[0]), math.radians(p[1])
        return math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)

    u, v = direction(a), direction(b)
    cross = math.hypot(u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
    return EARTH_RADIUS_KM * math.atan2(cross, sum(x * y for x, y in zip(u, v, strict=True)))


anywhere = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
nearby = st.tuples(st.floats(28, 33), st.floats(105, 111))


@settings(deadline=None)
@given(st.one_of(nearby, anywhere), st.lists(st.one_of(nearby, anywhere), min_size=1), st.floats(0, 500))
def test_a_circle_holds_the_points_that_are_no_farther_than_its_radius(
    centre: Point, points: list[Point], radius: float
) -> None:
    lat, lon = (np.array(values) for values in zip(*points, strict=True))
    mask = circle_mask(centre[0], centre[1], radius, lon, lat)
    for point, inside in zip(points, mask, strict=True):
        distance = great_circle_km(centre, point)
        if abs(distance - radius) > 1e-6:  # a millimetre of rounding between two formulas
            assert inside == (distance < radius)


@settings(deadline=None)
@given(anywhere)
def test_a_circle_without_radius_holds_its_centre(centre: Point) -> None:
    assert circle_mask(*centre, 0.0, np.array([centre[1]]), np.array([centre[0]])).tolist() == [True]


def test_a_degree_along_the_meridian_has_its_known_length() -> None:
    degree = EARTH_RADIUS_KM * math.pi / 180
    lon, lat = np.array([108.0]), np.array([31.0])
    assert Circle(30.0, 108.0, degree * 1.000001).mask(lon, lat).tolist() == [True]
    assert Circle(30.0, 108.0, degree * 0.999999).mask(lon, lat).tolist() == [False]


def test_a_circle_reaches_over_the_date_line_and_the_pole() -> None:
    assert circle_mask(0, 179.9, 50, np.array([-179.9]), np.array([0.0])).tolist() == [True]
    assert circle_mask(89.9, 0, 50, np.array([180.0]), np.array([89.9])).tolist() == [True]


@pytest.mark.parametrize(
    ("circle", "complaints"),
    [
        ((29, 106, -1), ["radius -1"]),
        ((29, 106, float("nan")), ["radius nan"]),
        ((29, 106, 30000), ["half round the Earth"]),
        ((106, 29, float("inf")), ["centre: latitude 106", "radius inf"]),
        ((float("nan"), 106, 1), ["centre: nan"]),
    ],
)
def test_every_fault_of_a_circle_is_named(circle: tuple[float, float, float], complaints: list[str]) -> None:
    found = circle_problems(*circle)
    assert len(found) == len(complaints)
    assert all(complaint in text for complaint, text in zip(complaints, found, strict=True)), found
    with pytest.raises(ShapeError):
        circle_mask(*circle, np.array([106.0]), np.array([29.0]))
