"""Whether a CAP 1.2 message can be said in the national format, and what of it could not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta

from broker.cap import values
from broker.cap.collector import Collector
from broker.cap.model import Reference, Severity, Status
from broker.cap.names import EVENT_CODE_NAMES, GEOCODE_NAMES
from broker.cap.profiles.common import language_of, named, plain, text_of, value_node
from broker.cap.profiles.national import words
from broker.cap.profiles.national.agreement import check_colour, check_event, check_headline, check_identifier
from broker.cap.profiles.national.converting import EVENT_TYPE
from broker.cap.profiles.national.identifiers import NationalIdentifier
from broker.cap.profiles.national.rules import RULES
from broker.cap.profiles.profile import Profile
from broker.cap.tree import Node

_CHINESE = frozenset(("zh-cn", "zh", "zh-hans", "zh-hans-cn"))
_DIVISION = re.compile(r"[0-9]{6}|[0-9]{9}|[0-9]{12}")
_BEIJING = timedelta(hours=8)
_LOST_OF_ALERT = ("source", "addresses", "code", "incidents")
_LOST_OF_INFO = ("responseType", "audience")


def is_carried(info: Node) -> bool:
    """Whether an info is in the one language that the national format has."""
    return language_of(info) in _CHINESE


def division_code(code: Node) -> str | None:
    """The 6 or 12 digits of a geocode of ours, a township's nine filled up; None for any other geocode."""
    text = text_of(code, "value")
    if text_of(code, "valueName") not in GEOCODE_NAMES or not _DIVISION.fullmatch(text):
        return None
    return f"{text}000" if len(text) == 9 else text


def check(root: Node, report: Collector) -> None:
    """Report what keeps a CAP 1.2 message from being sent on in the national format."""
    examine(root, report, signed_by=None)


def examine(root: Node, report: Collector, *, signed_by: str | None) -> None:
    """The check, where an officer's name may be given beside the message."""
    check_identifier(root, None, root.first("sent"), report)
    _alert(root, report)
    _references(root, report)
    infos = [info for info in root.all("info") if is_carried(info)]
    for info in root.all("info"):
        if info not in infos:
            message = f"the format is in {words.LANGUAGE} only; this info is left out"
            report.at(info.first("language") or info, "national.language.other", message, language_of(info))
    if not infos:
        report.at(root, "national.language.none", f"no info is in {words.LANGUAGE}", "")
    severities = dict.fromkeys(text_of(info, "severity") for info in infos)
    if len(severities) > 1:
        message = f"{len(severities)} levels in one message; its file name says the highest"
        report.at(root, "national.levels.several", message, ", ".join(severities))
    for info in infos:
        _info(root, info, infos[0], report, signed_by)


def _alert(root: Node, report: Collector) -> None:
    status, scope = root.first("status"), root.first("scope")
    if status is not None and plain(status) not in set(Status) - {Status.SYSTEM}:
        report.at(status, "national.status.value", "status must be Actual, Test, Exercise or Draft")
    elif status is not None and plain(status) not in ("Actual", "Test"):
        report.at(status, "national.status.reserved", f"status {plain(status)} is reserved")
    kind = root.first("msgType")
    if kind is not None and plain(kind) not in ("Alert", "Update", "Cancel"):
        report.at(kind, "national.msgType.reserved", "msgType must be Alert, Update or Cancel")
    if plain(kind) == "Cancel" and not text_of(root, "note"):
        report.at(root.first("note") or root, "national.note.cancel", "a Cancel gives its reason in note", "")
    inner = text_of(root, "restriction") == words.INNER
    if scope is not None and plain(scope) != "Public" and not (plain(scope) == "Restricted" and inner):
        report.at(scope, "national.scope.public", "only messages for the public can be sent on")
    if not inner:
        _lost(root, ("restriction",), report)
    _lost(root, _LOST_OF_ALERT, report)
    _zone(root, ("sent",), report)


def _lost(node: Node, names: Iterable[str], report: Collector) -> None:
    for child in (child for name in names for child in node.all(name)):
        if child.children or not values.is_blank(child.text):
            shown = None if not child.children else text_of(child, "valueName")
            report.at(child, "national.lost", f"the national format has nothing for {child.name}", shown)


def _zone(node: Node, names: Iterable[str], report: Collector) -> None:
    for child in (child for name in names for child in node.all(name)):
        instant = values.parse_time(plain(child))
        if instant is not None and instant.utcoffset() != _BEIJING:
            report.at(child, "national.time.zone", f"{child.name} is written in Beijing time")


def _references(root: Node, report: Collector) -> None:
    node = root.first("references")
    listed = [] if node is None else values.words(node.text)
    kind = text_of(root, "msgType")
    if not listed and kind in ("Update", "Cancel"):
        message = f"{kind} must name the first message of the event"
        report.at(node or root, "national.references.required", message, "")
    if node is None:
        return
    if len(listed) > 1:
        message = f"{len(listed)} messages are named; only the earliest is written"
        report.at(node, "national.references.several", message)
    for text in listed:
        reference = Reference.parse(text)
        identifier = None if reference is None else NationalIdentifier.parse(reference.identifier)
        if reference is None or identifier is None:
            message = "no identifier of the national form, so the receiver cannot find the message"
            report.at(node, "national.references.unresolvable", message, text)
        elif reference.sent.instant != identifier.moment:
            message = "the identifier does not hold the time, which is lost"
            report.at(node, "national.lost", message, text)


