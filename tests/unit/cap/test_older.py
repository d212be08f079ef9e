"""CAP 1.0 and 1.1: read without a guess, each mapping a finding, and an error for departments of our own."""

from __future__ import annotations

import pytest

from broker.cap import Posture, Reading, read, to_xml
from broker.cap.model import Certainty, NamedValue, Scope, Status
from tests.unit.cap.samples import NOW

OLDEST = """<?xml version="1.0" encoding="UTF-8"?>
<alert xmlns="http://www.incident.com/cap/1.0">
  <identifier>KSTO1055887203</identifier>
  <sender>duty@dam.example.org</sender>
  <password>swordfish-7</password>
  <sent>2026-06-18T01:30:00Z</sent>
  <status>Actual</status>
  <msgType>Alert</msgType>
  <scope>Public</scope>
  <info>
    <category>Met</category>
    <event>SEVERE THUNDERSTORM</event>
    <urgency>Immediate</urgency>
    <severity>Severe</severity>
    <certainty>Very Likely</certainty>
    <eventCode>same=SVR</eventCode>
    <expires>2026-06-18T12:00:00+08:00</expires>
    <headline>Severe thunderstorm warning</headline>
    <parameter>HSAS=ORANGE=2</parameter>
    <resource><resourceDesc>map</resourceDesc><uri>https://example.org/a.png</uri></resource>
    <resource><resourceDesc>sound</resourceDesc><mimeType>audio/ogg</mimeType><uri>x</uri></resource>
    <area>
      <areaDesc>Some county</areaDesc>
      <polygon>38.47,-120.14 38.34,-119.95 38.52,-119.74 38.62,-119.89 38.47,-120.14</polygon>
      <geocode>fips6=006109</geocode>
      <geocode>006009</geocode>
    </area>
  </info>
</alert>
"""
OLDER = (
    OLDEST.replace("http://www.incident.com/cap/1.0", "urn:oasis:names:tc:emergency:cap:1.1")
    .replace("  <password>swordfish-7</password>\n", "")
    .replace("01:30:00Z", "09:30:00+08:00")
    .replace("Very Likely", "Observed")
    .replace("<eventCode>same=SVR<", "<eventCode><valueName>same</valueName><value>SVR</value><")
    .replace("<parameter>HSAS=ORANGE=2<", "<parameter><valueName>HSAS</valueName><value>ORANGE</value><")
    .replace("<geocode>fips6=006109<", "<geocode><valueName>fips6</valueName><value>006109</value><")
    .replace("      <geocode>006009</geocode>\n", "")
)


def _read(text: str, posture: Posture = Posture.LENIENT) -> Reading:
    return read(text.encode(), "xml", posture=posture, now=NOW)


def _found(reading: Reading, rule: str) -> list[str]:
    return [finding.place for finding in reading.findings if finding.rule == rule]


@pytest.mark.parametrize(("text", "version"), [(OLDEST, "1.0"), (OLDER, "1.1")])
def test_an_older_version_is_an_error_for_our_departments_and_a_note_for_others(text: str, version: str) -> None:
    strict, lenient = _read(text, Posture.STRICT), _read(text)
    for reading in (strict, lenient):
        assert reading.version == version
        assert reading.alert is not None
        assert not reading.schema_valid
        assert _found(reading, "cap.version") == ["/alert"]
    assert [finding.rule for finding in strict.errors][:1] == ["cap.version"]
    assert not strict.valid
    assert lenient.valid, lenient.errors


def test_cap_1_0_is_mapped_as_the_standards_say_and_each_mapping_is_reported_in_its_place() -> None:
    reading = _read(OLDEST)
    assert reading.alert is not None
    (info,) = reading.alert.infos
    assert reading.alert.sent.text == "2026-06-18T01:30:00-00:00"
    assert reading.sent == "2026-06-18T01:30:00Z"
    assert info.certainty is Certainty.LIKELY
    assert info.event_codes == (NamedValue("same", "SVR"),)
    assert info.parameters == (NamedValue("HSAS", "ORANGE=2"),)
    assert info.areas[0].geocodes == (NamedValue("fips6", "006109"), NamedValue("", "006009"))
    assert _found(reading, "cap.version.mapped") == [
        "/alert/sent",
        "/alert/info[1]/certainty",
        "/alert/info[1]/eventCode[1]",
        "/alert/info[1]/parameter[1]",
        "/alert/info[1]/area[1]/geocode[1]",
        "/alert/info[1]/area[1]/geocode[2]",
    ]
    lines = OLDEST.splitlines()
    for finding in reading.findings:
        if finding.rule == "cap.version.mapped":
            assert finding.place.rpartition("/")[2].partition("[")[0] in lines[(finding.line or 0) - 1]


