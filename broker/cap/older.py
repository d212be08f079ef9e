"""CAP 1.0 and 1.1 as CAP 1.2: what the standards say maps is mapped, each mapping a finding; nothing else is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from broker.cap import grammar, names, values
from broker.cap.collector import Collector
from broker.cap.grammar import Element
from broker.cap.tree import Node

_TIMES: Final = frozenset(("sent", "effective", "onset", "expires"))
_CODES: Final = frozenset(("eventCode", "parameter", "geocode"))

_NEWER_VALUES: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "1.1": {"responseType": frozenset(("Avoid", "AllClear"))},
    "1.0": {
        "status": frozenset(("Draft",)),
        "category": frozenset(("CBRNE",)),
        "certainty": frozenset(("Observed",)),
    },
}
"""Version → element → values that only a later version has, with one meaning in all that have them."""

_NEWER_ELEMENTS: Final[Mapping[str, frozenset[str]]] = {
    "1.1": frozenset(),
    "1.0": frozenset(("responseType", "derefUri")),
}

CONTENT: Final[Mapping[str, Element]] = {
    "1.1": grammar.relaxed(grammar.ALERT, frozenset(("mimeType",))),
    "1.0": grammar.relaxed(grammar.ALERT, frozenset(("mimeType", "scope", "category"))),
}
"""Version → content model after `modernise`: that of CAP 1.2, without what the older one does not require."""


def modernise(root: Node, version: str, report: Collector) -> Node:
    """The tree of a CAP 1.0 or 1.1 alert as one of CAP 1.2; places in it stay those of the document.

    Reports the version, and everything that was mapped, that only a later version knows, that CAP 1.2 has no
    room for, and that CAP 1.2 requires although the older version gives no value for it.
    """
    namespace = next(name for name, known in names.VERSIONS.items() if known == version)
    report.at(root, "cap.version", f"this is CAP {version}; send CAP 1.2", namespace)
    root = root.copy()
    root.settle()
    _password(root, version, report)
    for node in list(_below(root)):
        _element(node, version, report)
    _required(root, version, report)
    return root


def _below(node: Node) -> Iterator[Node]:
    for child in node.children:
        if child.namespace is None and not child.signature:
            yield child
            yield from _below(child)


def _password(root: Node, version: str, report: Collector) -> None:
    if version != "1.0":
        return
    for node in root.all("password"):
        # Its value is a secret of the sender's and stands in no report.
        report.at(node, "cap.version.dropped", "CAP 1.2 has no password; use signatures and tokens", "")
        root.drop(node)


def _element(node: Node, version: str, report: Collector) -> None:
    if node.name in _NEWER_ELEMENTS[version]:
        report.at(node, "cap.version.newer", f"{node.name} is not an element of CAP {version}")
    if node.text in _NEWER_VALUES[version].get(node.name, ()):
        report.at(node, "cap.version.newer", f"{node.name} {node.text} is not a value of CAP {version}")
    if node.name in _TIMES:
        _time(node, version, report)
    if version == "1.0":
        if node.name == "certainty" and node.text == names.OLD_CERTAINTY:
            report.at(node, "cap.version.mapped", "Very Likely is Likely since CAP 1.1")
            node.text = "Likely"
        elif node.name in _CODES and not node.children:
            _code(node, report)


def _time(node: Node, version: str, report: Collector) -> None:
    """Z is a way of xs:dateTime, which the older schemas leave open, to write what CAP 1.2 writes -00:00."""
    text = values.collapse(node.text)
    mapped = text[:-1] + "-00:00"
    if text.endswith("Z") and values.parse_time(mapped) is not None:
        report.at(node, "cap.version.mapped", f"Z, which CAP {version} leaves open, is -00:00")
        node.text = mapped


def _code(node: Node, report: Collector) -> None:
    """CAP 1.0 writes a code as one text, name=value."""
    name, sign, value = node.text.partition("=")
    if sign:
        report.at(node, "cap.version.mapped", f"{node.name} name=value is valueName and value since CAP 1.1")
    else:
        name, value = "", node.text
        report.at(node, "cap.version.mapped", f"{node.name} names no code system; its valueName stays empty")
    node.text = ""
    node.put("valueName", name)
    node.put("value", value)


def _required(root: Node, version: str, report: Collector) -> None:
    if version == "1.0" and root.first("scope") is None:
        message = "CAP 1.0 may leave out scope, CAP 1.2 may not, and no standard names a value for it"
        report.at(root, "cap.version.unmapped", message, "")
    for info in root.all("info"):
        if version == "1.0" and info.first("category") is None:
            message = "CAP 1.0 may leave out category, CAP 1.2 may not, and no standard names a value for it"
            report.at(info, "cap.version.unmapped", message, "")
        for resource in info.all("resource"):
            if resource.first("mimeType") is None:
                message = "the resource has no mimeType, which CAP 1.2 requires; it is left out"
                report.at(resource, "cap.version.dropped", message, "")
                info.drop(resource)
