"""Posts in the JSON form, and posts that HTTP itself has words for."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import struct
import zlib
from collections.abc import Iterator

from tests.integration.api.wrong import JSON, RING, Body, Case, changed, fixed, json_text, json_with
from tests.support.broker import MAX_BYTES, alert_xml


def json_form() -> Iterator[Case]:
    def case(name: str, rule: str, body: Body, status: int = 422) -> Case:
        return Case(f"JSON: {name}", status, rule, body, JSON)

    syntax, kind = "cap.json.syntax", "cap.json.type"
    yield case("nothing", syntax, fixed(b""))
    yield case("cut off", syntax, json_text(lambda t: t[:-9]))
    yield case("two messages", syntax, json_text(lambda t: t + t))
    yield case("a comma too many", syntax, json_text(lambda t: t[:-1] + ",}"))
    yield case("single quotes", syntax, json_text(lambda t: t.replace('"', "'")))
    yield case("a comment", syntax, json_text(lambda t: "// rain\n" + t))
    yield case("NaN", syntax, json_text(lambda t: t.replace('"Extreme"', "NaN")))
    yield case("Infinity", syntax, json_text(lambda t: t.replace('"Extreme"', "-Infinity")))
    yield case("a control character", syntax, json_text(lambda t: t.replace("强降雨", "\x07")))
    yield case("XML", syntax, lambda: alert_xml().encode())
    yield case("not UTF-8", "cap.json.encoding", json_text(lambda t: t.encode("gb18030")))
    yield case("UTF-16", "cap.json.encoding", json_text(lambda t: t.encode("utf-16")))
    yield case("a byte order mark", "cap.json.encoding", json_text(lambda t: codecs.BOM_UTF8 + t.encode()))
    yield case(
        "half a pair in UTF-8", "cap.json.encoding", json_with(lambda c: c["info"][0].update(headline="\ud800"))
    )
    yield case("half a pair, escaped", "cap.json.character", json_text(lambda t: t.replace("强降雨", "\\ud800")))
    yield case(
        "half a pair as a key", "cap.element.unknown", json_text(lambda t: t.replace('{"', '{"\\udc80":"x","', 1))
    )
    yield case(
        "a zero character, escaped", "cap.json.character", json_text(lambda t: t.replace("强降雨", "\\u0000"))
    )
    yield case(
        "a key given twice", "cap.json.duplicate", json_text(lambda t: t.replace("{", '{"scope":"Public",', 1))
    )
    yield case("a list", kind, json_text(lambda t: f"[{t}]"))
    yield case("a text", kind, json_text(json.dumps))
    yield case("null", kind, fixed(b"null"))
    yield case("a number", kind, fixed(b"9" * 6000))
    yield case("info as an object", kind, json_with(lambda c: c.update(info=c["info"][0])))
    yield case("info as a text", kind, json_with(lambda c: c.update(info="rain")))
    yield case("info holding texts", kind, json_with(lambda c: c.update(info=["rain"])))
    yield case("a number for a text", kind, json_with(lambda c: c.update(identifier=17)))
    yield case("true for a text", kind, json_with(lambda c: c.update(sender=True)))
    yield case("null for a text", kind, json_with(lambda c: c["info"][0].update(headline=None)))
    yield case("a list for a text", kind, json_with(lambda c: c.update(sent=[c["sent"]])))
    yield case(
        "a polygon as numbers", kind, json_with(lambda c: c["info"][0]["area"][0].update(polygon=[[30.0, 106.2]]))
    )
    yield case("a text for a list", kind, json_with(lambda c: c["info"][0].update(category="Met")))
    yield case("an unknown key", "cap.element.unknown", json_with(lambda c: c.update(colour="red")))
    yield case(
        "an unknown key inside", "cap.element.unknown", json_with(lambda c: c["info"][0].update(Colour="red"))
    )
    yield case("keys in capitals", "cap.sender.missing", json_with(lambda c: c.update(Sender=c.pop("sender"))))
    yield case("the alert inside an alert", "cap.sender.missing", json_text(lambda t: f'{{"alert":{t}}}'))
    yield case("nested without end", "cap.depth", fixed(b"[" * 30_000))
    yield case("nested deeply", "cap.depth", fixed(b'{"info":' * 500 + b"1" + b"}" * 500))
    yield case("many elements", "cap.elements", fixed(b"[" + b"1," * 25_000 + b"1]"))
    yield case("an unknown msgType", "cap.msgType.value", json_with(lambda c: c.update(msgType="alert")))
    yield case(
        "an open polygon",
        "cap.polygon.closed",
        json_with(lambda c: c["info"][0]["area"][0].update(polygon=[RING.rpartition(" ")[0]])),
    )
    yield case(
        "another's sender", "authority.sender", json_with(lambda c: c.update(sender="cq-met@warning.example")), 403
    )


def http() -> Iterator[Case]:
    valid = changed(lambda t: t + "\n")
    for name, content_type in (
        ("of a text", "text/plain"),
        ("of a form", "application/x-www-form-urlencoded"),
        ("of many parts", "multipart/form-data; boundary=x"),
        ("of XML as text", "text/xml"),
        ("of anything", "*/*"),
        ("of bytes", "application/octet-stream"),
        ("that is empty", ""),
        ("of two types", "application/json, application/xml"),
        ("of nonsense", ";;;="),
        ("with a line of Latin", "application/xml; note=\u00e9"),
        ("without end", "application/xml; a=" + "b" * 2000),
    ):
        yield Case(f"a content type {name}", 415, "media-type", valid, content_type)
    yield Case("JSON called XML", 400, "cap.xml.syntax", json_with(lambda c: None))
    large = changed(lambda t: t.replace("强降雨", "雨" * MAX_BYTES))
    yield Case("an alert over the limit", 413, "body.size", large)
    yield Case("JSON over the limit", 413, "body.size", fixed(b'{"a":"' + b"a" * MAX_BYTES + b'"}'), JSON)
    bomb = gzip.compress(b" " * (64 * MAX_BYTES), mtime=0)
    yield Case("a compressed bomb", 413, "body.size", fixed(bomb), content_encoding="gzip")
    yield Case("gzip that is none", 400, "body.encoding", valid, content_encoding="gzip")
    half = gzip.compress(alert_xml().encode(), mtime=0)[:-20]
    yield Case("gzip cut off", 400, "cap.xml.syntax", fixed(half), content_encoding="gzip")
    yield Case("deflate that is none", 400, "body.encoding", valid, content_encoding="deflate")
    yield Case("gzip with a wrong sum", 400, "body.encoding", fixed(_wrong_sum()), content_encoding="gzip")
    yield Case("a file of ZIP", 400, "cap.xml.syntax", fixed(b"PK\x03\x04" + b"a" * 60))


def _wrong_sum() -> bytes:
    text = alert_xml().encode()
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    out = io.BytesIO()
    out.write(b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\x03")
    out.write(packer.compress(text) + packer.flush())
    out.write(struct.pack("<II", 0, len(text)))
    return out.getvalue()
