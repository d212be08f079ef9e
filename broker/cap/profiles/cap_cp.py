"""The Canadian profile of CAP, as far as it can be judged without its managed lists."""

from __future__ import annotations

import re
from collections.abc import Hashable

from broker.cap.collector import Collector
from broker.cap.findings import Grade, Rule
from broker.cap.profiles.common import ABOUT_EARLIER, named, plain, report_differing, text_of, value_node
from broker.cap.profiles.profile import Profile, catalogue
from broker.cap.tree import Node

CODE = "profile:CAP-CP:0.4"
"""The `code` by which a message claims this profile."""
EVENT = "profile:CAP-CP:Event:0.4"
"""The `valueName` of an event code from the managed list."""
LOCATION = "profile:CAP-CP:Location:0.3"
"""The `valueName` of a location code from the managed list."""

_E, _W, _I = Grade.ERROR, Grade.WARNING, Grade.INFO
_DOC = "CAP-CP Rule Set 0.4"
_EVENTS = "CAP-CP Event References 0.4"
_PLACES = "CAP-CP Location References 0.3"
_HOUSE = "house rule"

RULES = catalogue(
    Rule("cap-cp.code", f"A code is {CODE}.", _DOC, _E, _W),
    Rule("cap-cp.layer", "A code of a layer is layer, its name and its version.", _DOC, _W, _W),
    Rule("cap-cp.layer.undeclared", "Values of a layer are given where a code declares it.", _HOUSE, _W, _I),
    Rule("cap-cp.info.required", "A message for the public has an info.", _DOC, _E, _W),
    Rule("cap-cp.references.all", "Update and Cancel name every active message of the event.", _DOC, _I, _I),
    Rule("cap-cp.language.missing", "An info says its language.", _DOC, _E, _W),
    Rule("cap-cp.language.pair", "A message is in en-CA and in fr-CA.", _DOC, _W, _W),
    Rule("cap-cp.event", f"An info has an eventCode {EVENT}.", _DOC, _E, _W),
    Rule("cap-cp.event.one", "A message is about one type of event.", _DOC, _E, _W),
    Rule("cap-cp.event.format", "A managed event code is one word.", _EVENTS, _E, _W),
    Rule("cap-cp.event.list", "Event codes are those of the managed list.", _EVENTS, _I, _I),
    Rule("cap-cp.area.required", "An info has an area.", _DOC, _E, _W),
    Rule("cap-cp.location", f"An area has a geocode {LOCATION}, beside polygons too.", _DOC, _E, _W),
    Rule("cap-cp.location.format", "A location code is two, four or seven digits.", _PLACES, _E, _W),
    Rule("cap-cp.location.list", "Location codes are those of the managed list.", _PLACES, _I, _I),
    Rule("cap-cp.expires", "An info says when it expires.", _DOC, _W, _I),
    Rule("cap-cp.senderName", "An info names its sender for people.", _DOC, _W, _I),
    Rule("cap-cp.broadcast", "Broadcast_Immediately is Yes or No.", "layer:SOREM:1.0", _E, _W),
)

_FAMILY = "profile:CAP-CP:"
_EVENT_FAMILY = "profile:CAP-CP:Event:"
_LOCATION_FAMILY = "profile:CAP-CP:Location:"
_BROADCAST = "layer:SOREM:1.0:Broadcast_Immediately"
_LAYER = re.compile(r"layer:[^:\s]+:[0-9]+(?:\.[0-9]+)*")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_PLACE = re.compile(r"[0-9]{2}|[0-9]{4}|[0-9]{7}")  # province, census division, census subdivision


def check(root: Node, report: Collector) -> None:
    """Report what a message lacks for CAP-CP; what needs the managed lists is said not to have been checked."""
    _codes(root, report)
    infos = root.all("info")
    if not infos and text_of(root, "msgType") not in ("Ack", "Error"):
        report.at(root, "cap-cp.info.required", "the message has no info", "")
    references = root.first("references")
    if references is not None and text_of(root, "msgType") in ABOUT_EARLIER:
        message = "not checked: which messages of the event are active is not known here"
        report.at(references, "cap-cp.references.all", message)
    spoken = {text_of(info, "language").casefold() for info in infos}
    for language in ("en-CA", "fr-CA") if infos else ():
        if language.casefold() not in spoken:
            report.at(root, "cap-cp.language.pair", f"no info is in {language}", "")
    report_differing(root, report, "cap-cp.event.one", "eventCode", _managed_events)
    for info in infos:
        _info(info, report)
    _not_run(root, report)


