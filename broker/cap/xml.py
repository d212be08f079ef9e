"""CAP as XML: a parser that refuses what is dangerous before it parses, and a stable writer."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn
from xml.sax.saxutils import escape  # writes only; nothing is parsed with the standard library

from lxml import etree

from broker.cap import names
from broker.cap.build import tree_of
from broker.cap.collector import Collector
from broker.cap.findings import Finding, Posture
from broker.cap.limits import Limits
from broker.cap.model import Alert
from broker.cap.tree import TYPED, Node, Parsed

_CODECS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "windows-1252": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
}
"""Encodings read without a byte order mark. GB 18030 extends the two older Chinese ones."""

_MARKS = (
    (codecs.BOM_UTF32_LE, None),
    (codecs.BOM_UTF32_BE, None),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(rb"<\?xml[ \t\r\n][^>]{0,200}?encoding[ \t\r\n]*=[ \t\r\n]*[\"']([A-Za-z][\w.-]*)[\"']")
_DECLARATION = re.compile(
    r"<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*([\"'])(?P<version>[0-9.]{1,8})\1"
    r"(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*([\"'])(?P<encoding>[A-Za-z][\w.-]*)\3)?"
    r"(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*([\"'])(?:yes|no)\5)?[ \t\r\n]*\?>",
    re.ASCII,
)
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SYNTAX_ERRORS = 10
_SIGNATURE_PREFIX = "{" + names.XML_SIGNATURE + "}"
_XSI_TYPE = f"{{{names.XML_SCHEMA_INSTANCE}}}type"
_LOCATIONS = frozenset(
    f"{{{names.XML_SCHEMA_INSTANCE}}}{name}" for name in ("schemaLocation", "noNamespaceSchemaLocation")
)


class _RefusedError(Exception):
    """The message is not looked at any further; carries rule, place, message and value."""

    def __init__(self, rule: str, message: str, *, place: str = "", value: str = "") -> None:
        super().__init__(message)
        self.rule, self.place, self.value = rule, place, value


def parse_xml(data: bytes, *, limits: Limits | None = None) -> Parsed:
    """Parse one message of CAP 1.2, 1.1 or 1.0; never raises for what is in `data`.

    No entity is ever resolved and nothing is fetched: a document type declaration is refused before the
    XML parser sees the bytes, whatever their encoding. `root` is None when there is nothing to check against
    CAP, and `findings` then says why. The tree of an older version is as sent; `broker.cap.older` maps it.
    """
    limits = limits or Limits()
    collector = Collector(Posture.STRICT, limits.max_findings)
    parsed = Parsed(None)
    try:
        root = _parse(_decode(data, limits), collector)
        if root is not None:
            namespace = _recognise(root, parsed)
            _Converter(limits, parsed, namespace).convert(root)
    except _RefusedError as refused:
        parsed.root = None
        collector.add(refused.rule, refused.place, str(refused), refused.value)
    parsed.findings = collector.result()
    return parsed


@dataclass(frozen=True, slots=True)
class SafeDocument:
    """XML of any vocabulary that passed the guards: its outermost element, and the text that was parsed.

    `root` is None when it did not pass, and `findings` then says why. In `text` the XML declaration is blank
    and the byte order mark is gone; `codec` is the encoding that it was decoded from.
    """

    root: etree._Element | None
    text: str
    codec: str
    findings: tuple[Finding, ...]


def safe_document(data: bytes, limits: Limits) -> SafeDocument:
    """Parse XML of any vocabulary under the same guards as `parse_xml`; never raises for what is in `data`.

    For formats that are not CAP but come from outside just as CAP does: size, encoding, document type
    declaration, depth and number of elements are all looked at here.
    """
    collector = Collector(Posture.STRICT, limits.max_findings)
    root, source = None, _Text("", "")
    try:
        source = _decode(data, limits)
        root = _parse(source, collector)
        if root is not None:
            _refuse_excess(root, limits)
    except _RefusedError as refused:
        root = None
        collector.add(refused.rule, refused.place, str(refused), refused.value)
    return SafeDocument(root, source.text, source.codec, tuple(collector.result()))


def safe_root(data: bytes, limits: Limits) -> tuple[etree._Element | None, list[Finding]]:
    """The outermost element of `safe_document`, or None with findings that say why."""
    document = safe_document(data, limits)
    return document.root, list(document.findings)


def _refuse_excess(root: etree._Element, limits: Limits) -> None:
    """Count elements and depth without recursion, before anything walks the tree by recursion."""
    elements, depth, level = 0, 0, [root]
    while level:
        depth += 1
        elements += len(level)
        if elements > limits.max_elements:
            raise _RefusedError("cap.elements", f"the message has more than {limits.max_elements} elements")
        if depth > limits.max_depth:
            message = f"elements are nested more than {limits.max_depth} deep"
            raise _RefusedError("cap.depth", message, place=f"line {_line(level[0])}")
        level = [child for element in level for child in element if isinstance(child.tag, str)]


class _Text(NamedTuple):
    text: str
    codec: str


def _decode(data: bytes, limits: Limits) -> _Text:
    """The text of the document, its XML declaration blanked, free of a document type declaration."""
    if len(data) > limits.max_bytes:
        raise _RefusedError("cap.size", f"the message has {len(data)} bytes, the limit is {limits.max_bytes}")
    # Every element opens with "<", so this bounds the parser's memory before it runs; it leaves room for
    # closing tags, comments and "<" in CDATA.
    if data.count(b"<") > 3 * limits.max_elements + 100:
        raise _RefusedError("cap.elements", f"the message has more than {limits.max_elements} elements")
    mark, codec = next(((mark, codec) for mark, codec in _MARKS if data.startswith(mark)), (b"", ""))
    if codec is None or (not mark and b"\0" in data[:4]):
        raise _RefusedError("cap.xml.encoding", "UTF-16 needs its byte order mark, and UTF-32 is not read")
    if not codec:
        declared = _DECLARED.match(data)
        name = declared[1].decode("ascii") if declared else "utf-8"
        if name.lower() not in _CODECS:
            message = f"the declared encoding {name} is not read; send UTF-8"
            raise _RefusedError("cap.xml.encoding", message, place="line 1", value=name)
        codec = _CODECS[name.lower()]
    try:
        text = data[len(mark) :].decode(codec)
    except UnicodeDecodeError as error:
        message = f"byte {error.start + len(mark)} is not {codec}: {error.reason}"
        line = data.count(b"\n", 0, error.start) + 1
        raise _RefusedError("cap.xml.encoding", message, place=f"line {line}") from None
    text = _blank_declaration(text, mark, codec)
    _refuse_doctype(text)
    return _Text(text, codec)


def _blank_declaration(text: str, mark: bytes, codec: str) -> str:
    """Take out the declaration, for the text is about to be UTF-8, and keep the line numbers."""
    declaration = _DECLARATION.match(text)
    if declaration is None:
        return text
    if declaration["version"] != "1.0":
        version = declaration["version"]
        raise _RefusedError("cap.xml.version", "only XML 1.0 is read", place="line 1", value=version)
    declared = declaration["encoding"]
    if mark and declared and not codec.startswith(_CODECS.get(declared.lower(), declared.lower())):
        message = f"the byte order mark says {codec}, the declaration {declared}"
        raise _RefusedError("cap.xml.encoding", message, place="line 1", value=declared)
    end = declaration.end()
    blank = " " * end if declaration[0].isprintable() else re.sub(r"[^\r\n]", " ", declaration[0])
    return blank + text[end:]


def _refuse_doctype(text: str) -> None:
    position = 0
    while True:
        while position < len(text) and text[position] in " \t\r\n\ufeff":
            position += 1
        if text.startswith("<!--", position):
            end, width = text.find("-->", position + 4), 3
        elif text.startswith("<?", position):
            end, width = text.find("?>", position + 2), 2
        else:
            break
        if end < 0:
            return  # not well-formed; the parser will say so
        position = end + width
    if text.startswith("<!", position):
        line = text.count("\n", 0, position) + 1
        message = "a document type declaration is not accepted"
        raise _RefusedError("cap.xml.doctype", message, place=f"line {line}", value=text[position : position + 60])


def _parse(source: _Text, collector: Collector) -> etree._Element | None:
    try:
        data = source.text.encode()
    except UnicodeEncodeError as error:
        raise _RefusedError("cap.xml.encoding", f"character {error.start} is half of a pair") from None
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_pis=False,
        remove_comments=False,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        entries = list(parser.error_log)[:_SYNTAX_ERRORS]
        for entry in entries:
            place = f"line {entry.line}, column {entry.column}"
            collector.add("cap.xml.syntax", place, entry.message.strip(), line=entry.line)
        if not entries:
            collector.add("cap.xml.syntax", f"line {error.lineno or 1}", error.msg or "not XML")
        return None
    document = root.getroottree().docinfo
    if document.internalDTD is not None or document.externalDTD is not None:
        raise _RefusedError("cap.xml.doctype", "a document type declaration is not accepted")
    return root


def _recognise(root: etree._Element, parsed: Parsed) -> str:
    """The namespace of the alert; refuses a document whose outermost element is no alert of CAP."""
    name = etree.QName(root)
    place = "/" + name.localname
    if name.localname != "alert":
        raise _RefusedError("cap.root", "the outermost element must be alert", place=place, value=root.tag)
    version = names.VERSIONS.get(name.namespace or "")
    if version is None:
        message = f"the namespace must be {names.CAP_1_2}"
        raise _RefusedError("cap.namespace", message, place=place, value=name.namespace or "")
    parsed.version = version
    return name.namespace or ""


class _Converter:
    """Turns lxml's tree into ours, counting as it goes."""

    def __init__(self, limits: Limits, parsed: Parsed, namespace: str) -> None:
        self._limits = limits
        self._most, self._deepest = limits.max_elements, limits.max_depth
        self._parsed = parsed
        self._prefix = "{" + namespace + "}"
        self._elements = 0
        self._names: dict[str, tuple[str, str | None]] = {}

    def convert(self, root: etree._Element) -> None:
        self._parsed.root = self._node(root, root.tag, None, 1)

    def _node(self, element: etree._Element, tag: str, parent: Node | None, depth: int) -> Node:
        # Runs for every element of every message, so what is rare is left to others.
        self._elements += 1
        if self._elements > self._most or depth > self._deepest:
            self._refuse(element)
        name, namespace = self._names.get(tag) or self._named(tag)
        line: Any = element.sourceline  # the stubs leave its type open
        node = Node(name, element.text or "", parent=parent, line=line, namespace=namespace)
        if element.keys():
            node.attributes = _attributes(element)
        if (
            namespace is not None
            and parent is not None
            and parent.parent is None
            and tag.startswith(_SIGNATURE_PREFIX)
        ):
            # A signature belongs to the bytes and is checked on them; its inside is no part of the message.
            node.signature = True
            node.text = ""
            self._parsed.signatures += 1
            self._look_inside(element, node, depth + 1)
            return node
        for child in element:
            child_tag = child.tag
            if isinstance(child_tag, str):
                self._node(child, child_tag, node, depth + 1)
            tail = child.tail
            if tail:
                node.text += tail
        return node

    def _refuse(self, element: etree._Element) -> NoReturn:
        if self._elements > self._most:
            raise _RefusedError("cap.elements", f"the message has more than {self._most} elements")
        message = f"elements are nested more than {self._deepest} deep"
        raise _RefusedError("cap.depth", message, place=f"line {_line(element)}")

    def _look_inside(self, element: etree._Element, signature: Node, depth: int) -> None:
        for child in element.iterchildren("*"):
            if child.tag.startswith(self._prefix):
                inside = self._node(child, child.tag, None, depth)
                inside.line = signature.line
                self._parsed.signed_content.append(inside)
            else:
                self._elements += 1
                if self._elements > self._most or depth > self._deepest:
                    self._refuse(child)
                self._look_inside(child, signature, depth + 1)

    def _named(self, tag: str) -> tuple[str, str | None]:
        """The name of an element, and its namespace unless that is the message's own."""
        if tag.startswith(self._prefix):
            found: tuple[str, str | None] = (tag[len(self._prefix) :], None)
        else:
            namespace, _, name = tag.rpartition("}")
            found = (name, namespace.removeprefix("{"))
        self._names[tag] = found
        return found