def test_a_password_is_dropped_and_stands_in_no_report() -> None:
    for text in (OLDEST, OLDEST.replace("http://www.incident.com/cap/1.0", "urn:oasis:names:tc:emergency:cap:1.1")):
        for posture in Posture:
            reading = _read(text, posture)
            assert "swordfish" not in str([finding.as_dict() for finding in reading.findings])
    assert "/alert/password" in _found(_read(OLDEST), "cap.version.dropped")


def test_a_resource_without_type_is_left_out_and_the_other_one_keeps_its_place() -> None:
    for text in (OLDEST, OLDER):
        reading = _read(text)
        assert reading.alert is not None
        assert [resource.resource_desc for resource in reading.alert.infos[0].resources] == ["sound"]
        assert "/alert/info[1]/resource[1]" in _found(reading, "cap.version.dropped")
        assert _found(reading, "cap.uri.relative") == ["/alert/info[1]/resource[2]/uri"]


@pytest.mark.parametrize(
    ("removed", "place"),
    [("  <scope>Public</scope>\n", "/alert"), ("    <category>Met</category>\n", "/alert/info[1]")],
)
def test_what_cap_1_0_may_leave_out_is_not_made_up(removed: str, place: str) -> None:
    reading = _read(OLDEST.replace(removed, ""))
    assert reading.alert is None
    assert _found(reading, "cap.version.unmapped") == [place]
    assert {finding.rule for finding in reading.errors} == {"cap.version.unmapped"}


def test_cap_1_1_may_not_leave_out_scope() -> None:
    reading = _read(OLDER.replace("  <scope>Public</scope>\n", ""))
    assert {finding.rule for finding in reading.errors} == {"cap.scope.missing"}


@pytest.mark.parametrize(
    ("text", "old", "new", "place"),
    [
        (OLDEST, ">Actual<", ">Draft<", "/alert/status"),
        (OLDEST, ">Very Likely<", ">Observed<", "/alert/info[1]/certainty"),
        (OLDEST, ">Met<", ">CBRNE<", "/alert/info[1]/category[1]"),
        (
            OLDEST,
            "<urgency>",
            "<responseType>Shelter</responseType><urgency>",
            "/alert/info[1]/responseType[1]",
        ),
        (OLDER, "<urgency>", "<responseType>AllClear</responseType><urgency>", "/alert/info[1]/responseType[1]"),
        (OLDER, "<urgency>", "<responseType>Avoid</responseType><urgency>", "/alert/info[1]/responseType[1]"),
    ],
)
def test_what_only_a_later_version_knows_is_read_and_reported(text: str, old: str, new: str, place: str) -> None:
    assert old in text
    lenient, strict = (_read(text.replace(old, new), posture) for posture in (Posture.LENIENT, Posture.STRICT))
    assert lenient.valid, lenient.errors
    assert _found(lenient, "cap.version.newer") == [place]
    assert "cap.version.newer" in {finding.rule for finding in strict.errors}


def test_a_word_that_no_version_knows_is_an_error_whatever_the_posture() -> None:
    assert [f.rule for f in _read(OLDEST.replace(">Severe<", ">Red<")).errors] == ["cap.severity.value"]
    assert [f.rule for f in _read(OLDER.replace(">Observed<", ">Certain<")).errors] == ["cap.certainty.value"]
    assert [f.rule for f in _read(OLDER.replace("<value>SVR</value>", "")).errors] == ["cap.value.missing"]


@pytest.mark.parametrize("time", ["2026-06-18T01:30:00", "2026-06-18T01:30:00.5Z", "2026-06-18 01:30:00Z", "Z", ""])
def test_a_time_that_is_not_cap_1_2_s_own_in_another_form_is_not_guessed(time: str) -> None:
    reading = _read(OLDEST.replace("2026-06-18T01:30:00Z", time))
    assert reading.alert is None
    assert "cap.sent.format" in {finding.rule for finding in reading.errors}


def test_an_older_alert_can_be_written_as_cap_1_2_and_is_then_valid_for_everybody() -> None:
    for text in (OLDEST, OLDER):
        alert = _read(text).alert
        assert alert is not None
        again = read(to_xml(alert), "xml", posture=Posture.LENIENT, now=NOW)
        assert again.alert == alert
        assert again.version == "1.2"
        assert again.schema_valid
        assert again.valid
        assert (alert.scope, alert.status) == (Scope.PUBLIC, Status.ACTUAL)


def test_reading_an_older_alert_twice_says_the_same_twice() -> None:
    assert _read(OLDEST) == _read(OLDEST)
