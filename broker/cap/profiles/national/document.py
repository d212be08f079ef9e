"""The national document as a tree whose nodes know their place, checked against the format's content model."""

from __future__ import annotations

from typing import Any

from lxml import etree

from broker.cap import names, values
from broker.cap.collector import Collector
from broker.cap.profiles.national.words import GROUPS, NAMESPACE, RECIPIENT_SPELLINGS
from broker.cap.tree import Node

_ROOTS = frozenset(("alert", "update", "cancel", "ack", "error"))
_DEFAULTED = frozenset(("urgency", "certainty"))
"""Required by the format, which also says what they are when left empty."""


def is_national_root(root: etree._Element) -> bool:
    """Whether the outermost element is one of the national format: its name, and no foreign namespace."""
    name = etree.QName(root)
    return name.localname.casefold() in _ROOTS and name.namespace in (None, NAMESPACE)


def tree_from(root: etree._Element, report: Collector) -> Node | None:
    """The document as a tree; None, and a finding, when it is not of the national format at all."""
    name = etree.QName(root)
    if name.localname.casefold() not in _ROOTS:
        message = "the outermost element must be alert or be named after the message type"
        report.add("national.root", f"/{name.localname}", message, name.localname)
        return None
    if name.namespace not in (None, NAMESPACE):
        message = f"the namespace must be absent or {NAMESPACE}"
        if name.namespace == names.CAP_1_2:
            message += "; this is CAP 1.2 itself"
        report.add("national.namespace", f"/{name.localname}", message, name.namespace or "")
        return None
    return _node(root, None, name.namespace)


def plain_tree(root: etree._Element) -> Node:
    """Any document as a tree, in whatever namespace its outermost element is."""
    return _node(root, None, etree.QName(root).namespace)


def line_of(element: etree._Element) -> int | None:
    """The line that an element begins in, from 1, where the parser knows it."""
    line: Any = element.sourceline  # the stubs leave its type open
    return None if line is None else int(line)


def _node(element: etree._Element, parent: Node | None, namespace: str | None) -> Node:
    name = etree.QName(element)
    node = Node(
        name.localname,
        element.text or "",
        parent=parent,
        line=line_of(element),
        namespace=None if name.namespace == namespace else name.namespace or "",
        signature=parent is not None and parent.parent is None and name.namespace == names.XML_SIGNATURE,
    )
    if node.signature:
        node.text = ""
        return node
    for child in element:
        if isinstance(child.tag, str):
            _node(child, node, namespace)
        node.text += child.tail or ""
    return node


def check_structure(root: Node, report: Collector) -> None:
    """Report every element that is missing, unknown, repeated or out of order."""
    _group(root, "alert", report)


def recipients_of(method: Node) -> list[Node]:
    """The elements for single recipients, in any spelling."""
    return [node for name in RECIPIENT_SPELLINGS for node in method.all(name)]


def _shown(node: Node, kind: str) -> str | None:
    """What a report shows of a node: nothing where addresses of people may stand, else its text."""
    return "" if kind in ("code", "method") or node.name in RECIPIENT_SPELLINGS else None


def _group(node: Node, kind: str, report: Collector) -> None:
    members = GROUPS[kind]
    if not values.is_blank(node.text):
        message = f"{node.name} has text of its own between its members"
        report.at(node, "national.element.text", message, _shown(node, kind))
    order = {name: place for place, name in enumerate(members)}
    furthest, seen = -1, dict.fromkeys(members, 0)
    for child in node.children:
        if child.signature:
            continue
        name = "audiencePrt" if child.name in RECIPIENT_SPELLINGS else child.name
        member = members.get(name) if child.namespace is None else None
        if member is None:
            message = f"{child.name} does not belong in {node.name}"
            report.at(child, "national.element.unknown", message, _shown(child, kind))
            continue
        seen[name] += 1
        if seen[name] > 1 and not member.many:
            message = f"{child.name} may stand once in {node.name}"
            report.at(child, "national.element.repeated", message, _shown(child, kind))
        if order[name] < furthest:
            after = list(members)[furthest]
            message = f"{child.name} must stand before {after}"
            report.at(child, "national.element.order", message, _shown(child, kind))
        furthest = max(furthest, order[name])
        if name in GROUPS:
            _group(child, name, report)
        else:
            for inner in child.children:
                message = f"{child.name} holds text, not elements"
                report.at(inner, "national.element.unknown", message, _shown(child, kind))
            if name not in _DEFAULTED and kind != "method" and values.is_blank(child.text):
                rule = "national.element.missing" if member.required else "national.element.empty"
                report.at(child, rule, f"{child.name} says nothing")
    if kind == "alert" and not seen["code"]:
        report.at(node, "national.method.absent", "no code names the channels that the message is for", "")
    for name, member in members.items():
        if member.required and not seen[name] and name not in _DEFAULTED:
            report.at(node, "national.element.missing", f"{node.name} has no {name}", "")
