"""Authority: is this alert the department's to give, in event, place and level? What is not granted is refused."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import shapely

from broker.cap.model import Alert, Area, MsgType
from broker.cap.names import EVENT_CODE_NAME, GEOCODE_NAMES
from broker.cap.segments import Segment, segments
from broker.errors import Problem
from broker.geo.districts import Districts
from broker.geo.errors import ShapeError, UnknownRegion
from broker.geo.events import EventCatalogue
from broker.geo.regions import Regions
from broker.geo.shapes import EARTH_RADIUS_KM, Circle, Polygon, circle_problems
from broker.intake.departments import Department

_SLACK_DEGREES = 0.01
"""How far a district station's shape may reach over its border, about a kilometre: borders are drawn coarsely."""
_RIM_POINTS = 360
_LONGEST_IDENTIFIER = 256
"""Characters. CAP sets no limit, but every store keys alerts by it, and none takes keys of any length."""


class Authority:
    """Checks alerts against a department's authority and against what the broker can resolve."""

    def __init__(self, regions: Regions, districts: Districts, events: EventCatalogue) -> None:
        self._regions = regions
        self._districts = districts
        self._events = events

    def problems(self, alert: Alert, department: Department) -> tuple[list[Problem], list[Problem]]:
        """(what is not allowed to this department, what cannot be understood or is not supported)."""
        denied: list[Problem] = []
        unclear: list[Problem] = []
        if alert.sender not in department.senders:
            message = f"this sender is not one of {department.id}: {', '.join(department.senders)}"
            denied.append(Problem("/alert/sender", "authority.sender", message, alert.sender))
        if len(alert.identifier) > _LONGEST_IDENTIFIER:
            message = f"{len(alert.identifier)} characters; at most {_LONGEST_IDENTIFIER} are taken"
            unclear.append(Problem("/alert/identifier", "intake.identifier.length", message))
        # Of a Cancel only the words are used: it goes to those who had the alert, whatever area it draws.
        # Ack and Error answer somebody and warn of nothing.
        if alert.msg_type not in (MsgType.ALERT, MsgType.UPDATE):
            return denied, unclear
        for segment in segments(alert):
            place = f"/alert/info[{1 + alert.infos.index(segment.infos[0])}]"
            self._event(segment, department, place, denied, unclear)
            self._level(segment, department, place, denied, unclear)
            for number, area in enumerate(segment.areas, 1):
                where = f"{place}/area[{number}]"
                unclear += self._unresolvable(area, where)
                denied += self._foreign(area, department, where)
        return denied, unclear

    def _event(
        self, segment: Segment, department: Department, place: str, denied: list[Problem], unclear: list[Problem]
    ) -> None:
        code = segment.event_code
        if code is None:
            message = f"an eventCode with valueName {EVENT_CODE_NAME!r} is needed, for example 11B03"
            unclear.append(Problem(f"{place}/eventCode", "intake.event.absent", message))
        elif code not in self._events:
            message = f"no national event code {code!r}"
            unclear.append(Problem(f"{place}/eventCode", "intake.event.unknown", message, code))
        elif not department.may_warn_of(code):
            message = f"{department.id} may not warn of {code}; it may of {', '.join(department.events)}"
            denied.append(Problem(f"{place}/eventCode", "authority.event", message, code))

    @staticmethod
    def _level(
        segment: Segment, department: Department, place: str, denied: list[Problem], unclear: list[Problem]
    ) -> None:
        level = segment.level
        if level is None:
            message = "severity Unknown is no warning level; Extreme, Severe, Moderate or Minor is needed"
            unclear.append(Problem(f"{place}/severity", "intake.level", message))
        elif level not in department.levels:
            message = f"{department.id} may not give level {level}; it may {', '.join(department.levels)}"
            denied.append(Problem(f"{place}/severity", "authority.level", message, str(level)))

    def _unresolvable(self, area: Area, place: str) -> Iterator[Problem]:
        if not (area.polygons or area.circles or area.geocodes):
            yield Problem(place, "intake.area.empty", "an area needs a polygon, a circle or a geocode")
        for number, geocode in enumerate(area.geocodes, 1):
            where = f"{place}/geocode[{number}]"
            if geocode.value_name not in GEOCODE_NAMES:
                message = f"only geocodes named {' or '.join(map(repr, GEOCODE_NAMES))} are understood"
                yield Problem(where, "intake.geocode.name", message, geocode.value_name)
                continue
            try:
                self._regions.resolve(geocode.value)
            except UnknownRegion as error:
                yield Problem(where, "intake.geocode.unknown", str(error), geocode.value)
        for where, shape in shapes(area, place):
            try:
                outside = self._districts.outside_city(shape)
            except ShapeError as error:
                for problem in error.problems:
                    yield Problem(where, "intake.shape", problem.message, problem.value)
                continue
            if outside:
                yield Problem(where, "intake.area.outside", "this area has no point in the city")

    def _foreign(self, area: Area, department: Department, place: str) -> Iterator[Problem]:
        granted = [prefix.ljust(12, "0") for prefix in department.prefixes]
        names = ", ".join(department.prefixes)
        for number, geocode in enumerate(area.geocodes, 1):
            if geocode.value_name in GEOCODE_NAMES and not self._covered(granted, geocode.value):
                message = f"{department.id} may warn {names} only"
                yield Problem(f"{place}/geocode[{number}]", "authority.region", message, geocode.value)
        if any(len(prefix) == 2 for prefix in department.prefixes):
            return  # the whole city: what lies over the border reaches nobody
        territory = self._territory(tuple(granted))
        for where, shape in shapes(area, place):
            try:
                inside = territory is not None and _within(shape, territory)
            except ShapeError:
                continue  # reported as unresolvable
            if not inside:
                message = f"this area reaches beyond {names}, which is all that {department.id} may warn"
                yield Problem(where, "authority.region", message)

    def _covered(self, granted: list[str], code: str) -> bool:
        try:
            return any(self._regions.contains(region, code) for region in granted)
        except UnknownRegion:
            return True  # reported as unknown: telling it twice helps nobody

    @lru_cache(maxsize=256)  # noqa: B019 - one Authority lives as long as the process
    def _territory(self, granted: tuple[str, ...]) -> shapely.Geometry | None:
        """What these regions cover, with the slack, prepared for many questions."""
        outlines = [found.outline for code in granted if (found := self._districts.get(code)) is not None]
        if not outlines:
            return None
        territory = shapely.buffer(shapely.union_all(outlines), _SLACK_DEGREES)
        shapely.prepare(territory)
        return territory


