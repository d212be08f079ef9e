"""From the national document to the tree of a CAP 1.2 message whose nodes point to where they came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.cap import values
from broker.cap.collector import Collector
from broker.cap.model import MsgType, Severity, Status
from broker.cap.names import EVENT_CODE_NAME, GEOCODE_NAME
from broker.cap.profiles.common import plain, text_of
from broker.cap.profiles.national import words
from broker.cap.profiles.national.document import recipients_of
from broker.cap.profiles.national.identifiers import NationalIdentifier
from broker.cap.profiles.national.times import read_time
from broker.cap.tree import Node

EVENT_TYPE = re.compile(r"00000|1[1-9][A-Z0][0-9]{2}|10000")
"""1, the class digit, the sub-class letter and two digits; or one of the codes for tests and for all."""

_GEOCODE = re.compile(r"[0-9]{6}|[0-9]{12}|[0-9]{14}")
_COMMAS = re.compile(r"[,，]")


@dataclass(frozen=True, slots=True)
class Method:
    """How the sender asks for its message to go out: a channel, words of its own, and whom it is for.

    `message` is empty where the description is to be used. `recipients` are addresses of people: they belong
    in no log and no report.
    """

    name: str
    message: str | None = None
    groups: tuple[str, ...] = ()
    recipients: tuple[str, ...] = field(default=(), repr=False)


def methods_of(root: Node) -> tuple[Method, ...]:
    """The methods that a document asks for, in order."""
    return tuple(_method(method) for code in root.all("code") for method in code.all("method"))


def _method(node: Node) -> Method:
    recipients = [part for found in recipients_of(node) for part in _parts(found.text)]
    return Method(
        text_of(node, "methodName"),
        node.value("message"),
        tuple(_parts(node.value("audienceGrp") or "")),
        tuple(recipients),
    )


def _parts(text: str) -> list[str]:
    return [part.strip() for part in _COMMAS.split(text) if part.strip()]


class Converter:
    """Converts one document; what is in doubt is reported and left out, so that no alert is built on it.

    `senders` gives the CAP sender of a sender code where it is not the code itself; `event_names` the name of
    an event code where the headline does not tell it; `most_codes` bounds the division codes, many of which fit
    into one element.
    """

    def __init__(
        self, report: Collector, senders: Mapping[str, str], event_names: Mapping[str, str], most_codes: int
    ) -> None:
        self._report = report
        self._codes_left = most_codes
        self._senders = senders
        self._event_names = event_names

    def convert(self, source: Node) -> Node:
        """The message as a CAP tree, in CAP's order; every node's place is that of its source."""
        root = Node("alert", line=source.line, pointer=source.place)
        code, unit = text_of(source, "senderCode"), text_of(source, "sender")
        _copy(source, "identifier", root, "identifier", plain(source.first("identifier")))
        _copy(source, "senderCode", root, "sender", self._senders.get(code, code))
        self._time(source, "sendTime", root, "sent")
        self._status(source, root)
        self._msg_type(source, root)
        self._scope(source, root)
        _copy(source, "note", root, "note")
        self._references(source, root)
        for number, info in enumerate(source.all("info")):
            kept = self._alert_parameters(source) if number == 0 else []
            self._info(info, root, source, unit, kept)
        self._tell_apart(source)
        return root

    def _time(self, source: Node, name: str, target: Node, as_name: str) -> None:
        node = source.first(name)
        if node is None or values.is_blank(node.text):
            return
        text = read_time(node, self._report)
        if text is not None:
            _add(target, as_name, text, node)

    def _status(self, source: Node, root: Node) -> None:
        node = source.first("status")
        status = plain(node)
        if node is None or not status:
            return
        if status not in set(Status) - {Status.SYSTEM}:
            self._report.at(node, "national.status.value", "status must be Actual, Test, Exercise or Draft")
            return
        if status not in (Status.ACTUAL, Status.TEST):
            self._report.at(node, "national.status.reserved", f"status {status} is reserved")
        _add(root, "status", status, node)

    def _msg_type(self, source: Node, root: Node) -> None:
        node = source.first("msgType")
        kind = plain(node)
        if node is None or not kind:
            return
        if kind not in (MsgType.ALERT, MsgType.UPDATE, MsgType.CANCEL):
            message = "msgType must be Alert, Update or Cancel"
            self._report.at(node, "national.msgType.reserved", message)
            return
        _add(root, "msgType", kind, node)

    def _scope(self, source: Node, root: Node) -> None:
        node, mark = source.first("scope"), source.first("secClassification")
        inner = plain(mark) == "Inner"
        if mark is not None and plain(mark) not in ("", "None", "Inner"):
            self._report.at(mark, "national.secClassification.value", "secClassification must be None or Inner")
        if mark is not None and inner:
            message = "the message is internal: it is read as scope Restricted"
            self._report.at(mark, "national.secClassification.inner", message)
        if node is None or not plain(node):
            return
        if plain(node) != "Public":
            self._report.at(node, "national.scope.public", "scope must be Public")
            return
        if mark is not None and inner:
            _add(root, "scope", "Restricted", mark)
            _add(root, "restriction", words.INNER, mark)
        else:
            _add(root, "scope", "Public", node)

    def _references(self, source: Node, root: Node) -> None:
        node = source.first("references")
        listed = [] if node is None else [part for word in values.words(node.text) for part in _parts(word)]
        kind = text_of(source, "msgType")
        if not listed:
            if kind in ("Update", "Cancel"):
                message = f"{kind} must name the first message of the event"
                self._report.at(node or source, "national.references.required", message, "")
            return
        assert node is not None
        if len(listed) > 1:
            self._report.at(node, "national.references.several", f"{len(listed)} messages are named")
        triples = []
        for text in listed:
            identifier = NationalIdentifier.parse(text)
            if identifier is None:
                message = "sender and time cannot be told from this identifier, so the message cannot be found"
                self._report.at(node, "national.references.unresolvable", message, text)
                continue
            sender = self._senders.get(identifier.sender_code, identifier.sender_code)
            triples.append(f"{sender},{text},{identifier.sent}")
        if triples:
            _add(root, "references", " ".join(triples), node)

    def _alert_parameters(self, source: Node) -> list[tuple[str, str, Node]]:
        mark = source.first("secClassification")
        return [] if mark is None or plain(mark) != "None" else [(words.CLASSIFICATION, "None", mark)]

    def _info(self, info: Node, root: Node, source: Node, unit: str, kept: list[tuple[str, str, Node]]) -> None:
        target = Node("info", parent=root, line=info.line, pointer=info.place)
        language = info.first("language")
        if language is None or values.is_blank(language.text):
            self._report.at(language or info, "national.language.default", f"read as {words.LANGUAGE}", "")
            _add(target, "language", words.LANGUAGE, language or info)
        else:
            _add(target, "language", plain(language), language)
        event_type = info.first("eventType")
        code = plain(event_type)
        if event_type is not None and code:
            _add(target, "category", words.category_of(code).value, event_type)
            _add(target, "event", self._event_name(info, code, unit), event_type)
            if not EVENT_TYPE.fullmatch(code):
                message = "eventType must be 1, a class digit, a letter and two digits"
                self._report.at(event_type, "national.eventType.form", message)
        self._defaulted(info, "urgency", target)
        self._severity(info, target)
        self._defaulted(info, "certainty", target)
        if event_type is not None and code:
            _named(target, "eventCode", EVENT_CODE_NAME, code, event_type)
        for name in ("effective", "onset", "expires"):
            self._time(info, name, target, name)
        if source.first("sender") is not None:
            _copy(source, "sender", target, "senderName")
        for name in ("headline", "description", "instruction", "web"):
            _copy(info, name, target, name)
        _copy(source, "phone", target, "contact")
        signatory = info.first("senderName")
        if signatory is not None and plain(signatory):
            kept = [*kept, (words.SIGNATORY, signatory.text, signatory)]
        for value_name, text, node in kept:
            _named(target, "parameter", value_name, text, node)
        for resource in info.all("resource"):
            self._resource(resource, target)
        for area in info.all("area"):
            self._area(area, target)

    def _event_name(self, info: Node, code: str, unit: str) -> str:
        named = words.event_named_in(text_of(info, "headline"), unit) or self._event_names.get(code)
        if named is None:
            node = info.first("headline") or info
            message = f"the headline does not name the event by the rule; it is called by its code {code}"
            self._report.at(node, "national.event.name", message, "" if node is info else None)
        return named or code

    def _defaulted(self, info: Node, name: str, target: Node) -> None:
        node = info.first(name)
        if node is None or values.is_blank(node.text):
            self._report.at(node or info, f"national.{name}.default", f"{name} is read as Unknown", "")
            _add(target, name, "Unknown", node or info)
        else:
            _add(target, name, plain(node), node)

    def _severity(self, info: Node, target: Node) -> None:
        node = info.first("severity")
        if node is None or values.is_blank(node.text):
            return
        colour = plain(node)
        severity = words.severity_of(colour)
        if severity is None:
            message = "severity must be Red, Orange, Yellow, Blue or Unknown"
            if colour in set(Severity):
                message += f"; CAP's {colour} is {words.colour_of(Severity(colour))} here"
            self._report.at(node, "national.severity.value", message)
            return
        if colour != words.colour_of(severity):
            message = f"written exactly so: {words.colour_of(severity)}"
            self._report.at(node, "national.severity.case", message)
        _add(target, "severity", severity.value, node)

    def _resource(self, resource: Node, target: Node) -> None:
        made = Node("resource", parent=target, line=resource.line, pointer=resource.place)
        name = resource.first("resourceDesc")
        _copy(resource, "resourceDesc", made, "resourceDesc")
        kind = words.mime_type_of(plain(name))
        if kind == words.UNKNOWN_KIND:
            message = f"the name does not tell the kind of the file: {kind}"
            self._report.at(name or resource, "national.resource.mimeType", message, plain(name))
        _add(made, "mimeType", kind, name or resource)
        for part in ("size", "digest"):
            _copy(resource, part, made, part)

    def _area(self, area: Node, target: Node) -> None:
        made = Node("area", parent=target, line=area.line, pointer=area.place)
        _copy(area, "areaDesc", made, "areaDesc")
        for name in ("polygon", "circle"):
            node = area.first(name)
            if node is not None and not values.is_blank(node.text):
                _add(made, name, node.text, node)
        for node in area.all("geocode"):
            codes = _parts(node.text)
            self._codes_left -= len(codes)
            if self._codes_left < 0:
                message = f"{len(codes)} division codes here make more than the limit"
                self._report.at(node, "national.geocode.many", message)
                continue
            for code in codes:
                self._geocode(code, node, made)

    def _geocode(self, code: str, node: Node, made: Node) -> None:
        if not _GEOCODE.fullmatch(code) or (len(code) == 14 and not code.endswith("00")):
            message = "a division code has 6 or 12 digits, or 14 that end in 00"
            self._report.at(node, "national.geocode.form", message, code)
            return
        if len(code) == 14:
            self._report.at(node, "national.geocode.long", "read as the division of its first 12 digits", code)
        _named(made, "geocode", GEOCODE_NAME, code[:12], node)

    def _tell_apart(self, source: Node) -> None:
        methods = [method for code in source.all("code") for method in code.all("method")]
        if methods:
            message = f"{len(methods)} methods are kept beside the CAP message"
            self._report.at(methods[0], "national.methods.apart", message, "")
        # Addresses of people: neither the model nor a report may carry them further.
        for node in (found for method in methods for found in recipients_of(method)):
            count = len(_parts(node.text))
            if count:
                message = f"{count} single recipients are kept beside the CAP message"
                self._report.at(node, "national.recipients.apart", message, "")


def _add(parent: Node, name: str, text: str, source: Node) -> Node:
    return Node(name, text, parent=parent, line=source.line, pointer=source.place)


def _copy(source: Node, name: str, target: Node, as_name: str, text: str | None = None) -> None:
    """Copy an element with its text as sent; what was not sent stays away."""
    node = source.first(name)
    if node is not None:
        _add(target, as_name, node.text if text is None else text, node)


def _named(parent: Node, name: str, value_name: str, value: str, source: Node) -> None:
    group = Node(name, parent=parent, line=source.line, pointer=source.place)
    _add(group, "valueName", value_name, source)
    _add(group, "value", value, source)
