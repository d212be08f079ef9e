"""Builds an alert in Python the way our departments write theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from broker.cap import names
from broker.cap.level import Level
from broker.cap.model import (
    Alert,
    Area,
    CapTime,
    Category,
    Certainty,
    Circle,
    Info,
    MsgType,
    NamedValue,
    Polygon,
    Reference,
    ResponseType,
    Scope,
    Status,
    Urgency,
)


@dataclass(frozen=True, slots=True)
class Translation:
    """The words of an alert in one more language; `area_descs` name its areas, in order, where given."""

    language: str
    event_name: str
    headline: str
    description: str
    instruction: str
    sender_name: str | None = None
    area_descs: tuple[str, ...] = ()


def polygon_area(area_desc: str, points: Sequence[tuple[float, float]]) -> Area:
    """An area of one polygon of (latitude, longitude) points in degrees; it is closed when left open."""
    ring = list(points)
    if ring and ring[0] != ring[-1]:
        ring.append(ring[0])
    text = " ".join(f"{_number(latitude)},{_number(longitude)}" for latitude, longitude in ring)
    return Area(area_desc, polygons=(Polygon.parse(text),))


def circle_area(area_desc: str, latitude: float, longitude: float, radius_km: float) -> Area:
    """An area of one circle: centre in degrees, radius in kilometres."""
    text = f"{_number(latitude)},{_number(longitude)} {_number(radius_km)}"
    return Area(area_desc, circles=(Circle.parse(text),))


def geocode_area(area_desc: str, codes: Iterable[str], *, value_name: str = names.GEOCODE_NAME) -> Area:
    """An area of regions, given by their national division codes."""
    return Area(area_desc, geocodes=tuple(NamedValue(value_name, code) for code in codes))


def reference_to(alert: Alert) -> Reference:
    """The reference by which an Update or Cancel names `alert`."""
    return Reference(alert.sender, alert.identifier, alert.sent)


def compose(
    identifier: str,
    sender: str,
    sent: datetime,
    event_code: str,
    event_name: str,
    level: Level,
    headline: str,
    description: str,
    instruction: str,
    *,
    areas: Sequence[Area],
    expires: datetime,
    onset: datetime | None = None,
    language: str = "zh-CN",
    translations: Sequence[Translation] = (),
    sender_name: str | None = None,
    category: Category = Category.MET,
    response_types: Sequence[ResponseType] = (),
    urgency: Urgency = Urgency.IMMEDIATE,
    certainty: Certainty = Certainty.LIKELY,
    status: Status = Status.ACTUAL,
    msg_type: MsgType = MsgType.ALERT,
    scope: Scope = Scope.PUBLIC,
    note: str | None = None,
    references: Sequence[Reference] = (),
) -> Alert:
    """An alert of one segment, in one language and its translations; times are aware datetimes.

    The national event code goes into eventCode under `names.EVENT_CODE_NAME`, the level into severity. What
    the arguments say is written as it is: lint the result where they come from outside. Raises ValueError
    for a datetime without offset, and for a translation that describes only some of the areas.
    """
    info = Info(
        language=language,
        categories=(category,),
        event=event_name,
        response_types=tuple(response_types),
        urgency=urgency,
        severity=level.severity,
        certainty=certainty,
        event_codes=(NamedValue(names.EVENT_CODE_NAME, event_code),),
        effective=CapTime.of(sent),
        onset=None if onset is None else CapTime.of(onset),
        expires=CapTime.of(expires),
        sender_name=sender_name,
        headline=headline,
        description=description,
        instruction=instruction,
        areas=tuple(areas),
    )
    return Alert(
        identifier=identifier,
        sender=sender,
        sent=CapTime.of(sent),
        status=status,
        msg_type=msg_type,
        source=None,
        scope=scope,
        note=note,
        references_text=" ".join(reference.text for reference in references) or None,
        infos=(info, *(_translated(info, translation) for translation in translations)),
    )


def _translated(info: Info, translation: Translation) -> Info:
    descs = translation.area_descs or tuple(area.area_desc for area in info.areas)
    if len(descs) != len(info.areas):
        raise ValueError(f"{len(descs)} area descriptions for {len(info.areas)} areas")
    return replace(
        info,
        language=translation.language,
        event=translation.event_name,
        headline=translation.headline,
        description=translation.description,
        instruction=translation.instruction,
        sender_name=translation.sender_name or info.sender_name,
        areas=tuple(replace(area, area_desc=desc) for area, desc in zip(info.areas, descs, strict=True)),
    )


def _number(value: float) -> str:
    """A coordinate or radius without exponent, to a tenth of a metre."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
