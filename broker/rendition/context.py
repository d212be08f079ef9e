"""What templates may speak of: a segment in one language, as plain texts ready to be read by people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

from broker.cap.level import Level
from broker.cap.model import Alert, Area, Info, Status
from broker.cap.segments import Segment
from broker.geo.errors import UnknownRegion
from broker.geo.regions import Regions
from broker.rendition.words import chinese, listed, local_time
from broker.types import Phase

PLACES_NAMED: Final = 3
"""How many places are named before the rest is counted."""

_CITY_NAMES: Final = ("重庆市", "Chongqing ")
_LEVELS_EN: Final = {Level.RED: "red", Level.ORANGE: "orange", Level.YELLOW: "yellow", Level.BLUE: "blue"}


@dataclass(frozen=True, slots=True)
class Context:
    """The fields of a template. Texts that the warning does not have are empty; none holds a line break."""

    alert: str
    """CAP identifier."""
    status: Status
    language: str
    event: str
    """Event code, for example 11B03."""
    event_name: str
    """The event in the issuer's words."""
    level_code: str
    """Red, Orange, Yellow, Blue, or empty."""
    level: str
    """红色 or red."""
    sender_name: str
    place: str
    """Where, short: up to three places, and how many there are."""
    places: tuple[str, ...]
    sent: str
    """Local times in words."""
    begins: str
    expires: str
    headline: str
    description: str
    instruction: str
    contact: str
    web: str
    note: str
    phase: Phase
    """What it tells its readers. Of what is taken back or no longer concerns them, event, level, place and `sent`
    are the warning's that they know; `note` says why, `instruction` what to do now, if the issuer says it."""
    replaces: tuple[str, ...]
    """Ids of the alerts that it takes back or replaces."""
    expires_at: int
    """UTC milliseconds."""
    plays: int
    """How many times a loudspeaker plays it."""


HIDDEN: Final = frozenset({"status", "expires_at", "replaces"})
"""Fields of the context that are the code's business and not the templates'."""
VARIABLES: Final = frozenset(field.name for field in fields(Context)) - HIDDEN


def context_of(
    alert: Alert,
    segment: Segment,
    info: Info,
    *,
    language: str,
    regions: Regions,
    expires: datetime,
    plays: int = 1,
    phase: Phase = Phase.WARNING,
    replaces: Sequence[str] = (),
) -> Context:
    """The fields for a segment as `info` tells it; `language` is that of the templates."""
    level = segment.level
    places = short_places(info.areas, regions, language)
    begins = info.onset or info.effective or alert.sent
    return Context(
        alert=alert.identifier,
        status=alert.status,
        language=language,
        event=segment.event_code or "",
        event_name=_plain(info.event),
        level_code=level.value if level else "",
        level=(level.chinese if chinese(language) else _LEVELS_EN[level]) if level else "",
        sender_name=_plain(info.sender_name) or _plain(alert.sender),
        place=listed(places, PLACES_NAMED, language),
        places=places,
        sent=local_time(alert.sent.instant, language),
        begins=local_time(begins.instant, language),
        expires=local_time(expires, language),
        headline=_plain(info.headline),
        description=_plain(info.description),
        instruction=_plain(info.instruction),
        contact=_plain(info.contact),
        web=_plain(info.web),
        note=_plain(alert.note),
        phase=phase,
        replaces=() if phase is Phase.WARNING else tuple(replaces),
        expires_at=int(expires.timestamp() * 1000),
        plays=plays,
    )


def short_places(areas: Iterable[Area], regions: Regions, language: str) -> tuple[str, ...]:
    """What the areas are called, without the city's name and with the district's where a code tells it."""
    found: dict[str, None] = {}
    for area in areas:
        name = _plain(area.area_desc)
        for city in _CITY_NAMES:
            if len(name) > len(city):
                name = name.removeprefix(city)
        districts = dict.fromkeys(_district_names(area, regions, language))
        if len(districts) == 1:
            district = next(iter(districts))
            if district not in name:
                name = f"{district}{name}" if chinese(language) else f"{name}, {district}"
        found[name] = None
    return tuple(found)


def _district_names(area: Area, regions: Regions, language: str) -> Iterable[str]:
    for code in area.geocodes:
        try:
            district = regions.district_of(code.value.strip())
        except UnknownRegion:
            continue  # the city itself, or a code that targeting refuses on its own
        yield district.name_zh if chinese(language) else district.name_en


def _plain(text: str | None) -> str:
    """One line without control characters, so that no text can break the layout of a surface."""
    lines = (text or "").split()
    joined = " ".join("".join(char for char in word if char.isprintable()) for word in lines)
    return joined.strip()
