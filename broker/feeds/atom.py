"""Writes Atom (RFC 4287) in pages (RFC 5005, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from lxml import etree

from broker.clock import from_ms
from broker.feeds.entries import Entry
from broker.feeds.settings import PublicFeeds

MEDIA_TYPE: Final = "application/atom+xml"
CAP_TYPE: Final = "application/cap+xml"
_NS: Final = "http://www.w3.org/2005/Atom"
_SCHEME: Final = "https://fenghuo.example/feeds#"
_CHINESE: Final = {"Red": "红色", "Orange": "橙色", "Yellow": "黄色", "Blue": "蓝色"}


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry and when it came to be."""

    entry: Entry
    released: int
    """UTC milliseconds."""
    visible: int
    """When it went out; never changes either."""


def feed(
    settings: PublicFeeds,
    *,
    language: str,
    level: str | None,
    path: str,
    following: str | None,
    shown: Sequence[Shown],
) -> bytes:
    """A page of a feed, always the same bytes for the same entries.

    `path` is the feed's own, `following` the path and query of the next page, if there is one. Without a public
    address links are relative, which RFC 4287 (4.2.7.1) allows, and the reader resolves them against where the
    feed was fetched.
    """
    base = settings.public_url or ""
    prefixes: dict[str | None, str] = {None: _NS}
    root = etree.Element(f"{{{_NS}}}feed", nsmap=prefixes)  # type: ignore[arg-type,unused-ignore]
    root.set("{http://www.w3.org/XML/1998/namespace}lang", language)
    _leaf(root, "id", uuid5(NAMESPACE_URL, f"{base or settings.author}{path}").urn)
    _leaf(root, "title", " · ".join(part for part in (settings.title, language, level) if part))
    _leaf(root, "updated", _time(max((each.visible for each in shown), default=0)))
    _link(root, "self", MEDIA_TYPE, base + path)
    if following is not None:
        _link(root, "next", MEDIA_TYPE, base + following)
    author = etree.SubElement(root, f"{{{_NS}}}author")
    _leaf(author, "name", settings.author)
    _leaf(root, "generator", "fenghuo")
    for each in shown:
        _entry(root, each, language, base)
    written: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    return written


def _entry(root: etree._Element, shown: Shown, language: str, base: str) -> None:
    entry, words = shown.entry, shown.entry.best(language)
    node = etree.SubElement(root, f"{{{_NS}}}entry")
    _leaf(node, "id", entry.urn)
    _leaf(node, "title", words.title)
    _leaf(node, "updated", _time(shown.visible))
    _leaf(node, "published", _time(shown.released))
    author = etree.SubElement(node, f"{{{_NS}}}author")
    _leaf(author, "name", words.author)
    _link(node, "alternate", CAP_TYPE, f"{base}/feeds/alerts/{entry.id}.xml")
    if entry.level is not None:
        _category(node, "level", entry.level, _CHINESE.get(entry.level))
    if entry.event:
        _category(node, "event", entry.event, words.event or None)
    _category(node, "msgType", entry.msg_type, None)
    _leaf(node, "summary", words.summary or words.title)


def _leaf(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, f"{{{_NS}}}{name}").text = text


def _link(parent: etree._Element, rel: str, media_type: str, href: str) -> None:
    etree.SubElement(parent, f"{{{_NS}}}link", {"rel": rel, "type": media_type, "href": href})


def _category(parent: etree._Element, scheme: str, term: str, label: str | None) -> None:
    attributes = {"scheme": _SCHEME + scheme, "term": term} | ({"label": label} if label else {})
    etree.SubElement(parent, f"{{{_NS}}}category", attributes)


def _time(ms: int) -> str:
    """RFC 3339 in UTC."""
    return from_ms(ms).strftime("%Y-%m-%dT%H:%M:%SZ")
