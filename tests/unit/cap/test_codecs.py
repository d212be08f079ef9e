"""Laws of the codecs: what is written is read back, in XML and in JSON alike, and nothing makes read raise."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.cap import Posture, Reading, parse_json, parse_xml, read, to_json, to_xml
from broker.cap.build import alert_of
from broker.cap.model import Alert
from tests.unit.cap.samples import ALERT, NOW
from tests.unit.cap.strategies import alerts

slow = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _from_xml(data: bytes) -> Alert | None:
    root = parse_xml(data).root
    return None if root is None else alert_of(root)


def _from_json(data: bytes) -> Alert | None:
    root = parse_json(data).root
    return None if root is None else alert_of(root)


@slow
@given(alerts)
def test_an_alert_written_as_xml_and_read_back_is_the_same(alert: Alert) -> None:
    data = to_xml(alert)
    again = _from_xml(data)
    assert again == alert
    assert to_xml(again) == data


@slow
@given(alerts)
def test_an_alert_written_as_json_and_read_back_is_the_same(alert: Alert) -> None:
    data = to_json(alert)
    again = _from_json(data)
    assert again == alert
    assert to_json(again) == data


@slow
@given(alerts)
def test_xml_and_json_of_an_alert_have_the_same_findings(alert: Alert) -> None:
    xml = read(to_xml(alert), "xml", now=NOW)
    other = read(to_json(alert), "json", now=NOW)
    assert xml.alert == other.alert
    assert xml.schema_valid == other.schema_valid
    assert [finding.rule for finding in xml.findings] == [finding.rule for finding in other.findings]


def _mutations(valid: bytes) -> st.SearchStrategy[bytes]:
    """`valid` cut, with bytes replaced, or with a piece of itself copied elsewhere."""
    place = st.integers(0, len(valid))
    cut = place.map(lambda end: valid[:end])
    patched = st.builds(
        lambda start, width, patch: valid[:start] + patch + valid[start + width :],
        place,
        st.integers(0, 40),
        st.binary(max_size=6) | st.sampled_from([b"<", b">", b"&", b"&#0;", b"]]>", b"\xff", b'"', b"[", b"{"]),
    )
    moved = st.builds(
        lambda start, width, to: valid[:to] + valid[start : start + width] + valid[to:],
        place,
        st.integers(0, 200),
        place,
    )
    return cut | patched | moved


def _is_sound(reading: Reading) -> None:
    assert reading.alert is not None or reading.errors
    assert all(finding.message and finding.clause for finding in reading.findings)
    json.dumps([finding.as_dict() for finding in reading.findings])
    if reading.alert is not None:
        to_xml(reading.alert)
        to_json(reading.alert)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(Posture))
def test_reading_random_bytes_never_raises(data: bytes, posture: Posture) -> None:
    _is_sound(read(data, "xml", posture=posture, now=NOW))
    _is_sound(read(data, "json", posture=posture, now=NOW))


@settings(max_examples=250, deadline=None)
@given(_mutations(ALERT.encode()))
def test_reading_a_damaged_alert_of_xml_never_raises(data: bytes) -> None:
    _is_sound(read(data, "xml", now=NOW))


@settings(max_examples=100, deadline=None)
@given(_mutations(ALERT.replace("UTF-8", "UTF-16").encode("utf-16")))
def test_reading_a_damaged_alert_of_utf_16_never_raises(data: bytes) -> None:
    _is_sound(read(data, "xml", now=NOW))


_VALID = _from_xml(ALERT.encode())
assert _VALID is not None
_VALID_JSON = to_json(_VALID)


@settings(max_examples=250, deadline=None)
@given(_mutations(_VALID_JSON))
def test_reading_a_damaged_alert_of_json_never_raises(data: bytes) -> None:
    _is_sound(read(data, "json", now=NOW))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["info", "area", "sent", "polygon", "geocode", "value", "x"]) | st.text(), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(json.loads(_VALID_JSON))), _VALUES)
def test_any_json_value_in_any_place_is_a_finding_not_a_failure(key: str, value: object) -> None:
    content = {**json.loads(_VALID_JSON), key: value}
    _is_sound(read(json.dumps(content).encode("utf-8", "surrogatepass"), "json", now=NOW))


def test_the_full_alert_survives_both_forms() -> None:
    alert = _from_xml(ALERT.encode())
    assert alert is not None
    assert _from_json(to_json(alert)) == alert
    assert _from_xml(to_xml(alert)) == alert


def test_json_has_the_shape_of_the_xml() -> None:
    content = json.loads(_VALID_JSON)
    assert content["identifier"] == "50000041600000_20260618093000"
    assert content["code"] == ["profile:example"]
    assert content["info"][0]["resource"][0]["size"] == "5"
    assert content["info"][0]["area"][0]["geocode"] == [{"valueName": "GB/T 2260", "value": "500117000000"}]
    assert "restriction" not in content


def test_the_order_of_keys_in_json_does_not_matter() -> None:
    content = json.loads(_VALID_JSON)
    shuffled = dict(reversed(content.items()))
    assert read(json.dumps(shuffled).encode(), "json", now=NOW).alert == _from_json(_VALID_JSON)


def test_text_is_kept_as_sent_comments_and_cdata_aside() -> None:
    data = ALERT.replace("forecast desk", " a<!-- b -->c<![CDATA[<d>&]]>&#13;\t ").encode()
    alert = _from_xml(data)
    assert alert is not None
    assert alert.source == " ac<d>&\r\t "
    assert _from_xml(to_xml(alert)) == alert
