"""Cuts an element out of a document's text, byte for byte where the element can stand alone."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from lxml import etree

from broker.cap.xml import SafeDocument

_MARKUP = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>"
    r"|<(?P<close>/)?(?P<name>[^ \t\r\n/>]+)(?:[^>\"']|\"[^\"]*\"|'[^']*')*+>",
    re.DOTALL,
)
"""One piece of markup of a well-formed document without a document type declaration."""

_REPEATED = frozenset(("entry", "item", "contentObject", "link", "info", "area"))


@dataclass(frozen=True, slots=True)
class Cut:
    """An element as a document of its own; `why_not` says what had to be rewritten, None when nothing had."""

    data: bytes
    why_not: str | None


@dataclass(slots=True)
class _Span:
    start: int
    name_end: int
    end: int


class Cutter:
    """Finds places and pieces of one parsed document; it must be well-formed, which its parser has seen to."""

    def __init__(self, document: SafeDocument) -> None:
        assert document.root is not None
        self._document = document
        # Holding them all keeps lxml from making new proxies, so that an element stays the same object.
        self._elements = [element for element in document.root.iter() if isinstance(element.tag, str)]
        self._numbers = {element: number for number, element in enumerate(self._elements)}
        self._spans: list[_Span] | None = None
        self._steps: dict[etree._Element, str] = {}

    def place(self, element: etree._Element) -> str:
        """An XPath in local names, with an index where a name repeats or could."""
        steps: list[str] = []
        node: etree._Element | None = element
        while node is not None:
            if node not in self._steps:
                self._name_children(node.getparent(), node)
            steps.append(self._steps[node])
            node = node.getparent()
        return "/" + "/".join(reversed(steps))

    def _name_children(self, parent: etree._Element | None, node: etree._Element) -> None:
        siblings = [node] if parent is None else [child for child in parent if isinstance(child.tag, str)]
        names = [etree.QName(child).localname for child in siblings]
        totals, seen = Counter(names), Counter[str]()
        for child, name in zip(siblings, names, strict=True):
            seen[name] += 1
            self._steps[child] = name if totals[name] == 1 and name not in _REPEATED else f"{name}[{seen[name]}]"

    def cut(self, element: etree._Element) -> Cut:
        """The element as a document, in UTF-8.

        The piece of text is taken as it stands. Only namespaces that the wrapping declares for it are written
        into its start tag. What comes out is held against the tree, so that it can never say something else.
        """
        if self._spans is None:
            self._spans = _spans(self._document.text)
        wanted = _canonical(element)
        if len(self._spans) == len(self._elements):
            span = self._spans[self._numbers[element]]
            text = self._document.text
            before, after = text[span.start : span.name_end], text[span.name_end : span.end]
            data = (before + after).encode()
            if _same(data, wanted):
                return Cut(data, self._recoded())
            data = (before + _inherited(element) + after).encode()
            if _same(data, wanted):
                return Cut(data, "namespaces that the wrapping declares were written into its start tag")
        return Cut(etree.tostring(element, with_tail=False, encoding="utf-8"), "it was written anew from the tree")

    def _recoded(self) -> str | None:
        codec = self._document.codec
        return None if codec in ("utf-8", "ascii") else f"the wrapping is {codec}, the alert was written in UTF-8"


def _spans(text: str) -> list[_Span]:
    spans: list[_Span] = []
    open_spans: list[_Span] = []
    for match in _MARKUP.finditer(text):
        name_end = match.end("name")
        if name_end < 0:
            continue
        if match["close"]:
            open_spans.pop().end = match.end()
            continue
        span = _Span(match.start(), name_end, match.end())
        spans.append(span)
        if text[match.end() - 2] != "/":
            open_spans.append(span)
    return spans


def _inherited(element: etree._Element) -> str:
    """Declarations of the namespaces that the element or anything in it uses, as far as others made them."""
    parent = element.getparent()
    outer = {} if parent is None else dict(parent.nsmap)
    used = {prefix for node in element.iter() if isinstance(node.tag, str) for prefix in _prefixes(node)}
    written = []
    for prefix, uri in sorted(outer.items(), key=lambda item: item[0] or ""):
        if prefix in used and prefix != "xml" and element.nsmap.get(prefix) == uri:
            name = "xmlns" if prefix is None else f"xmlns:{prefix}"
            escaped = uri.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
            written.append(f' {name}="{escaped}"')
    return "".join(written)


def _prefixes(node: etree._Element) -> set[str | None]:
    by_uri = {uri: prefix for prefix, uri in node.nsmap.items() if prefix is not None}
    attributes = {by_uri.get(etree.QName(name).namespace or "") for name in node.attrib}
    return {node.prefix, *(prefix for prefix in attributes if prefix is not None)}


def _canonical(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=True, with_tail=False)


def _same(data: bytes, wanted: bytes) -> bool:
    parser = etree.XMLParser(encoding="utf-8", resolve_entities=False, load_dtd=False, no_network=True)
    try:
        return _canonical(etree.fromstring(data, parser)) == wanted
    except etree.XMLSyntaxError:
        return False