def _info(root: Node, info: Node, first: Node, report: Collector, signed_by: str | None) -> None:
    _event(info, text_of(root, "status"), report)
    _texts(root, info, first, report)
    _lost(info, _LOST_OF_INFO, report)
    signed = named(info, "parameter", words.SIGNATORY)
    if not (signed and text_of(signed[0], "value")) and not signed_by:
        message = f"no parameter {words.SIGNATORY} names the officer who signed"
        report.at(info, "national.signatory.absent", message, "")
    for item in info.all("parameter"):
        name = text_of(item, "valueName")
        if name != words.SIGNATORY and not (name == words.CLASSIFICATION and info is first):
            report.at(item, "national.lost", "the national format has nothing for parameter", name)
    if not text_of(info, "effective"):
        message = "without effective the info holds from sent, which is written"
        report.at(info.first("effective") or info, "national.effective.absent", message, "")
    _zone(info, ("effective", "onset", "expires"), report)
    for resource in info.all("resource"):
        _lost(resource, ("uri", "derefUri"), report)
        if text_of(resource, "mimeType") != words.mime_type_of(text_of(resource, "resourceDesc")):
            message = "only the file's name tells its kind"
            report.at(resource.first("mimeType") or resource, "national.lost", message)
    areas = info.all("area")
    if not areas:
        report.at(info, "national.element.missing", "the info has no area", "")
    for area in areas:
        _area(area, report)


def _event(info: Node, status: str, report: Collector) -> None:
    codes = [code for name in EVENT_CODE_NAMES for code in named(info, "eventCode", name)]
    if not codes:
        message = f"no eventCode is named {EVENT_CODE_NAMES[0]}"
        report.at(info, "national.event.code", message, "")
    for code in info.all("eventCode"):
        if not codes or code is not codes[0]:
            message = "the national format has one event code"
            report.at(code, "national.lost", message, text_of(code, "valueName"))
    if not codes:
        return
    text = text_of(codes[0], "value")
    if not EVENT_TYPE.fullmatch(text):
        message = "eventType must be 1, a class digit, a letter and two digits"
        report.at(value_node(codes[0]), "national.eventType.form", message)
    check_event(value_node(codes[0]), status, report)
    for category in info.all("category"):
        if plain(category) != words.category_of(text):
            report.at(category, "national.lost", "the category is told by the event code alone")
    told = words.event_named_in(text_of(info, "headline"), text_of(info, "senderName")) or text
    event = info.first("event")
    if event is not None and plain(event) != told:
        report.at(event, "national.lost", "the event is told by its code and the headline alone")


def _texts(root: Node, info: Node, first: Node, report: Collector) -> None:
    kind, status = text_of(root, "msgType"), text_of(root, "status")
    sender, headline = info.first("senderName"), info.first("headline")
    if not plain(sender):
        report.at(sender or info, "national.sender.name", "senderName must name the sending unit", "")
    elif info is not first and plain(sender) != text_of(first, "senderName"):
        report.at(sender or info, "national.lost", "the national format names one sender for all infos")
    if info is not first and text_of(info, "contact") != text_of(first, "contact"):
        message = "the national format has one telephone for all infos"
        report.at(info.first("contact") or info, "national.lost", message, text_of(info, "contact"))
    for name in ("headline", "description"):
        if not text_of(info, name):
            report.at(info.first(name) or info, "national.element.missing", f"the info has no {name}", "")
    if headline is None:
        return
    text = plain(headline)
    check_headline(headline, kind, status, report)
    severity = info.first("severity")
    if severity is not None and plain(severity) in set(Severity):
        check_colour(severity, Severity(plain(severity)), text, report)
    verb = words.LIFTS if kind == "Cancel" else words.ISSUES
    told = words.event_named_in(text, plain(sender))
    if text and (told is None or not text.removeprefix(plain(sender)).startswith(verb)):
        message = f"must be the sender, {verb}, the event, the colour and {words.WARNING}"
        report.at(headline, "national.headline.rule", message)


def _area(area: Node, report: Collector) -> None:
    for name in ("polygon", "circle"):
        for node in area.all(name)[1:]:
            report.at(node, "national.lost", f"the national format has one {name} in an area")
    _lost(area, ("altitude", "ceiling"), report)
    carried = 0
    for code in area.all("geocode"):
        if text_of(code, "valueName") not in GEOCODE_NAMES:
            message = "the national format has division codes only"
            report.at(code, "national.lost", message, text_of(code, "valueName"))
        elif division_code(code) is None:
            message = "a division code has 6, 9 or 12 digits"
            report.at(value_node(code), "national.geocode.form", message)
        else:
            carried += 1
    if not carried:
        report.at(area, "national.geocode.required", "the area has no division code that could be written", "")


NATIONAL = Profile("national", "China: 12379 CAP-style XML", RULES, check)
