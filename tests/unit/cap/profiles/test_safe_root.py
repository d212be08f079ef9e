"""XML of any vocabulary is parsed under the guards of CAP: no DTD, nothing too large, too deep or too long."""

from __future__ import annotations

import pytest

from broker.cap.limits import Limits
from broker.cap.xml import safe_root

SMALL = Limits(max_bytes=2_000, max_depth=4, max_elements=20)


def test_a_document_of_another_vocabulary_is_parsed() -> None:
    root, findings = safe_root(b"<msg><data/></msg>", Limits())
    assert root is not None
    assert root.tag == "msg"
    assert findings == []


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b'<!DOCTYPE msg [<!ENTITY x "y">]><msg>&x;</msg>', "cap.xml.doctype"),
        (b"<msg><data></msg>", "cap.xml.syntax"),
        (b"", "cap.xml.syntax"),
        (b"<msg>" + b" " * 2_000 + b"</msg>", "cap.size"),
        (b"<a><a><a><a><a/></a></a></a></a>", "cap.depth"),
        (b"<msg>" + b"<a/>" * 20 + b"</msg>", "cap.elements"),
        (b"<msg>" + b"<a/>" * 300 + b"</msg>", "cap.elements"),
        (b"<?xml version='1.0' encoding='EBCDIC'?><msg/>", "cap.xml.encoding"),
    ],
)
def test_what_the_guards_refuse_is_refused_with_its_rule(data: bytes, rule: str) -> None:
    root, findings = safe_root(data, SMALL)
    assert root is None
    assert rule in {finding.rule for finding in findings}


def test_as_deep_and_as_many_as_the_limits_allow_is_parsed() -> None:
    assert safe_root(b"<a><a><a><a/></a></a></a>", SMALL)[0] is not None
    assert safe_root(b"<msg>" + b"<a/>" * 19 + b"</msg>", SMALL)[0] is not None
