"""Alerts in an EDXL distribution (EDXL-DE 1.0 and 2.0): embedded as XML, carried encoded, or linked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from lxml import etree

from broker.cap import names, values
from broker.cap.wrapping.items import Link
from broker.cap.wrapping.workbench import (
    CAP_TYPES,
    XML_TYPES,
    Workbench,
    children,
    local,
    namespace,
    text_of,
    topmost_alerts,
)

# Drafts of 2.0 wrote names with a capital, so names are compared without regard to case.
_NAMESPACE: Final = re.compile(r"urn:oasis:names:tc:emergency:edxl:de:([12])\.0", re.IGNORECASE)
_BOTH: Final = ("distributionID", "senderID", "dateTimeSent", "distributionStatus")
_REQUIRED: Final = {
    "1": (*_BOTH, "distributionType", "combinedConfidentiality"),
    "2": (*_BOTH, "dateTimeExpires", "distributionKind"),
}
_TIMES: Final = ("dateTimeSent", "dateTimeExpires")


def is_edxl(root: etree._Element) -> bool:
    """Whether the outermost element is a distribution."""
    return local(root).lower() == "edxldistribution" and _NAMESPACE.fullmatch(namespace(root)) is not None


def read_edxl(root: etree._Element, bench: Workbench) -> None:
    """Take a distribution apart."""
    match = _NAMESPACE.fullmatch(namespace(root))
    assert match is not None
    for name in _REQUIRED[match[1]]:
        if text_of(_child(root, name)) is None:
            bench.find(root, "wrap.edxl.required", f"the distribution has no {name}")
    for name in _TIMES:
        element = _child(root, name)
        text = text_of(element)
        if element is not None and text is not None and values.parse_time(text) is None:
            bench.find(element, "wrap.edxl.time", f"{name} must be YYYY-MM-DDThh:mm:ss±hh:mm", text)
    status = text_of(_child(root, "distributionStatus"))
    contents = [element for element in _own(root) if local(element).lower() == "contentobject"]
    for content in contents:
        _content(content, bench, status)
    if not contents:
        bench.find(root, "wrap.empty", "the distribution has no content")


def _own(root: etree._Element) -> Iterator[etree._Element]:
    """The elements of the distribution itself, without those of what it carries."""
    waiting = [root]
    while waiting:
        element = waiting.pop()
        yield element
        waiting.extend(reversed([child for child in children(element) if namespace(child) == namespace(root)]))


def _child(parent: etree._Element, name: str) -> etree._Element | None:
    return next((child for child in children(parent) if local(child).lower() == name.lower()), None)


def _content(content: etree._Element, bench: Workbench, status: str | None) -> None:
    for element in _own(content):
        name = local(element).lower()
        if name == "embeddedxmlcontent":
            for alert in topmost_alerts(element):
                _agree(alert, bench, status)
                bench.take(alert)
        elif name in ("nonxmlcontent", "othercontent"):
            _other(element, bench)


def _agree(alert: etree._Element, bench: Workbench, status: str | None) -> None:
    """A test that says it is real, or the other way round, must never be told apart by luck."""
    own = next((text_of(child) for child in children(alert) if local(child) == "status"), None)
    if status is not None and own is not None and status != own:
        message = f"the distribution says {status}, the alert in it says {own}: one of them is wrong"
        bench.find(alert, "wrap.edxl.status", message, own)


def _other(element: etree._Element, bench: Workbench) -> None:
    stated = (text_of(_child(element, "mimeType")) or "").partition(";")[0].strip().lower()
    if stated not in XML_TYPES:
        return
    carried, uri = _child(element, "contentData"), text_of(_child(element, "uri"))
    if carried is not None:
        data = values.parse_base64(carried.text or "")
        if data is None:
            bench.find(carried, "wrap.content", "the content is not base64")
        elif stated in CAP_TYPES or any(name.encode() in data for name in names.VERSIONS):
            bench.take_bytes(carried, data)
    elif uri is not None and stated in CAP_TYPES:
        bench.take_link(element, Link(bench.address(element, uri), media_type=stated))
