"""CAP 1.2 as JSON of the same shape.

Element names are keys, members of `alert` stand at the top, an element that may repeat is an array even when
it occurs once, and every value is the text that XML would carry: numbers and times are strings too, so that
nothing is lost. The order of keys does not matter.
"""

from __future__ import annotations

import json
import re
from typing import Any

from broker.cap import grammar
from broker.cap.build import tree_of
from broker.cap.collector import Collector
from broker.cap.findings import Posture
from broker.cap.grammar import Element, Kind
from broker.cap.limits import Limits
from broker.cap.model import Alert
from broker.cap.tree import Node, Parsed

# One match per string, closed or not, so that the scan stays linear whatever the input.
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{},]', re.DOTALL)
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a key given twice is seen."""


class _Scalar(str):
    """A number, true, false or null: kept as written, and not a string."""

    __slots__ = ()


class _RefusedError(Exception):
    """The message is not looked at any further; carries rule and place."""

    def __init__(self, rule: str, message: str, place: str = "") -> None:
        super().__init__(message)
        self.rule, self.place = rule, place


def parse_json(data: bytes, *, limits: Limits | None = None) -> Parsed:
    """Parse one CAP 1.2 message in JSON; never raises for what is in `data`.

    Places in findings are JSON Pointers (RFC 6901). `root` is None when the bytes are not a JSON object.
    """
    limits = limits or Limits()
    collector = Collector(Posture.STRICT, limits.max_findings)
    parsed = Parsed(None, version="1.2")
    try:
        content = _load(data, limits)
        parsed.root = Node("alert", pointer="")
        _Converter(collector, parsed).group(content, parsed.root, grammar.ALERT)
    except _RefusedError as refused:
        parsed.root = None
        collector.add(refused.rule, refused.place, str(refused))
    parsed.findings = collector.result()
    return parsed


def _load(data: bytes, limits: Limits) -> _Object:
    if len(data) > limits.max_bytes:
        raise _RefusedError("cap.size", f"the message has {len(data)} bytes, the limit is {limits.max_bytes}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _RefusedError("cap.json.encoding", f"byte {error.start} is not UTF-8: {error.reason}") from None
    if text.startswith("\ufeff"):
        raise _RefusedError("cap.json.encoding", "a byte order mark is not accepted")
    _bound(text, limits)
    try:
        content = json.loads(
            text,
            object_pairs_hook=_Object,
            parse_int=_Scalar,
            parse_float=_Scalar,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _RefusedError("cap.json.syntax", error.msg, place) from None
    if not isinstance(content, _Object):
        raise _RefusedError("cap.json.type", "the message must be an object")
    return content


def _refuse_constant(name: str) -> None:
    raise _RefusedError("cap.json.syntax", f"{name} is not JSON")


def _bound(text: str, limits: Limits) -> None:
    """Refuse depth and number before anything is built."""
    depth = 0
    commas = 0
    # An array adds a level that XML does not have.
    deepest = 2 * limits.max_depth
    for match in _TOKENS.finditer(text):
        mark = match[0]
        if mark in ("{", "["):
            depth += 1
            if depth > deepest:
                raise _RefusedError("cap.depth", f"values are nested more than {deepest} deep")
        elif mark in ("}", "]"):
            depth -= 1
        elif mark == ",":
            commas += 1
            if commas >= limits.max_elements:
                raise _RefusedError("cap.elements", f"the message has more than {limits.max_elements} elements")


class _Converter:
    """Turns JSON values into the tree that XML would have given."""

    def __init__(self, collector: Collector, parsed: Parsed) -> None:
        self._report = collector
        self._parsed = parsed

    def group(self, content: _Object, node: Node, element: Element) -> None:
        assert node.pointer is not None
        seen: set[str] = set()
        unknown: list[tuple[str, Any]] = []
        known: list[tuple[int, Element, Any]] = []
        for key, value in content:
            if key in seen:
                self._wrong("cap.json.duplicate", f"{node.pointer}/{_escape(key)}", f"{key} is given twice")
                continue
            seen.add(key)
            member = element.member(key)
            if member is None:
                unknown.append((key, value))
            else:
                known.append((element.order[key], member, value))
        for _, member, value in sorted(known, key=lambda item: item[0]):
            self._member(value, node, member)
        for key, value in unknown:
            text = value if isinstance(value, str) else ""
            Node(key, text, parent=node, pointer=f"{node.pointer}/{_escape(key)}")

    def _member(self, value: Any, parent: Node, element: Element) -> None:
        pointer = f"{parent.pointer}/{element.name}"
        if not element.many:
            self._one(value, parent, element, pointer)
        elif not isinstance(value, list) or isinstance(value, _Object):
            self._wrong("cap.json.type", pointer, f"{element.name} must be an array", value)
        else:
            for index, item in enumerate(value):
                self._one(item, parent, element, f"{pointer}/{index}")

    def _one(self, value: Any, parent: Node, element: Element, pointer: str) -> None:
        if element.kind is Kind.GROUP:
            if isinstance(value, _Object):
                self.group(value, Node(element.name, parent=parent, pointer=pointer), element)
            else:
                self._wrong("cap.json.type", pointer, f"{element.name} must be an object", value)
        elif not isinstance(value, str) or isinstance(value, _Scalar):
            self._wrong("cap.json.type", pointer, f"{element.name} must be a string", value)
        else:
            bad = _NOT_XML.search(value)
            if bad is not None:
                self._wrong("cap.json.character", pointer, f"character {bad[0]!r} is not allowed", value)
            Node(element.name, value, parent=parent, pointer=pointer)

    def _wrong(self, rule: str, place: str, message: str, value: Any = "") -> None:
        self._parsed.faithful = False
        self._report.add(rule, place, message, _shown(value))


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, _Object):
        return "{…}"
    return "[…]" if isinstance(value, list) else json.dumps(value)


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def to_json(alert: Alert) -> bytes:
    """Write an alert as JSON in UTF-8, keys in the order of the standard, always the same bytes."""
    content = _content(tree_of(alert), grammar.ALERT)
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def _content(node: Node, element: Element) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for child in node.children:
        member = element.member(child.name)
        assert member is not None
        value = _content(child, member) if member.kind is Kind.GROUP else child.text
        if member.many:
            content.setdefault(child.name, []).append(value)
        else:
            content[child.name] = value
    return content
