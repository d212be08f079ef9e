"""Whether a national message contradicts itself: one that does is held, never published."""

from __future__ import annotations

from broker.cap import values
from broker.cap.collector import Collector
from broker.cap.model import Severity
from broker.cap.profiles.common import plain, text_of
from broker.cap.profiles.national import words
from broker.cap.profiles.national.identifiers import NationalIdentifier, is_sender_code
from broker.cap.tree import Node

_RULE = "national.conflict"


def check_agreement(root: Node, report: Collector) -> None:
    """Report where type, status, event type, colour and headline of a document do not say the same."""
    kind, status = text_of(root, "msgType"), text_of(root, "status")
    named = root.name.casefold()
    if named != "alert" and kind and named != kind.casefold():
        report.at(root, _RULE, f"the outermost element is {root.name}, msgType is {kind}", kind)
    for info in root.all("info"):
        headline = info.first("headline")
        text = plain(headline)
        if headline is not None:
            check_headline(headline, kind, status, report)
        event_type, severity = info.first("eventType"), info.first("severity")
        if event_type is not None:
            check_event(event_type, status, report)
        if severity is not None:
            check_colour(severity, words.severity_of(plain(severity)), text, report)


def check_event(node: Node, status: str, report: Collector) -> None:
    """Report the event code for tests in a message that claims to be real."""
    if plain(node) == words.TEST_EVENT and status == "Actual":
        report.at(node, _RULE, f"event type {words.TEST_EVENT} is for tests only, status is Actual")


def check_headline(node: Node, kind: str, status: str, report: Collector) -> None:
    """Report a headline that lifts what the type issues, issues what it lifts, or speaks of a drill."""
    text = plain(node)
    if words.LIFTS in text and kind in ("Alert", "Update"):
        message = f"the headline lifts a warning ({words.LIFTS}), msgType is {kind}"
        report.at(node, _RULE, message)
    if kind == "Cancel" and words.LIFTS not in text and words.ISSUES in text:
        report.at(node, _RULE, f"the headline issues a warning ({words.ISSUES}), msgType is Cancel")
    drill = next((word for word in words.DRILLS if word in text), None)
    if drill is not None and status == "Actual":
        report.at(node, _RULE, f"the headline speaks of a {drill}, status is Actual")


def check_colour(node: Node, severity: Severity | None, headline: str, report: Collector) -> None:
    """Report a severity of which the headline names another colour."""
    levels = words.levels_in(headline)
    if severity is not None and levels and severity not in {level.severity for level in levels}:
        named = "、".join(sorted(level.chinese for level in levels))
        report.at(node, _RULE, f"the headline says {named}, severity is {plain(node)}")


def check_identifier(root: Node, sender_code: Node | None, sent: Node | None, report: Collector) -> None:
    """Report where an identifier does not lead to sender and time, since references rely on it alone.

    `sender_code` and `sent` are the nodes that hold them, `sent` with a space or a T between date and time.
    """
    if sender_code is not None and plain(sender_code) and not is_sender_code(plain(sender_code)):
        message = "senderCode must be 9 digits and 5 digits or capital letters"
        report.at(sender_code, "national.senderCode.form", message)
    node = root.first("identifier")
    if node is None or not plain(node):
        return
    identifier = NationalIdentifier.parse(plain(node))
    if identifier is None:
        message = "must be ZZZZZZDDDUUUXX_YYYYMMDDhhmmss, with _N for a second one in the same second"
        report.at(node, "national.identifier.form", message)
        return
    if sender_code is not None and plain(sender_code) != identifier.sender_code:
        message = "identifier begins with another sender code, by which later messages would refer to this one"
        report.at(node, "national.identifier.sender", message)
    instant = None if sent is None else values.parse_time(plain(sent).replace(" ", "T"))
    if sent is not None and instant is not None and instant != identifier.moment:
        message = f"{sent.name} is not the second in identifier, by which later messages refer to this one"
        report.at(sent, "national.identifier.time", message)