def _codes(root: Node, report: Collector) -> None:
    codes = root.all("code")
    written = [plain(code) for code in codes]
    if CODE not in written:
        other = next((code for code in codes if plain(code).startswith(_FAMILY)), None)
        message = f"no code is {CODE}" + ("; another version is claimed" if other is not None else "")
        report.at(other or root, "cap-cp.code", message, None if other is not None else "")
    layers = [code for code in codes if plain(code).startswith("layer:")]
    for code in layers:
        if not _LAYER.fullmatch(plain(code)):
            report.at(code, "cap-cp.layer", "the code of a layer is layer:NAME:VERSION")
    declared = {plain(code) for code in layers}
    told = set()
    for item in _values(root):
        name = text_of(item, "valueName")
        layer = ":".join(name.split(":")[:3])
        if name.startswith("layer:") and layer not in declared and layer not in told:
            told.add(layer)
            report.at(item, "cap-cp.layer.undeclared", f"no code declares {layer}", name)


def _values(root: Node) -> list[Node]:
    found = []
    for info in root.all("info"):
        found += [*info.all("eventCode"), *info.all("parameter")]
        found += [code for area in info.all("area") for code in area.all("geocode")]
    return found


def _managed_events(info: Node) -> Hashable:
    return frozenset(text_of(code, "value") for code in _family(info, "eventCode", _EVENT_FAMILY))


def _family(node: Node, name: str, prefix: str) -> list[Node]:
    return [child for child in node.all(name) if text_of(child, "valueName").startswith(prefix)]


def _info(info: Node, report: Collector) -> None:
    if not text_of(info, "language"):
        report.at(
            info.first("language") or info, "cap-cp.language.missing", "the info does not say its language", ""
        )
    codes = named(info, "eventCode", EVENT)
    if not codes:
        other = next(iter(_family(info, "eventCode", _EVENT_FAMILY)), None)
        message = f"no eventCode is named {EVENT}" + ("; another version of the list is used" if other else "")
        report.at(other or info, "cap-cp.event", message, "" if other is None else text_of(other, "valueName"))
    for code in codes:
        if not _WORD.fullmatch(text_of(code, "value")):
            report.at(value_node(code), "cap-cp.event.format", "a managed event code is one word of letters")
    for code in codes[1:]:
        if text_of(code, "value") != text_of(codes[0], "value"):
            report.at(code, "cap-cp.event.one", "the info is about a second type of event", text_of(code, "value"))
    for name in ("expires", "senderName"):
        if not text_of(info, name):
            report.at(info.first(name) or info, f"cap-cp.{name}", f"the info has no {name}", "")
    for item in named(info, "parameter", _BROADCAST):
        if text_of(item, "value").casefold() not in ("yes", "no"):
            report.at(value_node(item), "cap-cp.broadcast", "must be Yes or No")
    areas = info.all("area")
    if not areas:
        report.at(info, "cap-cp.area.required", "the info has no area", "")
    for area in areas:
        _area(area, report)


def _area(area: Node, report: Collector) -> None:
    codes = named(area, "geocode", LOCATION)
    if not codes:
        other = next(iter(_family(area, "geocode", _LOCATION_FAMILY)), None)
        message = f"no geocode is named {LOCATION}" + ("; another version of the list is used" if other else "")
        report.at(other or area, "cap-cp.location", message, "" if other is None else text_of(other, "valueName"))
    for code in codes:
        if not _PLACE.fullmatch(text_of(code, "value")):
            report.at(value_node(code), "cap-cp.location.format", "a location code is two, four or seven digits")


def _not_run(root: Node, report: Collector) -> None:
    """Say once per list that it is not at hand, so that silence is not taken for a pass."""
    infos = root.all("info")
    areas = [area for info in infos for area in info.all("area")]
    for rule, items in (
        ("cap-cp.event.list", [code for info in infos for code in named(info, "eventCode", EVENT)]),
        ("cap-cp.location.list", [code for area in areas for code in named(area, "geocode", LOCATION)]),
    ):
        if items:
            message = f"not checked: the managed list is not shipped; taken as they are: {len(items)}"
            report.at(items[0], rule, message, text_of(items[0], "value"))


CAP_CP = Profile("cap-cp", "Canada: CAP-CP 0.4", RULES, check)
