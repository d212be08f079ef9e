"""What the World Meteorological Organization and its Alert Hub expect of a national alert feed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable
from datetime import timedelta

from broker.cap import values
from broker.cap.collector import Collector
from broker.cap.context import time_at
from broker.cap.findings import Grade, Rule
from broker.cap.profiles.common import (
    categories,
    event_codes,
    language_of,
    plain,
    speaks,
    text_of,
)
from broker.cap.profiles.profile import Profile, catalogue
from broker.cap.tree import Node

LANGUAGES = ("zh-CN", "en")
"""The languages that our own alerts have when they go out into the world."""

_E, _W, _I = Grade.ERROR, Grade.WARNING, Grade.INFO
_OIDS = "WMO/TD-No. 1556"
_GUIDE = "WMO-No. 1109"
_COMPOSER = "WMO CAP Composer practice"

RULES = catalogue(
    Rule("wmo.identifier.oid", "identifier is an object identifier below 2.49.0.1.", _OIDS, _E, _W),
    Rule("wmo.identifier.country", "Below 2.49.0.1 stands the country, ISO 3166 in digits.", _OIDS, _E, _W),
    Rule("wmo.identifier.information", "2.49.0.0 names information about alerting, no alerts.", _OIDS, _E, _W),
    Rule("wmo.identifier.arcs", "An object identifier is numbers with dots between.", _OIDS, _W, _I),
    Rule("wmo.info.required", "An Alert or Update has an info.", _GUIDE, _E, _W),
    Rule("wmo.language.missing", "An alert is written in every language that was agreed.", _GUIDE, _E, _W),
    Rule("wmo.language.same.count", "Every language has as many infos.", _GUIDE, _W, _I),
    Rule("wmo.language.same.event", "Every language has as many events.", _GUIDE, _W, _I),
    Rule("wmo.language.same.eventCode", "Event codes are the same in every language.", _GUIDE, _E, _W),
    Rule("wmo.language.same.category", "Categories are the same in every language.", _GUIDE, _E, _W),
    Rule("wmo.language.same.urgency", "Urgency is the same in every language.", _GUIDE, _E, _W),
    Rule("wmo.language.same.severity", "Severity is the same in every language.", _GUIDE, _E, _W),
    Rule("wmo.language.same.certainty", "Certainty is the same in every language.", _GUIDE, _E, _W),
    Rule("wmo.language.same.area", "The area is the same in every language.", _GUIDE, _E, _W),
    Rule("wmo.language.same.geocode", "Geocodes are the same in every language.", _GUIDE, _W, _I),
    Rule("wmo.expires.required", "An info of an Alert or Update says when it expires.", _GUIDE, _E, _W),
    Rule("wmo.time.early", "effective, onset and expires are not before sent.", _COMPOSER, _E, _W),
    Rule("wmo.span.day", "An info holds for no more than a day.", _COMPOSER, _W, _I),
    Rule("wmo.span.month", "An info holds for no more than a month.", _COMPOSER, _E, _W),
)

_PREFIX = "urn:oid:"
_ALERTS = "2.49.0.1."
_INFORMATION = "2.49.0.0."
_COUNTRY = re.compile(r"[1-9][0-9]{0,2}")
_ARCS = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_DAY, _MONTH = timedelta(hours=24), timedelta(days=31)


def profile(languages: tuple[str, ...] = LANGUAGES) -> Profile:
    """The profile for the languages that a country agreed on; `en` is met by any English, `zh-CN` is exact."""

    def check(root: Node, report: Collector) -> None:
        _identifier(root, report)
        infos = root.all("info")
        warns = text_of(root, "msgType") in ("Alert", "Update")
        if warns and not infos:
            report.at(root, "wmo.info.required", "the message has no info", "")
        if infos:
            for language in languages:
                if not any(speaks(info, language) for info in infos):
                    report.at(root, "wmo.language.missing", f"no info is in {language}", "")
        _same_in_all(infos, report)
        for info in infos:
            _times(root, info, warns, report)

    return Profile("wmo", "WMO members and the WMO Alert Hub", RULES, check)


def _identifier(root: Node, report: Collector) -> None:
    node = root.first("identifier")
    if node is None:
        return
    text = plain(node).removeprefix(_PREFIX)
    if text.startswith(_INFORMATION):
        message = "2.49.0.0 is for information about alerting; alerts have identifiers below 2.49.0.1"
        report.at(node, "wmo.identifier.information", message)
        return
    if not text.startswith(_ALERTS):
        report.at(node, "wmo.identifier.oid", "identifier must be 2.49.0.1, the country, and arcs of its own")
        return
    country, _, rest = text.removeprefix(_ALERTS).partition(".")
    if not _COUNTRY.fullmatch(country) or not rest:
        message = "after 2.49.0.1 comes the country's number and then arcs of its own"
        report.at(node, "wmo.identifier.country", message)
    elif not _ARCS.fullmatch(rest):
        report.at(node, "wmo.identifier.arcs", "the country's arcs are not numbers with dots between")


def _same_in_all(infos: list[Node], report: Collector) -> None:
    by_language: dict[str, list[Node]] = {}
    for info in infos:
        by_language.setdefault(language_of(info), []).append(info)
    first, *others = by_language or [""]
    for language in others:
        here, there = by_language[language], by_language[first]
        if len(here) != len(there):
            message = f"{language} has {len(here)} infos, {first} has {len(there)}"
            report.at(here[0], "wmo.language.same.count", message, "")
        events, expected = ({text_of(info, "event") for info in group} for group in (here, there))
        if len(events) != len(expected):
            message = f"{language} names {len(events)} events, {first} names {len(expected)}"
            report.at(here[0].first("event") or here[0], "wmo.language.same.event", message)
        for name, value in _COMPARED:
            # As sets: a translation may be cut into more infos, which the count reports.
            if set(Counter(map(value, here))) != set(Counter(map(value, there))):
                node = here[0].first("area" if name == "geocode" else name) or here[0]
                shown = None if node.name == name and not node.children else ""
                message = f"{name} in {language} is not that in {first}"
                report.at(node, f"wmo.language.same.{name}", message, shown)


def _word(name: str) -> Callable[[Node], Hashable]:
    return lambda info: text_of(info, name)


def _area(info: Node) -> Hashable:
    """The shapes of an info's areas: their geometry, or their geocodes where there is none.

    The description counts for nothing, since it is translated.
    """
    shapes: set[Hashable] = set()
    for area in info.all("area"):
        heights = text_of(area, "altitude"), text_of(area, "ceiling")
        for name in ("polygon", "circle"):
            shapes.update((name, _numbers(node), heights) for node in area.all(name))
    return frozenset(shapes) or _geocodes(info)


def _geocodes(info: Node) -> Hashable:
    codes = (code for area in info.all("area") for code in area.all("geocode"))
    return frozenset((text_of(code, "valueName"), text_of(code, "value")) for code in codes)


def _numbers(node: Node) -> Hashable:
    """What a polygon or circle says, however its numbers are written."""
    return tuple(values.parse_pair(word) or values.parse_number(word) or word for word in values.words(node.text))


_COMPARED: tuple[tuple[str, Callable[[Node], Hashable]], ...] = (
    ("eventCode", event_codes),
    ("category", categories),
    ("urgency", _word("urgency")),
    ("severity", _word("severity")),
    ("certainty", _word("certainty")),
    ("area", _area),
    ("geocode", _geocodes),
)


def _times(root: Node, info: Node, warns: bool, report: Collector) -> None:
    sent, expires = time_at(root, "sent"), time_at(info, "expires")
    if warns and not text_of(info, "expires"):
        report.at(
            info.first("expires") or info, "wmo.expires.required", "the info does not say when it expires", ""
        )
    if sent is None:
        return
    for name in ("effective", "onset", "expires"):
        node, instant = info.first(name), time_at(info, name)
        if node is not None and instant is not None and instant < sent:
            report.at(node, "wmo.time.early", f"{name} is before sent")
    node = info.first("expires")
    if node is None or expires is None:
        return
    span = expires - (time_at(info, "onset") or time_at(info, "effective") or sent)
    if span > _MONTH:
        report.at(node, "wmo.span.month", f"the info holds for {span.days} days")
    elif span > _DAY:
        report.at(node, "wmo.span.day", f"the info holds for {span.total_seconds() / 3600:.0f} hours")


WMO = profile()
"""The profile with our own languages."""
