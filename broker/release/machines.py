"""Whether what a machine posted is plausible enough to go out without a person, and every reason why not.

A chain of sensors has no doubts of its own: a magnitude computed wrongly, a gauge that sends the same alarm all
night. So each limit is asked, and what cannot be judged counts as outside of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from broker.cap.model import Alert, Area, Info, MsgType
from broker.cap.names import GEOCODE_NAMES
from broker.cap.segments import segments
from broker.cap.values import parse_number
from broker.clock import from_ms
from broker.geo.districts import Districts
from broker.geo.errors import ShapeError, UnknownRegion
from broker.geo.events import pattern_covers
from broker.geo.regions import Regions
from broker.geo.shapes import EARTH_RADIUS_KM, Circle, Polygon
from broker.intake.authority import rim, shapes
from broker.intake.departments import Bounds, MachineLimits
from broker.intake.tokens import Scope
from broker.store.contract import Store
from broker.store.records import AlertRecord

HOUR_MS: Final = 3_600_000
_PAGE: Final = 200
_WARNINGS: Final = (MsgType.ALERT, MsgType.UPDATE)


@dataclass(slots=True)
class Machines:
    """Knows which tokens are machines', and judges what they post."""

    store: Store
    regions: Regions
    districts: Districts
    _known: dict[str, bool] = field(default_factory=dict)
    """Token id → whether it is a machine's, which never changes."""

    async def posted(self, record: AlertRecord) -> bool:
        """Whether a machine is the author."""
        if record.author not in self._known:
            machines = await self._tokens()
            self._known |= dict.fromkeys(machines, True)
            self._known.setdefault(record.author, False)
        return self._known[record.author]

    async def excesses(self, record: AlertRecord, alert: Alert, limits: MachineLimits | None) -> list[str]:
        """Every limit that the alert does not keep, as sentences; empty when it may go out at once."""
        if limits is None:
            return ["the department sets no limits for machines"]
        return [
            *_of_segments(alert, limits),
            *self._of_extent(alert, limits, from_ms(record.received).date()),
            *_of_parameters(alert, limits),
            *await self._of_rate(record, limits),
            *await self.of_references(record),
        ]

    async def of_references(self, record: AlertRecord) -> list[str]:
        """A machine replaces only what a machine has posted."""
        machines = await self._tokens()
        said = []
        for reference in await self.store.references(record.id):
            if reference.target is None:
                said.append(f"it refers to {reference.identifier}, which was not posted")
            elif (await self.store.alert(reference.target)).author not in machines:
                said.append(f"it refers to {reference.identifier}, which a person posted")
        return said

    async def _tokens(self) -> frozenset[str]:
        return frozenset(token.id for token in await self.store.tokens() if Scope.MACHINE in token.scopes)

    async def _of_rate(self, record: AlertRecord, limits: MachineLimits) -> list[str]:
        """All that machines posted within the hour counts, released or not, before this one or after it.

        Of several admitted at once the last to look sees all the others, so never more than the limit go out.
        """
        machines = await self._tokens()
        since, before, n = record.received - HOUR_MS, None, 1
        while True:
            page = await self.store.alerts(
                department=record.department, statuses=(record.status,), since=since, before=before, limit=_PAGE
            )
            n += sum(
                each.id != record.id
                and each.author in machines
                and each.msg_type in _WARNINGS
                and each.received <= record.received + HOUR_MS
                for each in page
            )
            if len(page) < _PAGE:
                break
            before = page[-1].id
        if n <= limits.max_per_hour:
            return []
        return [f"machines posted {n} warnings within an hour, more than {limits.max_per_hour}"]

    def _of_extent(self, alert: Alert, limits: MachineLimits, today: date) -> Iterator[str]:
        try:
            ground, touched = self._extent([area for part in segments(alert) for area in part.areas], today)
        except (ShapeError, UnknownRegion, ValueError) as error:
            yield f"how far it reaches cannot be told: {error}"
            return
        km2 = area_km2(ground)
        if not km2 <= limits.max_area_km2:
            yield f"its area is {km2:,.0f} km², more than {limits.max_area_km2:,.0f} km²"
        if len(touched) > limits.max_districts:
            yield f"it reaches into {len(touched)} districts, more than {limits.max_districts}"

    def _extent(self, areas: list[Area], today: date) -> tuple[shapely.Geometry, set[str]]:
        """The ground of all areas, and the codes of the districts it touches. Raises ValueError if unknown."""
        if not areas:
            raise ValueError("it has no area")
        present = self.districts.on(today)
        parts: list[shapely.Geometry] = []
        touched: set[str] = set()
        for area in areas:
            for code in area.geocodes:
                if code.value_name not in GEOCODE_NAMES:
                    raise ValueError(f"a geocode of {code.value_name!r}")
                for district in self._districts_of(code.value.strip(), today):
                    touched.add(district)
                    found = self.districts.get(district)
                    if found is None:
                        raise ValueError(f"no outline of {district} is known")
                    parts.append(found.outline)
            for _, shape in shapes(area, ""):
                geometry = _drawn(shape)
                parts.append(geometry)
                touched |= {each.code for each in present if bool(shapely.intersects(each.outline, geometry))}
        if not parts:
            raise ValueError("no area has a polygon, circle or geocode")
        return shapely.union_all(parts), touched

    def _districts_of(self, code: str, today: date) -> list[str]:
        region = self.regions.get(code)
        if region.level == "city":
            return [each.code for each in self.districts.on(today)]
        return [self.regions.district_of(region.code, today).code]


def area_km2(ground: shapely.Geometry) -> float:
    """Square kilometres on the sphere of what is drawn in degrees: the equal-area cylinder keeps them."""

    def flat(points: NDArray[np.float64]) -> NDArray[np.float64]:
        lon, lat = np.radians(points[:, 0]), np.radians(points[:, 1])
        return np.column_stack((lon, np.sin(lat))) * EARTH_RADIUS_KM

    return float(shapely.area(shapely.transform(ground, flat)))


def _drawn(shape: Polygon | Circle) -> shapely.Geometry:
    if isinstance(shape, Polygon):
        return shape.geometry()
    return rim(shape) if shape.radius_km > 0 else shapely.Point(shape.lon, shape.lat)


def _of_segments(alert: Alert, limits: MachineLimits) -> Iterator[str]:
    for part in segments(alert):
        event, level = part.event_code or "", part.level
        if not any(pattern_covers(pattern, event) for pattern in limits.events):
            yield f"machines may warn of {', '.join(limits.events)}, not of {event or 'no event code'}"
        if level is None or level not in limits.levels:
            yield f"machines may give {', '.join(limits.levels)}, not {level or 'no level'}"


def _of_parameters(alert: Alert, limits: MachineLimits) -> Iterator[str]:
    for number, info in enumerate(alert.infos, 1):
        for name, bounds in limits.parameters.items():
            if (said := _excess(info, name, bounds)) is not None:
                yield f"info {number}: {said}"


def _excess(info: Info, name: str, bounds: Bounds) -> str | None:
    """Every value of the name counts: of two that differ nobody knows which was measured."""
    given = [each.value for each in info.parameters if each.value_name == name]
    if not given:
        return f"the parameter {name} is missing"
    for text in given:
        value = parse_number(text.strip())
        if value is None:
            return f"the parameter {name} is {text[:40]!r}, not a number"
        if bounds.min is not None and value < bounds.min:
            return f"{name} is {text.strip()}, less than {bounds.min:g}"
        if bounds.max is not None and value > bounds.max:
            return f"{name} is {text.strip()}, more than {bounds.max:g}"
    return None