def _line(element: etree._Element) -> int | None:
    line: Any = element.sourceline  # the stubs leave its type open
    return None if line is None else int(line)


def _attributes(element: etree._Element) -> tuple[str, ...]:
    return tuple(_attribute(element, str(name)) for name in element.attrib if name not in _LOCATIONS)


def _attribute(element: etree._Element, name: str) -> str:
    if name != _XSI_TYPE:
        return name
    prefix, _, local = str(element.get(name)).strip().rpartition(":")
    return TYPED + local if element.nsmap.get(prefix or None) == names.XML_SCHEMA else name


def to_xml(alert: Alert) -> bytes:
    """Write an alert as XML in UTF-8, always the same bytes for the same alert.

    Reading them back gives an equal alert. Raises ValueError when a text holds a character that XML cannot
    carry (control characters; none that was read by this package).
    """
    lines = ["<?xml version='1.0' encoding='UTF-8'?>"]
    _write(tree_of(alert), lines, "")
    text = "\n".join(lines) + "\n"
    bad = _NOT_XML.search(text)
    if bad is not None:
        raise ValueError(f"XML cannot carry the character {bad[0]!r}")
    return text.encode()


def _write(node: Node, lines: list[str], indent: str) -> None:
    opening = f'{node.name} xmlns="{names.CAP_1_2}"' if node.parent is None else node.name
    if not node.children:
        # A bare carriage return would come back as a line feed.
        text = escape(node.text, {"\r": "&#13;"})
        lines.append(f"{indent}<{opening}>{text}</{node.name}>")
        return
    lines.append(f"{indent}<{opening}>")
    for child in node.children:
        _write(child, lines, indent + "  ")
    lines.append(f"{indent}</{node.name}>")
