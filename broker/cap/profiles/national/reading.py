"""Reads the national CAP-style XML: bytes in; alert, methods and findings out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from broker.cap.build import alert_of
from broker.cap.collector import Collector
from broker.cap.document import Reading
from broker.cap.findings import Finding, Grade, Posture
from broker.cap.limits import Limits
from broker.cap.lint import lint
from broker.cap.profiles.common import text_of
from broker.cap.profiles.national.agreement import check_agreement, check_identifier
from broker.cap.profiles.national.converting import Converter, Method, methods_of
from broker.cap.profiles.national.document import check_structure, is_national_root, tree_from
from broker.cap.profiles.national.rules import RULES
from broker.cap.tree import Node, Parsed
from broker.cap.xml import safe_root

_NOT_HERE = frozenset(
    (
        "cap.effective.early",  # effective is when the message was signed, which comes before it is sent
        "cap.resource.unreachable",  # attachments travel beside the file
        "cap.references.required",  # said in terms of the national format
        "cap.language.undeclared",
        "cap.element.order",
        "cap.text.blank",
    )
)


@dataclass(frozen=True, slots=True)
class NationalReading(Reading):
    """What a national document holds; `methods` are the channels and recipients that its sender asks for.

    `schema_valid` is False always, for the document is none of CAP 1.2.
    """

    methods: tuple[Method, ...] = ()


def is_national(data: bytes, *, limits: Limits | None = None) -> bool:
    """Whether bytes are a document of the national format, good or not; never raises."""
    root, _ = safe_root(data, limits or Limits())
    return root is not None and is_national_root(root)


def read_national(
    data: bytes,
    *,
    posture: Posture = Posture.STRICT,
    limits: Limits | None = None,
    now: datetime | None = None,
    senders: Mapping[str, str] | None = None,
    event_names: Mapping[str, str] | None = None,
) -> NationalReading:
    """Parse, check and convert one national message; whatever the bytes are, it never raises.

    The alert's sender is the document's senderCode, or what `senders` gives for it; references get sender and
    time from the identifier they name. `event_names` names event codes whose headline does not. Findings of
    the national format come first, then those of CAP 1.2 on the converted values; every place is an XPath of
    the original. The alert is None where it could not be built without a guess. `now` judges expiry.
    """
    limits = limits or Limits()
    root, findings = safe_root(data, limits)
    if root is None:
        return NationalReading(None, tuple(findings), False, posture)
    report = Collector(posture, limits.max_findings, RULES)
    source = tree_from(root, report)
    if source is None:
        return NationalReading(None, tuple(report.result()), False, posture)
    check_structure(source, report)
    converted = Converter(report, senders or {}, event_names or {}, limits.max_elements).convert(source)
    check_identifier(source, source.first("senderCode"), source.first("sendTime"), report)
    if text_of(source, "msgType") == "Cancel" and not text_of(source, "note"):
        report.at(source.first("note") or source, "national.note.cancel", "a Cancel gives its reason in note", "")
    check_agreement(source, report)
    own = report.result()
    lost = any(found.rule in _LEFT_OUT and found.severity is Grade.ERROR for found in own)
    return NationalReading(
        alert=None if lost else alert_of(converted),
        findings=(*own, *_of_cap(converted, own, posture, now, limits)),
        schema_valid=False,
        posture=posture,
        signatures=sum(node.signature for node in source.children),
        identifier=source.value("identifier"),
        sender=source.value("senderCode"),
        sent=source.value("sendTime"),
        methods=methods_of(source),
    )


_LEFT_OUT = frozenset(
    (
        "national.references.unresolvable",
        "national.geocode.form",
        "national.geocode.many",
        "national.secClassification.value",
        "national.element.repeated",
        "national.time.format",
        "national.time.offset",
    )
)
"""What stands at these was left out of the converted message, which would therefore say something else."""


def _of_cap(
    converted: Node, own: list[Finding], posture: Posture, now: datetime | None, limits: Limits
) -> list[Finding]:
    """The findings of CAP 1.2 on the values, without those that say again what the national format said."""
    told = {found.place for found in own if found.severity is Grade.ERROR}
    return [
        found
        for found in lint(Parsed(converted), posture=posture, now=now, limits=limits)
        if not (found.rule in _NOT_HERE or found.rule.endswith(".missing") or found.place in told)
    ]
