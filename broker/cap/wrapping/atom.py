"""Alerts in Atom feeds and entries (RFC 4287): inline, escaped, or linked."""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

from broker.cap.wrapping.items import Link
from broker.cap.wrapping.workbench import (
    CAP_TYPES,
    XML_TYPES,
    Workbench,
    children,
    local,
    looks_like_alert,
    namespace,
    text_of,
    topmost_alerts,
)

NAMESPACE: Final = "http://www.w3.org/2005/Atom"

_FEED = frozenset(
    ("author", "category", "contributor", "generator", "icon", "id", "link", "logo", "rights", "subtitle", "title")
) | frozenset(("updated", "entry"))
_ENTRY = frozenset(
    ("author", "category", "content", "contributor", "id", "link", "published", "rights", "source", "summary")
) | frozenset(("title", "updated"))
# RFC 3339: an offset or Z must be there, a fraction may; upper-case letters as RFC 4287 asks.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})")


def is_atom(root: etree._Element) -> bool:
    """Whether the outermost element is a feed or an entry of Atom."""
    return namespace(root) == NAMESPACE and local(root) in ("feed", "entry")


def read_atom(root: etree._Element, bench: Workbench) -> None:
    """Take a feed or a single entry apart."""
    if local(root) == "entry":
        _entry(root, bench, authored=False)
        return
    _head(root, bench, _FEED)
    entries = _all(root, "entry")
    authored = bool(_all(root, "author"))
    for entry in entries:
        _entry(entry, bench, authored=authored)
    if not entries:
        bench.find(root, "wrap.empty", "the feed has no entries")


def _all(parent: etree._Element, name: str) -> list[etree._Element]:
    return parent.findall(f"{{{NAMESPACE}}}{name}")


def _first(parent: etree._Element, name: str) -> str | None:
    return text_of(parent.find(f"{{{NAMESPACE}}}{name}"))


def _head(node: etree._Element, bench: Workbench, known: frozenset[str]) -> None:
    name = local(node)
    for required in ("id", "title", "updated"):
        found = _all(node, required)
        if len(found) != 1:
            how = f"has no {required}" if not found else f"has {len(found)} elements {required}"
            bench.find(node, f"wrap.atom.{required}", f"the {name} {how}")
    for identifier in _all(node, "id"):
        if text_of(identifier) is None:
            bench.find(identifier, "wrap.atom.id", "id is empty")
    for updated in _all(node, "updated"):
        text = text_of(updated) or ""
        if not _TIME.fullmatch(text):
            bench.find(updated, "wrap.atom.updated", "updated is not a date and time of RFC 3339", text)
    for child in children(node):
        if namespace(child) in (NAMESPACE, "") and local(child) not in known:
            bench.find(child, "wrap.atom.element", f"{local(child)} is not an element of an Atom {name}")


def _entry(entry: etree._Element, bench: Workbench, *, authored: bool) -> None:
    _head(entry, bench, _ENTRY)
    if not authored and not _all(entry, "author") and entry.find(f"{{{NAMESPACE}}}source") is None:
        bench.find(entry, "wrap.atom.author", "neither the entry nor its feed names an author")
    bench.know(entry, _first(entry, "id"))
    link = _link(entry, bench)
    before = len(bench.items)
    for content in _all(entry, "content"):
        _content(content, bench, link)
    if len(bench.items) > before or topmost_alerts(entry):
        return  # an alert elsewhere in the entry is a stray, taken later
    if link is None:
        bench.find(entry, "wrap.nothing", "the entry has neither an alert nor a link to one")
    else:
        bench.take_link(entry, link)


def _content(content: etree._Element, bench: Workbench, link: Link | None) -> None:
    alerts = topmost_alerts(content)
    for alert in alerts:
        bench.take(alert, link)
    text = content.text or ""
    if not alerts and looks_like_alert(text):
        bench.take_text(content, text, link)


def _link(entry: etree._Element, bench: Workbench) -> Link | None:
    """The best of an entry's links: what says it is CAP, then XML, then what is of no stated type."""
    best: tuple[int, etree._Element, str, str | None] | None = None
    candidates = [(link, link.get("href"), link.get("rel") or "alternate") for link in _all(entry, "link")]
    candidates += [(content, content.get("src"), "content") for content in _all(entry, "content")]
    for element, href, rel in candidates:
        stated = (element.get("type") or "").partition(";")[0].strip().lower() or None
        if href is None or not href.strip() or rel in ("self", "edit", "hub"):
            continue
        if stated in CAP_TYPES:
            rank = 0
        elif stated in XML_TYPES:
            rank = 1
        elif rel in ("alternate", "content") and stated is None:
            rank = 2
        else:
            continue  # a page to read, a picture, a schema
        if best is None or rank < best[0]:
            best = (rank, element, href, stated)
    if best is None:
        return None
    _, element, href, stated = best
    address = bench.address(element, href)
    return Link(address, _first(entry, "title"), _first(entry, "updated"), _first(entry, "id"), stated)
