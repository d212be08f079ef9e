"""The ground that a segment's areas cover: read once, refused when any of it cannot be resolved, never widened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker.cap import model
from broker.cap.names import GEOCODE_NAMES
from broker.errors import Problem, ProblemsError
from broker.geo.districts import Districts
from broker.geo.errors import UnknownRegion
from broker.geo.regions import Regions, RegionSelector
from broker.geo.shapes import Circle, Polygon, circle_problems, ring_problems

RULE: Final = "audience.area"


class AreaUnresolved(ProblemsError):
    """Nobody can say who stands in this area; `problems` says why, in sentences for people."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A union of polygons, circles and divisions.

    CAP 1.2, 3.2.4 makes an area the union of all polygons, circles and geocodes in it, and a segment the
    union of its areas: an area with a polygon *and* a geocode covers both, the one does not narrow the other.
    """

    divisions: RegionSelector
    polygons: tuple[Polygon, ...] = ()
    circles: tuple[Circle, ...] = ()
    codes: tuple[str, ...] = ()
    """The 12-digit codes that were given, in order."""

    def shape_mask(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which places stand in a polygon or circle, borders included; NaN stands nowhere."""
        inside = np.zeros(len(lon), np.bool_)
        for polygon in self.polygons:
            inside |= polygon.mask(lon, lat)
        for circle in self.circles:
            inside |= circle.mask(lon, lat)
        return inside

    def overlaps(self, other: RegionSelector) -> bool:
        """Whether a division of this ground and one of `other` have codes in common."""
        return any(
            start < other_end and other_start < end
            for start, end in self.divisions.ranges
            for other_start, other_end in other.ranges
        )


def resolve(areas: Sequence[model.Area], regions: Regions, districts: Districts, on: date | None = None) -> Ground:
    """The ground of a segment's areas, with the divisions of the day `on`.

    Raises AreaUnresolved with everything that is wrong: no area at all; an area without shape or code, with a
    shape that encloses nothing or cannot be read, with a code that no division has or in a code system that
    is not known here; an area limited by height, since recipients have none; an area that lies outside the
    city with all it has.
    """
    problems: list[Problem] = []
    polygons: list[Polygon] = []
    circles: list[Circle] = []
    codes: list[str] = []
    if not areas:
        problems.append(Problem("area", f"{RULE}.none", "the warning names no area"))
    for number, area in enumerate(areas, 1):
        place = f"area[{number}] {area.area_desc.strip()[:40]!r}"
        complaints = list(_complaints(area, regions))
        if not complaints:
            area_polygons = [Polygon(polygon.points) for polygon in area.polygons]
            area_circles = [_circle(circle) for circle in area.circles]
            shapes: list[Polygon | Circle] = [*area_polygons, *area_circles]
            if shapes and not area.geocodes and all(districts.outside_city(shape) for shape in shapes):
                complaints = [("outside", "lies wholly outside the city")]
            polygons += area_polygons
            circles += area_circles
            codes += [regions.normalise(code.value.strip()) for code in area.geocodes]
        problems += [Problem(place, f"{RULE}.{rule}", f"the area {sentence}") for rule, sentence in complaints]
    if problems:
        raise AreaUnresolved(problems)
    distinct = tuple(dict.fromkeys(codes))
    return Ground(regions.selector(distinct, on), tuple(polygons), tuple(circles), distinct)


def _complaints(area: model.Area, regions: Regions) -> Iterator[tuple[str, str]]:
    """(rule, sentence) for everything that keeps an area from being resolved."""
    if not (area.polygons or area.circles or area.geocodes):
        yield "empty", "has no polygon, circle or geocode: a description alone tells nobody who is inside"
    if area.altitude is not None or area.ceiling is not None:
        yield "height", "is limited by height, but the heights of recipients are not known"
    for polygon in area.polygons:
        if not polygon.points:
            yield "polygon", f"has a polygon that cannot be read: {polygon.text.strip()[:60]!r}"
            continue
        for sentence in ring_problems(polygon.points):
            yield "polygon", f"has a bad polygon: {sentence}"
    for circle in area.circles:
        if circle.center is None or circle.radius_km is None:
            yield "circle", f"has a circle that cannot be read: {circle.text.strip()[:60]!r}"
            continue
        for sentence in circle_problems(*circle.center, circle.radius_km):
            yield "circle", f"has a bad circle: {sentence}"
    for code in area.geocodes:
        if code.value_name.strip() not in GEOCODE_NAMES:
            known = ", ".join(GEOCODE_NAMES)
            yield "geocode", f"has a geocode of the unknown system {code.value_name!r}; known: {known}"
            continue
        try:
            regions.normalise(code.value.strip())
        except UnknownRegion as error:
            yield "geocode", f"has a geocode that cannot be resolved: {error}"


def _circle(circle: model.Circle) -> Circle:
    assert circle.center is not None
    assert circle.radius_km is not None
    return Circle(*circle.center, circle.radius_km)
