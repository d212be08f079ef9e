"""Real alerts with their real mistakes: each is found, and none stops the reader."""

from __future__ import annotations

import pytest

from broker.cap import Posture, Reading, parse_json, read, segments, to_json, to_xml
from broker.cap.build import alert_of
from tests.unit.cap.samples import CORPUS, NOW, corpus_files

pytestmark = pytest.mark.skipif(not corpus_files(), reason="the corpus of real alerts is not here")


def _read(name: str, posture: Posture = Posture.STRICT) -> Reading:
    (path,) = (CORPUS / "cap").glob(f"*{name}*")
    return read(path.read_bytes(), "xml", posture=posture, now=NOW)


@pytest.mark.parametrize("posture", Posture)
def test_every_file_of_the_corpus_is_read_without_failing(posture: Posture) -> None:
    for path in corpus_files():
        reading = read(path.read_bytes(), "xml", posture=posture, now=NOW)
        assert reading.alert is not None or reading.errors, path.name


def test_every_alert_of_the_corpus_survives_both_forms() -> None:
    kept = 0
    for path in corpus_files():
        alert = read(path.read_bytes(), "xml", now=NOW).alert
        if alert is None:
            continue
        kept += 1
        assert read(to_xml(alert), "xml", now=NOW).alert == alert, path.name
        root = parse_json(to_json(alert)).root
        assert root is not None
        assert alert_of(root) == alert, path.name
        assert sum(len(segment.infos) for segment in segments(alert)) == len(alert.infos), path.name
    assert kept > 25


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("invalid_xmlns", {"cap.namespace"}),
        ("tmp0000", {"cap.version"}),
        ("xee.cap", {"cap.xml.doctype"}),
        ("xee.atom", {"cap.xml.doctype"}),
        ("bushfire_valid", {"cap.root"}),
        ("getMessage-invalid", {"cap.areaDesc.missing", "cap.references.self", "cap.references.duplicate"}),
        ("defra__nws-alert", {"cap.polygon.syntax", "cap.text.blank"}),
        ("google-cap-library__invalid.cap", {"cap.scope.missing", "cap.language.absent", "cap.area.unlocated"}),
        ("canada_errors", {"cap.references.required"}),
        ("iso8859-1", {"cap.circle.zero", "cap.language.absent"}),
        ("POA-1222963954-5", {"cap.element.order", "cap.element.repeated", "cap.certainty.missing"}),
        ("alertswiss-TEST", {"cap.area.required", "cap.category.missing"}),
        ("gdacs-cap_1023542", {"cap.polygon.syntax"}),
        ("gdacs-cap_1470644", {"cap.polygon.range", "cap.polygon.nodes"}),
        ("kde-public-alert__il-", {"cap.polygon.empty"}),
        ("kde-public-alert__kz-", {"cap.polygon.crossing"}),
        ("mo-cap_monsoon", {"cap.references.self", "cap.polygon.whitespace", "cap.expires.absent"}),
        ("mow.DE-HE", {"cap.element.order", "cap.polygon.nodes"}),
        ("noaa-2.49.0.1.840.0.9b5195e6", {"cap.element.order", "cap.onset.order"}),
        ("test_cap_data_1", {"cap.polygon.closed"}),
        ("wcatwc", {"cap.parameter.repeated", "cap.headline.length"}),
    ],
)
def test_the_known_mistake_of_a_real_alert_is_found(name: str, rules: set[str]) -> None:
    assert rules <= {finding.rule for finding in _read(name).findings}


def test_a_good_alert_of_another_country_is_valid_in_the_lenient_posture() -> None:
    for name in ("taiwan", "mexico", "CanadaNaad", "iceland", "kde-public-alert__ie-"):
        reading = _read(name, Posture.LENIENT)
        assert reading.valid, (name, reading.errors)


def test_a_reservoir_release_keeps_its_profile_code() -> None:
    alert = _read("taiwan").alert
    assert alert is not None
    assert alert.infos[0].event_code("profile:CAP-TWP:Event:1.0") is not None
    assert alert.infos[0].language_tag == "zh-tw"


def test_a_signed_alert_counts_its_signature() -> None:
    reading = _read("canada_signed.cap")
    assert reading.signatures >= 1
    assert reading.schema_valid
