"""What the readers of the single forms share: the report, the cutter, and the items found so far."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin, urlsplit

from lxml import etree

from broker.cap import names
from broker.cap.collector import Collector
from broker.cap.wrapping.cutting import Cutter
from broker.cap.wrapping.items import Link, Wrapped

_XML_BASE = "{http://www.w3.org/XML/1998/namespace}base"
_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_LOOKS_LIKE_ALERT = re.compile(
    r"\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*)*<(?:[A-Za-z_][\w.-]*:)?alert[\s>]", re.DOTALL
)

CAP_TYPES = frozenset(("application/cap+xml", "application/common-alerting-protocol+xml"))
XML_TYPES = CAP_TYPES | frozenset(("application/xml", "text/xml"))


class Workbench:
    """One document being taken apart; `base` is the address that it came from, where known."""

    def __init__(self, report: Collector, cutter: Cutter, base: str | None) -> None:
        self.report = report
        self.items: list[Wrapped] = []
        self._cutter = cutter
        self._base = base
        self._taken: set[etree._Element] = set()
        self._ids: set[str] = set()

    def find(self, element: etree._Element, rule: str, message: str, value: str = "") -> None:
        """Report on an element of the wrapping."""
        self.report.add(rule, self._cutter.place(element), message, value, line_of(element))

    def take(self, element: etree._Element, link: Link | None = None) -> None:
        """Keep an alert that stands in the wrapping as XML, once however often it is come upon."""
        if element in self._taken:
            return
        self._taken.add(element)
        cut = self._cutter.cut(element)
        if cut.why_not is not None:
            message = f"the alert's own bytes could not be kept: {cut.why_not}; a signature may not verify"
            self.find(element, "wrap.rewritten", message)
        place = self._cutter.place(element)
        self.items.append(Wrapped(place, line_of(element), cut.data, cut.why_not is None, link))

    def take_text(self, element: etree._Element, text: str, link: Link | None = None) -> None:
        """Keep an alert that stands in an element as escaped text."""
        self.find(element, "wrap.escaped", "the alert is escaped text; it is unpacked once")
        # The declared encoding was that of other bytes; these are UTF-8.
        data = _DECLARATION.sub("", text, count=1).strip().encode()
        self.items.append(Wrapped(self._cutter.place(element), line_of(element), data, False, link))

    def take_bytes(self, element: etree._Element, data: bytes) -> None:
        """Keep an alert that an element carries encoded, as the bytes that were encoded."""
        self.items.append(Wrapped(self._cutter.place(element), line_of(element), data, True))

    def take_link(self, element: etree._Element, link: Link) -> None:
        """Keep the link to an alert that is not here."""
        self.items.append(Wrapped(self._cutter.place(element), line_of(element), None, False, link))

    def take_strays(self, root: etree._Element) -> None:
        """Keep, and report, every alert that stands where the wrapping has no content."""
        for element in topmost_alerts(root):
            if element not in self._taken:
                self.find(element, "wrap.stray", "the alert stands outside of what the wrapping is there to carry")
                self.take(element)

    def know(self, element: etree._Element, identifier: str | None) -> None:
        """Report an id that an earlier entry had."""
        if identifier is None:
            return
        if identifier in self._ids:
            self.find(element, "wrap.repeated", "an earlier entry has the same id", identifier)
        self._ids.add(identifier)

    def address(self, element: etree._Element, href: str) -> str:
        """A link resolved against what is known of where it stands; reported when that does not suffice."""
        bases = [self._base or ""]
        chain = [element, *element.iterancestors()]
        bases += [base for node in reversed(chain) if (base := node.get(_XML_BASE))]
        href = href.strip()
        try:
            for base in reversed(bases):
                href = urljoin(base, href) if base else href
            parts = urlsplit(href)
            good = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:  # brackets that hold no address
            good = False
        if not good:
            self.find(element, "wrap.link.address", "it cannot be fetched: not an absolute http address", href)
        return href


def line_of(element: etree._Element) -> int:
    """The line on which an element starts, from 1."""
    line: Any = element.sourceline  # the stubs leave its type open
    return int(line) if line else 1


def local(element: etree._Element) -> str:
    """The name of an element without its namespace."""
    return etree.QName(element).localname


def namespace(element: etree._Element) -> str:
    """The namespace of an element, empty without one."""
    return etree.QName(element).namespace or ""


def children(element: etree._Element) -> list[etree._Element]:
    """The child elements, without comments and instructions."""
    return [child for child in element if isinstance(child.tag, str)]


def text_of(element: etree._Element | None) -> str | None:
    """The stripped text of an element; None for none, and for one that says nothing."""
    if element is None:
        return None
    return "".join(str(piece) for piece in element.itertext()).strip() or None


def is_alert(element: etree._Element) -> bool:
    """Whether an element is an alert of any version of CAP."""
    return local(element) == "alert" and namespace(element) in names.VERSIONS


def topmost_alerts(root: etree._Element) -> list[etree._Element]:
    """Every alert at or below an element that is in no other alert, in document order."""
    found: list[etree._Element] = []
    waiting = [root]
    while waiting:
        element = waiting.pop()
        if is_alert(element):
            found.append(element)
        else:
            waiting.extend(reversed(children(element)))
    return found


def looks_like_alert(text: str) -> bool:
    """Whether a text is, on its face, an alert written as XML."""
    return _LOOKS_LIKE_ALERT.match(text[:4000]) is not None
