"""Alerts in RSS 2.0, and in RSS 1.0 as far as its items go: inline, escaped, or linked."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final

from lxml import etree

from broker.cap.wrapping.items import Link
from broker.cap.wrapping.workbench import (
    CAP_TYPES,
    Workbench,
    children,
    local,
    looks_like_alert,
    namespace,
    text_of,
    topmost_alerts,
)

_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_OWN: Final = frozenset(("", "http://purl.org/rss/1.0/"))


def is_rss(root: etree._Element) -> bool:
    """Whether the outermost element is that of RSS 2.0 or 1.0."""
    return (local(root) == "rss" and not namespace(root)) or (local(root) == "RDF" and namespace(root) == _RDF)


def read_rss(root: etree._Element, bench: Workbench) -> None:
    """Take a channel apart."""
    channels = [child for child in children(root) if local(child) == "channel"]
    for channel in channels:
        _channel(channel, bench)
    if not channels:
        bench.find(root, "wrap.rss.channel", "there is no channel")
    items = [child for parent in (root, *channels) for child in children(parent) if _is(child, "item")]
    for item in items:
        _item(item, bench)
    if not items:
        bench.find(root, "wrap.empty", "the channel has no items")


def _is(element: etree._Element, name: str) -> bool:
    return local(element) == name and namespace(element) in _OWN


def _text(parent: etree._Element, name: str) -> str | None:
    return next((text for child in children(parent) if _is(child, name) and (text := text_of(child))), None)


def _channel(channel: etree._Element, bench: Workbench) -> None:
    for name in ("title", "link", "description"):
        if _text(channel, name) is None:
            bench.find(channel, "wrap.rss.channel", f"the channel has no {name}")
    for child in children(channel):
        if _is(child, "link") and text_of(child) is None:
            message = "link is empty; an address in an attribute is Atom's way, in Atom's namespace"
            bench.find(child, "wrap.rss.channel", message, child.get("href") or "")
        if _is(child, "pubDate") or _is(child, "lastBuildDate"):
            _date(child, bench)


def _date(element: etree._Element, bench: Workbench) -> None:
    text = text_of(element) or ""
    try:
        good = parsedate_to_datetime(text) is not None
    except (ValueError, IndexError, OverflowError):
        good = False
    if not good:
        bench.find(element, "wrap.rss.date", f"{local(element)} is not a date of RFC 822", text)


def _item(item: etree._Element, bench: Workbench) -> None:
    if _text(item, "title") is None and _text(item, "description") is None:
        bench.find(item, "wrap.rss.item", "the item has neither a title nor a description")
    guid = _text(item, "guid")
    if guid is None and namespace(item) == "":
        bench.find(item, "wrap.rss.guid", "the item has no guid")
    bench.know(item, guid)
    for child in children(item):
        if _is(child, "pubDate"):
            _date(child, bench)
    link = _link(item, guid, bench)
    alerts = topmost_alerts(item)
    for alert in alerts:
        bench.take(alert, link)
    escaped = [child for child in children(item) if not len(child) and looks_like_alert(child.text or "")]
    for child in escaped:
        bench.take_text(child, child.text or "", link)
    if alerts or escaped:
        return
    if link is None:
        bench.find(item, "wrap.nothing", "the item has neither an alert nor a link to one")
    else:
        bench.take_link(item, link)


def _link(item: etree._Element, guid: str | None, bench: Workbench) -> Link | None:
    found: tuple[etree._Element, str, str | None] | None = None
    for child in children(item):
        stated = (child.get("type") or "").partition(";")[0].strip().lower() or None
        if _is(child, "enclosure") and stated in CAP_TYPES and child.get("url"):
            found = (child, child.get("url") or "", stated)
            break
        text = text_of(child)
        if found is None and _is(child, "link") and text is not None:
            found = (child, text, None)
    if found is None:
        for child in children(item):
            text = text_of(child)
            lasting = child.get("isPermaLink", "true") == "true"
            # Many leave isPermaLink out and still give a number: then it is an id, and no bad link.
            if _is(child, "guid") and text is not None and lasting and text.startswith(("http://", "https://")):
                found = (child, text, None)
    if found is None:
        return None
    element, href, stated = found
    return Link(bench.address(element, href), _text(item, "title"), _text(item, "pubDate"), guid, stated)