def shapes(area: Area, place: str) -> Iterator[tuple[str, Polygon | Circle]]:
    """Each polygon and circle of an area that can be read, with its place below `place`."""
    for number, polygon in enumerate(area.polygons, 1):
        yield f"{place}/polygon[{number}]", Polygon(polygon.points)
    for number, circle in enumerate(area.circles, 1):
        if circle.center is not None and circle.radius_km is not None:
            yield f"{place}/circle[{number}]", Circle(*circle.center, circle.radius_km)


def _within(shape: Polygon | Circle, territory: shapely.Geometry) -> bool:
    geometry = shape.geometry() if isinstance(shape, Polygon) else rim(shape)
    return bool(shapely.covers(territory, geometry))


def rim(circle: Circle) -> shapely.Polygon:
    """The circle as it reaches on the sphere, where a degree of longitude is shorter than one of latitude.

    Raises ShapeError.
    """
    problems = circle_problems(circle.lat, circle.lon, circle.radius_km)
    if problems:
        raise ShapeError("circle", problems)
    bearing = np.linspace(0, 2 * np.pi, _RIM_POINTS, endpoint=False)
    lat, lon = np.radians(circle.lat), np.radians(circle.lon)
    arc = circle.radius_km / EARTH_RADIUS_KM
    lats = np.arcsin(np.sin(lat) * np.cos(arc) + np.cos(lat) * np.sin(arc) * np.cos(bearing))
    lons = lon + np.arctan2(np.sin(bearing) * np.sin(arc) * np.cos(lat), np.cos(arc) - np.sin(lat) * np.sin(lats))
    return shapely.Polygon(np.degrees(np.column_stack((lons, lats))))
