"""Writes the national CAP-style XML, and says what of the message it could not say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lxml import etree

from broker.cap import values
from broker.cap.build import tree_of
from broker.cap.findings import Finding, Posture
from broker.cap.level import Level
from broker.cap.limits import Limits
from broker.cap.model import Alert, Area, CapTime, Info, Resource
from broker.cap.names import EVENT_CODE_NAMES
from broker.cap.profiles.national import words
from broker.cap.profiles.national.converting import Method
from broker.cap.profiles.national.identifiers import NationalIdentifier, digits_of, is_sender_code
from broker.cap.profiles.national.lint import NATIONAL, division_code, examine, is_carried
from broker.cap.profiles.national.times import write_time
from broker.cap.tree import Node

Attachment = Literal["O", "P"]
"""What a file beside the message is: P a document of the office, O anything else."""


def to_national(
    alert: Alert,
    *,
    sender_code: str,
    methods: Sequence[Method] = (),
    signed_by: str | None = None,
    namespace: str | None = None,
    posture: Posture = Posture.STRICT,
    limits: Limits | None = None,
) -> tuple[bytes, list[Finding]]:
    """Write an alert in the national format: bytes in UTF-8, and everything that they do not say.

    Nothing is made up: what the format requires and the alert lacks is missing from the bytes and an error
    among the findings, so send the bytes only when there is no error. Places are those of the alert in CAP.
    `sender_code` is the unit's ZZZZZZDDDUUUXX, `methods` the channels asked for, `signed_by` the officer where
    no parameter names one. Raises ValueError when a text holds a character that XML cannot carry.
    """
    tree = tree_of(alert)
    report = NATIONAL.collector(posture, (limits or Limits()).max_findings)
    sender = tree.first("sender") or tree
    if not is_sender_code(sender_code):
        message = "senderCode must be 9 digits and 5 digits or capital letters"
        report.at(sender, "national.senderCode.form", message, sender_code)
    identifier = NationalIdentifier.parse(alert.identifier)
    if identifier is not None and identifier.sender_code != sender_code:
        message = f"identifier does not begin with senderCode {sender_code}"
        report.at(tree.first("identifier") or tree, "national.identifier.sender", message)
    examine(tree, report, signed_by=signed_by)
    if not methods:
        report.at(tree, "national.method.absent", "no channels are asked for", "")
    carried = [(info, node) for info, node in zip(alert.infos, tree.all("info"), strict=True) if is_carried(node)]
    writer = _Writer(namespace)
    root = writer.alert(alert, sender_code, methods, [info for info, _ in carried])
    for info, node in carried:
        writer.info(root, alert, info, node, signed_by)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True), report.result()


class _Writer:
    """Writes elements in the order of the format, all in one namespace or in none."""

    def __init__(self, namespace: str | None) -> None:
        self._namespace = namespace

    def _name(self, name: str) -> str:
        return name if self._namespace is None else f"{{{self._namespace}}}{name}"

    def _group(self, parent: etree._Element, name: str) -> etree._Element:
        return etree.SubElement(parent, self._name(name))

    def _leaf(self, parent: etree._Element, name: str, text: str | None) -> None:
        if text is not None:
            self._group(parent, name).text = text

    def _time(self, parent: etree._Element, name: str, time: CapTime | None) -> None:
        self._leaf(parent, name, None if time is None else write_time(time.instant))

    def alert(
        self, alert: Alert, sender_code: str, methods: Sequence[Method], infos: Sequence[Info]
    ) -> etree._Element:
        first = infos[0] if infos else None
        default: dict[str | None, str] = {} if self._namespace is None else {None: self._namespace}
        root = etree.Element(self._name("alert"), nsmap=default)  # type: ignore[arg-type]  # stubs forget None
        self._leaf(root, "identifier", alert.identifier)
        self._leaf(root, "sender", None if first is None else first.sender_name)
        self._leaf(root, "senderCode", sender_code)
        self._leaf(root, "phone", None if first is None else first.contact)
        self._time(root, "sendTime", alert.sent)
        self._leaf(root, "status", alert.status.value)
        self._leaf(root, "msgType", alert.msg_type.value)
        inner = alert.restriction == words.INNER
        # The format knows the internal only as a mark beside the fixed scope.
        self._leaf(root, "scope", "Public" if inner else alert.scope.value)
        if methods:
            code = self._group(root, "code")
            for method in methods:
                self._method(code, method)
        mark = None if first is None else first.parameter(words.CLASSIFICATION)
        self._leaf(root, "secClassification", "Inner" if inner else mark)
        self._leaf(root, "note", alert.note)
        references = sorted(alert.references, key=lambda reference: reference.sent.instant)
        self._leaf(root, "references", references[0].identifier if references else None)
        return root

    def _method(self, code: etree._Element, method: Method) -> None:
        node = self._group(code, "method")
        self._leaf(node, "methodName", method.name)
        self._leaf(node, "message", method.message)
        self._leaf(node, "audienceGrp", ",".join(method.groups) or None)
        self._leaf(node, "audiencePrt", ",".join(method.recipients) or None)

    def info(self, root: etree._Element, alert: Alert, info: Info, tree: Node, signed_by: str | None) -> None:
        node = self._group(root, "info")
        self._leaf(node, "language", info.language)
        self._leaf(node, "eventType", info.event_code(*EVENT_CODE_NAMES))
        self._leaf(node, "urgency", info.urgency.value)
        self._leaf(node, "severity", words.colour_of(info.severity))
        self._leaf(node, "certainty", info.certainty.value)
        self._time(node, "effective", info.effective or alert.sent)  # CAP 1.2, 3.2.2: sent when absent
        self._time(node, "onset", info.onset)
        self._time(node, "expires", info.expires)
        self._leaf(node, "senderName", info.parameter(words.SIGNATORY) or signed_by)
        self._leaf(node, "headline", info.headline)
        self._leaf(node, "description", info.description)
        self._leaf(node, "instruction", info.instruction)
        self._leaf(node, "web", info.web)
        for resource in info.resources:
            self._resource(node, resource)
        for area, source in zip(info.areas, tree.all("area"), strict=True):
            self._area(node, area, source)

    def _resource(self, info: etree._Element, resource: Resource) -> None:
        node = self._group(info, "resource")
        self._leaf(node, "resourceDesc", resource.resource_desc)
        self._leaf(node, "size", None if resource.size is None else resource.size.text)
        self._leaf(node, "digest", resource.digest)

    def _area(self, info: etree._Element, area: Area, tree: Node) -> None:
        node = self._group(info, "area")
        self._leaf(node, "areaDesc", area.area_desc)
        self._leaf(node, "polygon", area.polygons[0].text if area.polygons else None)
        self._leaf(node, "circle", area.circles[0].text if area.circles else None)
        codes = [code for code in map(division_code, tree.all("geocode")) if code is not None]
        self._leaf(node, "geocode", ",".join(codes) or None)


def file_name(alert: Alert, *, sender_code: str) -> str:
    """`{senderCode}_{yyyyMMddHHmmss}_{eventType}_{COLOUR}_{TYPE}.xml`, of the highest level in the alert.

    Raises ValueError when no Chinese info has a national event code.
    """
    return f"{_stem(alert, sender_code)}.xml"


def attachment_name(alert: Alert, kind: Attachment, number: int, suffix: str, *, sender_code: str) -> str:
    """The name of a file beside the message: that of the message, then `_{O|P}_{NN}` and its own suffix.

    `number` is 1 to 99. Raises ValueError as `file_name` does, and for another number.
    """
    if not 1 <= number <= 99:
        raise ValueError(f"attachments are numbered from 1 to 99, not {number}")
    return f"{_stem(alert, sender_code)}_{kind}_{number:02}.{suffix.removeprefix('.')}"


def _stem(alert: Alert, sender_code: str) -> str:
    carried = [info for info, node in zip(alert.infos, tree_of(alert).all("info"), strict=True) if is_carried(node)]
    coded = [info for info in carried if info.event_code(*EVENT_CODE_NAMES)]
    if not coded:
        raise ValueError("no Chinese info has a national event code")
    highest = max(coded, key=_rank)
    code = values.collapse(highest.event_code(*EVENT_CODE_NAMES) or "")
    colour = words.colour_of(highest.severity).upper()
    return f"{sender_code}_{digits_of(alert.sent.instant)}_{code}_{colour}_{alert.msg_type.value.upper()}"


def _rank(info: Info) -> int:
    level = Level.of(info.severity)
    return 0 if level is None else level.rank
