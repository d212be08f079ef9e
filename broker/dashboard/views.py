"""What the live page is told of one alert, read from the store, and what changed between two readings.

A view is plain JSON. Its numbers are the ledger's counters as they are; nothing is estimated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from broker.cap.document import read
from broker.cap.model import Alert, Area
from broker.dashboard.curves import drawn, marks
from broker.geo.errors import UnknownEvent
from broker.geo.events import EventCatalogue
from broker.intake.accept import form_of
from broker.intake.departments import Departments
from broker.store.records import AlertEvent, AlertRecord, CounterRow, CurveRow

View = dict[str, Any]
Cells = dict[str, dict[str, list[int]]]
"""Channel → district (six digits) → counts in the order of COUNT_NAMES."""

_MOST_POINTS: Final = 400
"""Of one drawn polygon; a warning's area is shown, not decided, by this."""
_SEPARATE: Final = ("cells", "curve")
"""Fields that change a little at a time and are compared piece by piece."""


class Names:
    """Names of events and departments in both languages, where they are known."""

    def __init__(self, events: EventCatalogue | None = None, departments: Departments | None = None) -> None:
        self._events = events
        self._departments = {each.id: each for each in departments} if departments is not None else {}

    def event(self, code: str) -> dict[str, str]:
        """Code and names; an event that the catalogue does not know is called by its code."""
        if self._events is not None:
            try:
                event = self._events.get(code)
            except UnknownEvent:
                pass
            else:
                return {"code": code, "zh": event.zh, "en": event.en}
        return {"code": code, "zh": code, "en": code}

    def department(self, department: str) -> dict[str, str]:
        """Id and names."""
        known = self._departments.get(department)
        if known is None:
            return {"id": department, "zh": department, "en": department}
        return {"id": department, "zh": known.name_zh, "en": known.name_en}


def original(record: AlertRecord) -> View:
    """What only the message itself tells: headline and area in each language, and the shapes to draw.

    `record` must have its body. A body that cannot be read gives the record's headline alone.
    """
    alert = read(record.body, form_of(record.content_type)).alert if record.body else None
    headlines: dict[str, str] = {}
    areas: defaultdict[str, list[str]] = defaultdict(list)
    for info in alert.infos if alert is not None else ():
        language = info.language_tag.partition("-")[0].casefold()
        if info.headline:
            headlines.setdefault(language, info.headline)
        areas[language].extend(area.area_desc for area in info.areas if area.area_desc not in areas[language])
    return {
        "headline": record.headline,
        "headlines": headlines,
        "areas": dict(areas),
        "shapes": [] if alert is None else _shapes(alert),
    }


def _shapes(alert: Alert) -> list[View]:
    """Every polygon and circle once: the same area comes again in each language."""
    shapes: dict[str, View] = {}
    for info in alert.infos:
        for area in info.areas:
            for text, shape in _of(area):
                shapes.setdefault(text, shape)
    return list(shapes.values())


def _of(area: Area) -> list[tuple[str, View]]:
    found: list[tuple[str, View]] = []
    for polygon in area.polygons:
        points = polygon.points[:: len(polygon.points) // _MOST_POINTS + 1]
        if points:
            found.append((polygon.text, {"polygon": [[round(lat, 4), round(lon, 4)] for lat, lon in points]}))
    found.extend(
        (circle.text, {"circle": [*circle.center, circle.radius_km]})
        for circle in area.circles
        if circle.center is not None and circle.radius_km is not None
    )
    return found


def facts(record: AlertRecord, names: Names) -> View:
    """The alert's own facts. Times are UTC milliseconds."""
    return {
        "id": record.id,
        "identifier": record.identifier,
        "sender": record.sender,
        "status": record.status,
        "msgType": record.msg_type,
        "level": record.level,
        "event": names.event(record.event),
        "department": names.department(record.department),
        "state": str(record.state),
        "reason": record.reason,
        "received": record.received,
        "released": record.released,
        "planned": record.planned,
        "completed": record.completed,
        "expires": record.expires,
    }


def history(events: list[AlertEvent]) -> list[View]:
    """The moves, oldest first."""
    return [{"at": event.at, "state": str(event.state), "who": event.who, "why": event.why} for event in events]


def reach(counters: list[CounterRow], curve: list[CurveRow]) -> View:
    """Counts by channel and district, the curves, and when 50, 90 and 99 percent were delivered."""
    cells: Cells = {}
    planned: defaultdict[str, int] = defaultdict(int)
    for row in counters:
        cells.setdefault(str(row.channel), {})[f"{row.district:06d}"] = list(row.counts)
        planned[str(row.channel)] += row.counts[0]
    return {"cells": cells, "curve": drawn(curve), "marks": marks(curve, planned)}


def difference(old: View, new: View) -> View | None:
    """What must be told to turn `old` into `new`, or None if they are equal.

    `set` holds whole fields; `cells` the cells that changed; `curve` for each changed curve the number of
    points that stay and those that follow. Whole channels or curves that vanish make the field be set anew.
    """
    patch: View = {}
    fields = {name: value for name, value in new.items() if name not in _SEPARATE and old.get(name) != value}
    if fields:
        patch["set"] = fields
    if old.get("cells") != new["cells"]:
        cells = _changed_cells(old.get("cells", {}), new["cells"])
        if cells is None:
            patch.setdefault("set", {})["cells"] = new["cells"]
        else:
            patch["cells"] = cells
    if old.get("curve") != new["curve"]:
        curves = _changed_curves(old.get("curve", {}), new["curve"])
        if curves is None:
            patch.setdefault("set", {})["curve"] = new["curve"]
        else:
            patch["curve"] = curves
    return {"id": new["id"], **patch} if patch else None


def _changed_cells(old: Cells, new: Cells) -> Cells | None:
    changed: Cells = {}
    for channel, districts in old.items():
        if districts.keys() - new.get(channel, {}).keys():
            return None
    for channel, districts in new.items():
        before = old.get(channel, {})
        differ = {district: counts for district, counts in districts.items() if before.get(district) != counts}
        if differ:
            changed[channel] = differ
    return changed


def _changed_curves(old: Mapping[str, Any], new: Mapping[str, Any]) -> View | None:
    changed: defaultdict[str, View] = defaultdict(dict)
    for channel, curves in old.items():
        if curves.keys() - new.get(channel, {}).keys():
            return None
    for channel, curves in new.items():
        for milestone, points in curves.items():
            before = old.get(channel, {}).get(milestone, [])
            if before == points:
                continue
            keep = 0
            while keep < min(len(before), len(points)) and before[keep] == points[keep]:
                keep += 1
            changed[channel][milestone] = {"keep": keep, "points": points[keep:]}
    return dict(changed)
