"""Posts that are not CAP 1.2, whatever they mean."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Iterator

from tests.integration.api.wrong import Case, changed, declared, doctype, fixed, swapped, without

LAUGHS = "".join(
    f'<!ENTITY lol{n} "{"".join(f"&lol{n - 1};" for _ in range(10))}">' if n else '<!ENTITY lol0 "lol">'
    for n in range(10)
)


def not_text() -> Iterator[Case]:
    rule = "cap.xml.encoding"
    yield Case("bytes that are not UTF-8", 400, rule, changed(lambda t: t.encode() + b"\xff\xfe"))
    yield Case(
        "an overlong UTF-8 sequence", 400, rule, changed(lambda t: t.encode().replace(b"\xe6", b"\xc0\xbc", 1))
    )
    yield Case("half of a surrogate pair in UTF-8", 400, rule, changed(lambda t: t.encode() + b"\xed\xa0\x80"))
    yield Case("GB 18030 that says it is UTF-8", 400, rule, changed(lambda t: t.encode("gb18030")))
    yield Case("UTF-16 without a byte order mark", 400, rule, changed(lambda t: t.encode("utf-16-le")))
    yield Case("UTF-32", 400, rule, changed(lambda t: codecs.BOM_UTF32_LE + t.encode("utf-32-le")))
    yield Case("UTF-7", 400, rule, changed(lambda t: declared("UTF-7")(t).encode("utf-7")))
    yield Case("EBCDIC declared", 400, rule, changed(declared("IBM037")))
    yield Case("an encoding nobody knows", 400, rule, changed(declared("x-beacon")))
    yield Case(
        "a UTF-8 mark and another declaration",
        400,
        rule,
        changed(lambda t: codecs.BOM_UTF8 + declared("GBK")(t).encode()),
    )
    yield Case(
        "UTF-16 cut in the middle of a character", 400, rule, changed(lambda t: (t + "\n").encode("utf-16")[:-1])
    )
    yield Case("XML 1.1", 400, "cap.xml.version", swapped('version="1.0"', 'version="1.1"'))
    # A compressed body that does not say so, and a picture.
    yield Case("gzip that nobody announced", 400, rule, changed(lambda t: gzip.compress(t.encode(), mtime=0)))
    yield Case("a picture", 400, rule, fixed(b"\x89PNG\r\n\x1a\n" + bytes(64)))


def not_well_formed() -> Iterator[Case]:
    rule = "cap.xml.syntax"
    yield Case("nothing at all", 400, rule, fixed(b""))
    yield Case("white space", 400, rule, fixed(b" \n\t "))
    yield Case("a sentence", 400, rule, fixed("暴雨红色预警".encode()))
    yield Case("an alert cut off", 400, rule, changed(lambda t: t[: len(t) // 2]))
    yield Case("a closing tag that is missing", 400, rule, swapped("</headline>", ""))
    yield Case("tags that cross", 400, rule, swapped("</event>", "</category>"))
    yield Case("two alerts in one post", 400, rule, changed(lambda t: t + t.partition("?>")[2]))
    yield Case("text after the alert", 400, rule, changed(lambda t: t + "and more"))
    yield Case("a bare ampersand", 400, rule, swapped("强降雨", "强降雨 & 风"))
    yield Case("an entity of HTML", 400, rule, swapped("强降雨", "强降雨&nbsp;"))
    yield Case("a reference to no character", 400, rule, swapped("强降雨", "&#0;"))
    yield Case("a reference to half a pair", 400, rule, swapped("强降雨", "&#xD800;"))
    yield Case("a control character", 400, rule, swapped("强降雨", "\x07"))
    yield Case("a zero byte inside", 400, rule, swapped("强降雨", "\x00"))
    yield Case("an attribute given twice", 400, rule, swapped("<info>", '<info a="1" a="2">'))
    yield Case("a prefix that was never bound", 400, rule, swapped("<headline>", "<x:y/><headline>"))
    yield Case("a comment that never ends", 400, rule, swapped("<headline>", "<!-- <headline>"))
    yield Case("CDATA that never ends", 400, rule, swapped("强降雨", "<![CDATA["))
    yield Case("a space before the declaration", 400, rule, changed(lambda t: " " + t))


def document_types() -> Iterator[Case]:
    rule = "cap.xml.doctype"
    yield Case("a document type", 400, rule, doctype("<!DOCTYPE alert>"))
    yield Case(
        "a document type elsewhere", 400, rule, doctype('<!DOCTYPE alert SYSTEM "http://127.0.0.1:9/cap.dtd">')
    )
    yield Case("a public document type", 400, rule, doctype('<!DOCTYPE alert PUBLIC "-//OASIS//CAP" "cap.dtd">'))
    yield Case("an entity of one's own", 400, rule, doctype('<!DOCTYPE alert [<!ENTITY rain "雨">]>', "&rain;"))
    yield Case(
        "a file of the server by an entity",
        400,
        rule,
        doctype('<!DOCTYPE alert [<!ENTITY x SYSTEM "file:///etc/passwd">]>', "&x;"),
    )
    yield Case(
        "an address of the inside by an entity",
        400,
        rule,
        doctype('<!DOCTYPE alert [<!ENTITY x SYSTEM "http://169.254.169.254/latest/">]>', "&x;"),
    )
    yield Case(
        "a parameter entity from elsewhere",
        400,
        rule,
        doctype('<!DOCTYPE alert [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x.dtd"> %x;]>'),
    )
    yield Case("a billion laughs", 400, rule, doctype(f"<!DOCTYPE alert [{LAUGHS}]>", "&lol9;"))
    yield Case(
        "entities one inside the other",
        400,
        rule,
        doctype(f'<!DOCTYPE alert [<!ENTITY a "{"x" * 5000}">]>', "&a;" * 1000),
    )
    yield Case("a document type behind comments", 400, rule, doctype("<!-- a --><?b c?>\n<!DOCTYPE alert>"))
    yield Case("a document type in small letters", 400, rule, doctype("<!doctype alert>"))
    yield Case(
        "a document type in UTF-16",
        400,
        rule,
        lambda: doctype("<!DOCTYPE alert>")().decode().replace(' encoding="UTF-8"', "").encode("utf-16"),
    )


def not_cap() -> Iterator[Case]:
    space = "urn:oasis:names:tc:emergency:cap:1.2"
    yield Case("an HTML page", 400, "cap.root", fixed(b"<html><body>alert</body></html>"))
    yield Case(
        "an alert in an envelope",
        400,
        "cap.root",
        changed(lambda t: f'<Envelope xmlns="urn:soap">{t.partition("?>")[2]}</Envelope>'),
    )
    yield Case(
        "Alert with a capital",
        400,
        "cap.root",
        changed(lambda t: t.replace("alert", "Alert").replace("Alerts", "alerts")),
    )
    yield Case("no namespace", 400, "cap.namespace", swapped(f' xmlns="{space}"', ""))
    yield Case("a namespace that is nearly right", 400, "cap.namespace", swapped(space, space + "/"))
    yield Case("a namespace of the future", 400, "cap.namespace", swapped("cap:1.2", "cap:2.0"))
    yield Case("CAP 1.1", 422, "cap.version", swapped("cap:1.2", "cap:1.1"))
    yield Case("CAP 1.0", 422, "cap.version", swapped(space, "http://www.incident.com/cap/1.0"))
    yield Case("elements nested deeply", 422, "cap.depth", swapped("强降雨", "<a>" * 200 + "</a>" * 200))
    yield Case("elements nested without end", 400, "cap.xml.syntax", swapped("强降雨", "<a>" * 9000))


def structure() -> Iterator[Case]:
    unknown = "cap.element.unknown"
    yield Case(
        "an element that CAP does not know", 422, unknown, swapped("<headline>", "<colour>red</colour><headline>")
    )
    yield Case(
        "an element of another namespace",
        422,
        unknown,
        swapped("<headline>", '<x:e xmlns:x="urn:x">1</x:e><headline>'),
    )
    yield Case(
        "an element in the wrong place", 422, unknown, swapped("<headline>", "<areaDesc>合川</areaDesc><headline>")
    )
    yield Case("elements inside a text", 422, unknown, swapped("强降雨", "<b>强</b>"))
    yield Case("the wrong order", 422, "cap.element.order", swapped("<info>", "<info><headline>x</headline>"))
    yield Case(
        "an identifier given twice",
        422,
        "cap.element.repeated",
        swapped("<sender>", "<identifier>b</identifier><sender>"),
    )
    yield Case(
        "two severities",
        422,
        "cap.element.repeated",
        swapped("<certainty>", "<severity>Minor</severity><certainty>"),
    )
    yield Case("an attribute", 422, "cap.element.attribute", swapped("<headline>", '<headline xml:lang="zh">'))
    yield Case("text between the elements", 422, "cap.element.text", swapped("<info>", "now: <info>"))
    for name in ("identifier", "sender", "sent", "status", "msgType", "scope"):
        yield Case(f"no {name}", 422, f"cap.{name}.missing", without(name))
    for name in ("category", "event", "urgency", "severity", "certainty", "areaDesc"):
        yield Case(f"no {name}", 422, f"cap.{name}.missing", without(name))
    yield Case("an event code without a value", 422, "cap.value.missing", swapped("<value>11B03</value>", ""))
    yield Case(
        "an event code without a name",
        422,
        "cap.valueName.missing",
        swapped("<valueName>GB/T 35561</valueName>", ""),
    )
    yield Case("no info", 422, "cap.info.required", without("info"))
    yield Case("no area", 422, "cap.area.required", without("area"))
