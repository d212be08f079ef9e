"""What the XML and JSON parsers refuse, and that they refuse it before it can do harm."""

from __future__ import annotations

import pytest

from broker.cap import Limits, Reading, read, to_xml
from broker.cap.compose import compose, geocode_area
from broker.cap.level import Level
from tests.unit.cap.samples import ALERT, NOW

BOMB = (
    '<!DOCTYPE alert [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{n} "{("&a" + (str(n - 1) if n > 1 else "") + ";") * 10}">' for n in range(1, 10))
    + "]>"
)
EXTERNAL = '<!DOCTYPE alert [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
BODY = ALERT.partition("?>")[2].lstrip()


def _rules(data: bytes, *, limits: Limits | None = None, kind: str = "xml") -> list[str]:
    reading = _read(data, limits, kind)
    assert reading.alert is None
    # Not everything could be looked at, and the report says so.
    assert [finding.rule for finding in reading.findings].count("cap.check.skipped") >= 1
    return [finding.rule for finding in reading.findings if finding.rule != "cap.check.skipped"]


def _read(data: bytes, limits: Limits | None = None, kind: str = "xml") -> Reading:
    return read(data, "json" if kind == "json" else "xml", limits=limits, now=NOW)


@pytest.mark.parametrize("doctype", [BOMB, EXTERNAL, "<!DOCTYPE alert>", '<!DOCTYPE a SYSTEM "http://x/">'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize("before", ["", " \n", "<!-- <alert> -->", "<?x <alert> ?>\r\n<!---->"])
def test_a_document_type_declaration_is_refused_in_every_encoding(doctype: str, encoding: str, before: str) -> None:
    name = encoding.removesuffix("-sig").upper()
    text = f'<?xml version="1.0" encoding="{name}"?>{before}{doctype}{BODY}'
    assert _rules(text.encode(encoding)) == ["cap.xml.doctype"]


def test_the_words_of_a_doctype_inside_a_text_are_only_words() -> None:
    reading = _read(ALERT.replace("forecast desk", "<![CDATA[<!DOCTYPE html>]]>").encode())
    assert reading.valid
    assert reading.alert is not None
    assert reading.alert.source == "<!DOCTYPE html>"


@pytest.mark.parametrize("encoding", ["utf-32", "utf-16-le", "utf-16-be", "utf-32-be"])
def test_encodings_that_hide_what_they_hold_are_refused(encoding: str) -> None:
    assert _rules(ALERT.encode(encoding)) == ["cap.xml.encoding"]


@pytest.mark.parametrize(
    "data",
    [
        ALERT.encode().replace(b"forecast", b"fore\xffcast"),
        ALERT.replace("UTF-8", "ISO-8859-1").encode("utf-16"),
        b"\xef\xbb\xbf" + ALERT.replace("UTF-8", "GBK").encode(),
        ALERT.replace("UTF-8", "UTF-16").encode(),
        ALERT.replace("UTF-8", "US-ASCII").encode(),
    ],
)
def test_bytes_that_are_not_in_the_declared_encoding_are_refused_with_one_clear_finding(data: bytes) -> None:
    assert _rules(data) == ["cap.xml.encoding"]


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "GB18030", "GBK", "GB2312"])
def test_chinese_encodings_are_read(encoding: str) -> None:
    reading = _read(ALERT.replace("UTF-8", encoding).encode(encoding))
    assert reading.valid
    assert reading.alert is not None
    assert reading.alert.infos[0].headline == "暴雨红色预警"


def test_latin_1_is_read() -> None:
    text = "".join(char if ord(char) < 256 else "é" for char in ALERT.replace("UTF-8", "ISO-8859-1"))
    reading = _read(text.encode("latin-1"))
    assert reading.alert is not None
    assert reading.alert.infos[0].event == "éé"


@pytest.mark.parametrize("data", [b"", b" ", b"\0", b"<", b"<alert>", b"\xef\xbb\xbf", b"\xff\xfe", b"<!"])
def test_what_is_hardly_a_document_has_a_finding(data: bytes) -> None:
    assert len(_rules(data)) >= 1


def test_an_undefined_entity_is_a_syntax_error() -> None:
    assert _rules(ALERT.replace("forecast", "&fore;").encode())[0] == "cap.xml.syntax"


def test_the_limits_hold_at_their_edge() -> None:
    data = ALERT.encode()
    elements = ALERT.count("</")
    assert _read(data, Limits(max_bytes=len(data))).valid
    assert _rules(data, limits=Limits(max_bytes=len(data) - 1)) == ["cap.size"]
    assert _read(data, Limits(max_elements=elements)).valid
    assert _rules(data, limits=Limits(max_elements=elements - 1)) == ["cap.elements"]
    assert _read(data, Limits(max_depth=5)).valid
    assert _rules(data, limits=Limits(max_depth=4)) == ["cap.depth"]


def test_very_deep_nesting_is_refused() -> None:
    assert _rules(b"<a>" * 15_000 + b"</a>" * 15_000)[0] in ("cap.xml.syntax", "cap.depth")
    assert _rules(b'{"info":' + b"[" * 100_000, kind="json") == ["cap.depth"]
    assert _rules(b"[" * 100_000, kind="json") == ["cap.depth"]


def test_json_limits() -> None:
    assert _rules(b"[" + b"0," * 30_000 + b"0]", kind="json") == ["cap.elements"]
    assert _rules(b" " * 3_000_000, kind="json") == ["cap.size"]


def test_a_long_run_of_escaped_quotes_is_scanned_in_one_go() -> None:
    assert _rules(b'{"a": "' + b'\\"' * 900_000, kind="json") == ["cap.json.syntax"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(value: str) -> None:
    assert _rules(f'{{"source": {value}}}'.encode(), kind="json") == ["cap.json.syntax"]


def test_a_number_of_many_digits_is_a_wrong_type() -> None:
    assert "cap.json.type" in _rules(b'{"source": ' + b"9" * 10_000 + b"}", kind="json")


def test_half_a_character_in_json_is_refused() -> None:
    assert "cap.json.character" in _rules(rb'{"source": "\ud800"}', kind="json")


@pytest.mark.parametrize("data", [b"[]", b"1", b'"a"', b"null"])
def test_json_that_is_no_object_is_refused(data: bytes) -> None:
    assert _rules(data, kind="json") == ["cap.json.type"]


def test_a_signature_is_counted_and_is_no_part_of_the_alert() -> None:
    signature = '<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><SignedInfo><x/></SignedInfo></Signature>'
    reading = _read(ALERT.replace("</alert>", f"{signature}</alert>").encode())
    assert reading.findings == ()
    assert reading.schema_valid
    assert reading.signatures == 1
    early = _read(ALERT.replace("  <source>", f"{signature}  <source>").encode())
    assert {finding.rule for finding in early.findings} == {"cap.element.order"}
    assert not early.schema_valid


def test_writing_a_character_that_xml_cannot_carry_fails_instead_of_dropping_it() -> None:
    alert = compose(
        "a", "b", NOW, "11B03", "暴雨", Level.RED, "\0", "", "", areas=[geocode_area("x", ["500117"])], expires=NOW
    )
    with pytest.raises(ValueError, match="cannot carry"):
        to_xml(alert)
