"""Segments: the infos of one alert that say the same thing in different languages."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from broker.cap.level import Level
from broker.cap.model import Alert, Area, CapTime, Category, Info, NamedValue, Severity
from broker.cap.names import EVENT_CODE_NAMES


@dataclass(frozen=True, slots=True)
class Segment:
    """Infos of one alert that share event, level and area.

    `number` counts from 1 in document order. `expires` is the earliest of its infos, so that no text goes
    out after its own end; `onset` is the earliest too; both ignore infos that name none. `areas` are those
    of the first info: the others cover the same, perhaps described in another language.
    """

    number: int
    infos: tuple[Info, ...]
    level: Level | None
    event_code: str | None
    event_codes: tuple[NamedValue, ...]
    areas: tuple[Area, ...]
    onset: CapTime | None
    expires: CapTime | None

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages it is written in, in document order, each once; en-US where none was declared."""
        return tuple(dict.fromkeys(info.language_tag for info in self.infos))

    def in_language(self, language: str) -> tuple[Info, ...]:
        """The infos in a language, compared without regard to case; empty when there are none."""
        wanted = language.casefold()
        return tuple(info for info in self.infos if info.language_tag.casefold() == wanted)

    def best_info(self, *languages: str) -> Info:
        """The info to read out to somebody who prefers these languages, in this order.

        The exact tag goes before the same primary language (zh for zh-CN); without a match it is the
        first info, since a warning in another language is better than none.
        """
        for language in languages:
            exact = self.in_language(language)
            if exact:
                return exact[0]
            primary = _primary(language)
            for info in self.infos:
                if _primary(info.language_tag) == primary:
                    return info
        return self.infos[0]


@dataclass(slots=True)
class _Group:
    severity: Severity
    area: Hashable
    codes: frozenset[NamedValue]
    categories: frozenset[Category]
    infos: list[Info]

    def takes(self, info: Info) -> bool:
        if info.severity is not self.severity or _area_key(info.areas) != self.area:
            return False
        codes = frozenset(info.event_codes)
        if codes or self.codes:
            return codes == self.codes
        language = info.language_tag.casefold()
        same_language = [other for other in self.infos if other.language_tag.casefold() == language]
        if same_language:
            return any(other.event == info.event for other in same_language)
        return frozenset(info.categories) == self.categories


def segments(alert: Alert) -> list[Segment]:
    """The segments of an alert, in the order in which their first info stands.

    Events are the same when their sets of eventCodes are. Infos without any are told apart by the text of
    `event` within a language, and matched across languages by order: an info joins the first segment of the
    same level, area and categories that its language is not in yet. Areas are the same when they are the
    union of the same polygons, circles and geocodes at the same heights; areaDesc counts only where there
    is nothing else, since it is translated.
    """
    groups: list[_Group] = []
    for info in alert.infos:
        group = next((group for group in groups if group.takes(info)), None)
        if group is None:
            codes, categories = frozenset(info.event_codes), frozenset(info.categories)
            groups.append(_Group(info.severity, _area_key(info.areas), codes, categories, [info]))
        else:
            group.infos.append(info)
    return [_segment(number, group.infos) for number, group in enumerate(groups, 1)]


def _segment(number: int, infos: list[Info]) -> Segment:
    first = infos[0]
    return Segment(
        number=number,
        infos=tuple(infos),
        level=Level.of(first.severity),
        event_code=first.event_code(*EVENT_CODE_NAMES),
        event_codes=first.event_codes,
        areas=first.areas,
        onset=_earliest(info.onset for info in infos),
        expires=_earliest(info.expires for info in infos),
    )


def _earliest(times: Iterable[CapTime | None]) -> CapTime | None:
    known = [time for time in times if time is not None]
    return min(known, key=lambda time: time.instant) if known else None


def _area_key(areas: tuple[Area, ...]) -> Hashable:
    return frozenset(shape for area in areas for shape in _shapes(area))


def _shapes(area: Area) -> Iterable[Hashable]:
    heights = (
        area.altitude and (area.altitude.feet, area.altitude.feet is None and area.altitude.text),
        area.ceiling and (area.ceiling.feet, area.ceiling.feet is None and area.ceiling.text),
    )
    for polygon in area.polygons:
        yield "polygon", polygon.points or polygon.text, heights
    for circle in area.circles:
        yield "circle", (circle.center, circle.radius_km) if circle.center else circle.text, heights
    for code in area.geocodes:
        yield "geocode", code, heights
    if not (area.polygons or area.circles or area.geocodes):
        yield "described", area.area_desc, heights


def _primary(language: str) -> str:
    return language.partition("-")[0].casefold()
