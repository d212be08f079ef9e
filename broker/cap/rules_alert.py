"""Rules of the alert element: identity, references, scope, note (CAP 1.2, 3.2.1)."""

from __future__ import annotations

from datetime import datetime, timedelta

from broker.cap import values
from broker.cap.context import Context
from broker.cap.model import MsgType, Reference
from broker.cap.rules_sequence import check_sequences
from broker.cap.tree import Node

_FORBIDDEN = frozenset(" \t\r\n,<&")
_CLOCK_TOLERANCE = timedelta(minutes=5)
_MESSAGE_TYPES = frozenset(member.value for member in MsgType)
_ABOUT_OTHERS = ("Update", "Cancel", "Ack", "Error")


def check_alert(root: Node, context: Context) -> None:
    """Report what is wrong with the message as such."""
    for name in ("identifier", "sender"):
        node = root.first(name)
        bad = sorted(_FORBIDDEN.intersection(node.text)) if node is not None else []
        if node is not None and bad and not values.is_blank(node.text):
            listed = ", ".join(repr(char) for char in bad)
            context.report.at(node, f"cap.{name}.characters", f"{name} holds {listed}")
    sent = root.first("sent")
    if context.sent is None:
        context.skip(sent or root, "times before or after sent were", "sent cannot be read")
    if root.value("msgType") not in _MESSAGE_TYPES:
        what = "whether references, info, area and expires are needed was"
        context.skip(root.first("msgType") or root, what, "msgType is unknown")
    if sent is not None and context.sent is not None and context.sent > context.now + _CLOCK_TOLERANCE:
        context.report.at(sent, "cap.sent.future", "sent lies in the future; is a clock wrong?")
    _scope(root, context)
    _lists(root, context)
    _note(root, context)
    _references(root, context)
    check_sequences(root, context)
    if context.warns and root.first("info") is None:
        context.report.at(root, "cap.info.required", f"an {context.msg_type} needs an info", "")


def _scope(root: Node, context: Context) -> None:
    scope = root.value("scope")
    restriction, addresses = root.first("restriction"), root.first("addresses")
    if scope == "Restricted" and (restriction is None or values.is_blank(restriction.text)):
        context.report.at(root, "cap.restriction.required", "scope Restricted needs a restriction", "")
    if scope in ("Public", "Private") and restriction is not None and not values.is_blank(restriction.text):
        context.report.at(restriction, "cap.restriction.scope", f"restriction does not go with scope {scope}")
    if scope == "Private" and (addresses is None or values.is_blank(addresses.text)):
        context.report.at(root, "cap.addresses.required", "scope Private needs addresses", "")


def _lists(root: Node, context: Context) -> None:
    for name in ("addresses", "incidents"):
        node = root.first(name)
        if node is not None and values.parse_list(node.text) is None:
            context.report.at(node, f"cap.{name}.format", "a double quote is left open or stands inside an item")


def _note(root: Node, context: Context) -> None:
    note = root.value("note")
    if note is not None and not values.is_blank(note):
        return
    if root.value("status") == "Exercise":
        context.report.at(root, "cap.note.exercise", "an Exercise should name itself in note", "")
    if context.msg_type == "Error":
        context.report.at(root, "cap.note.error", "an Error should explain itself in note", "")


def _references(root: Node, context: Context) -> None:
    node = root.first("references")
    listed = values.words(node.text) if node is not None else []
    if not listed and context.msg_type in _ABOUT_OTHERS:
        message = f"{context.msg_type} must name the messages it is about in references"
        context.report.at(node or root, "cap.references.required", message, "")
    if node is None:
        return
    own = (root.value("sender"), root.value("identifier"))
    seen: set[tuple[str, str, datetime]] = set()
    for text in listed:
        reference = Reference.parse(text)
        if reference is None:
            message = f"{text.count(',') + 1} parts" if text.count(",") != 2 else "a part is empty or not a time"
            message = f"not a triple sender,identifier,sent: {message}"
            context.report.at(node, "cap.references.format", message, text)
            continue
        if reference.identity[:2] == own:
            # An identifier names one message of its sender, so another time makes it no other message.
            context.report.at(node, "cap.references.self", "the message refers to itself", text)
        elif context.sent is not None and reference.sent.instant > context.sent:
            context.report.at(node, "cap.references.later", "the message refers to a later one", text)
        if reference.identity in seen:
            context.report.at(node, "cap.references.duplicate", "this message is referred to twice", text)
        seen.add(reference.identity)
