"""The national format written: its order, its file names, and that nothing is lost on the way and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from broker.cap import Level, Posture
from broker.cap.compose import compose, geocode_area
from broker.cap.findings import Grade
from broker.cap.profiles.national import (
    Method,
    attachment_name,
    file_name,
    read_national,
    to_national,
)
from broker.cap.profiles.national.ack import read_ack
from broker.cap.profiles.national.identifiers import BEIJING, NationalIdentifier, is_sender_code
from broker.cap.profiles.national.words import NAMESPACE
from tests.unit.cap import strategies
from tests.unit.cap.profiles.national_samples import DOCUMENT, NOW, SENDER, changed

SENT = datetime(2026, 8, 14, 9, 37, 5, tzinfo=BEIJING)


def ours(**changes: object):
    """An alert as our own departments compose it."""
    alert = compose(
        identifier=f"{SENDER}_20260814093705",
        sender="weather@cq.example.org",
        sent=SENT,
        event_code="11B03",
        event_name="暴雨",
        level=Level.RED,
        headline="重庆市气象台发布暴雨红色预警",
        description="未来三小时降雨量将达100毫米以上。",
        instruction="请停止户外活动。",
        areas=[geocode_area("合川区", ["500117", "500117101"])],
        expires=datetime(2026, 8, 14, 18, 0, tzinfo=BEIJING),
        sender_name="重庆市气象台",
    )
    return replace(alert, **changes)


def test_an_alert_of_our_own_goes_out_and_comes_back_with_what_it_says() -> None:
    data, findings = to_national(
        ours(), sender_code=SENDER, methods=[Method("SMS"), Method("SPEAKER", "快走")], signed_by="李四"
    )
    assert [found for found in findings if found.severity is Grade.ERROR] == []
    reading = read_national(data, now=NOW)
    assert reading.valid
    assert reading.alert is not None
    assert reading.methods == (Method("SMS"), Method("SPEAKER", "快走"))
    info, origin = reading.alert.infos[0], ours().infos[0]
    assert (info.event, info.severity, info.headline) == (origin.event, origin.severity, origin.headline)
    assert (info.description, info.instruction) == (origin.description, origin.instruction)
    assert [code.value for code in info.geocodes] == ["500117", "500117101000"]


def test_elements_stand_in_the_order_of_the_format() -> None:
    reading = read_national(DOCUMENT.encode(), now=NOW)
    assert reading.alert is not None
    data, _ = to_national(reading.alert, sender_code=SENDER, methods=reading.methods)
    written, original = etree.fromstring(data), etree.fromstring(DOCUMENT.encode())
    assert [child.tag for child in written] == [child.tag for child in original]
    assert [child.tag for child in written.find("info")] == [child.tag for child in original.find("info")]
    assert written.findtext("sendTime") == "2026-08-14 09:37:05+08:00"
    assert written.findtext("references") == "50000041600000_20260814080000"


def test_the_namespace_is_written_where_a_receiver_asks_for_it() -> None:
    data, _ = to_national(ours(), sender_code=SENDER, namespace=NAMESPACE, signed_by="李四")
    assert etree.fromstring(data).tag == f"{{{NAMESPACE}}}alert"
    assert read_national(data, now=NOW).valid


def test_what_the_format_requires_and_nobody_said_is_missing_not_made_up() -> None:
    data, findings = to_national(ours(), sender_code=SENDER)
    assert "national.signatory.absent" in {found.rule for found in findings}
    assert etree.fromstring(data).find("info/senderName") is None


def test_a_second_language_is_left_out_and_said_to_be() -> None:
    alert = ours()
    english = replace(alert.infos[0], language="en-GB", headline="Rainstorm red warning")
    data, findings = to_national(replace(alert, infos=(english, *alert.infos)), sender_code=SENDER)
    assert [found.place for found in findings if found.rule == "national.language.other"] == [
        "/alert/info[1]/language"
    ]
    root = etree.fromstring(data)
    assert len(root.findall("info")) == 1
    assert root.findtext("sender") == "重庆市气象台"


def test_an_internal_message_keeps_its_mark() -> None:
    reading = read_national(changed(">None<", ">Inner<").encode(), now=NOW)
    assert reading.alert is not None
    data, findings = to_national(reading.alert, sender_code=SENDER, methods=reading.methods)
    assert findings == []
    root = etree.fromstring(data)
    assert (root.findtext("scope"), root.findtext("secClassification")) == ("Public", "Inner")


def test_a_sender_code_that_is_none_or_another_is_an_error() -> None:
    rules = {found.rule for found in to_national(ours(), sender_code="cq")[1] if found.severity is Grade.ERROR}
    assert {"national.senderCode.form", "national.identifier.sender"} <= rules


def test_a_text_that_xml_cannot_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="XML"):
        to_national(ours(note="\x00"), sender_code=SENDER)


def test_a_file_is_named_after_sender_second_event_colour_and_type() -> None:
    assert file_name(ours(), sender_code=SENDER) == f"{SENDER}_20260814093705_11B03_RED_ALERT.xml"
    name = attachment_name(ours(), "P", 3, ".pdf", sender_code=SENDER)
    assert name == f"{SENDER}_20260814093705_11B03_RED_ALERT_P_03.pdf"


def test_a_file_of_several_levels_is_named_after_the_highest() -> None:
    red = ours()
    blue = replace(red.infos[0], severity=Level.BLUE.severity)
    assert "_RED_" in file_name(replace(red, infos=(blue, red.infos[0])), sender_code=SENDER)


def test_a_file_name_needs_a_national_event_code_and_an_attachment_a_number_of_two_digits() -> None:
    with pytest.raises(ValueError, match="event code"):
        file_name(replace(ours(), infos=()), sender_code=SENDER)
    with pytest.raises(ValueError, match="1 to 99"):
        attachment_name(ours(), "O", 100, "jpg", sender_code=SENDER)


sender_codes = st.from_regex(r"[0-9]{9}[0-9A-Z]{5}", fullmatch=True)
_FIRST, _LAST = datetime.fromisoformat("0001-01-02"), datetime.fromisoformat("9999-12-30")
moments = st.datetimes(_FIRST, _LAST).map(lambda moment: moment.replace(microsecond=0, tzinfo=BEIJING))
identifiers = st.builds(NationalIdentifier, sender_codes, moments, st.none() | st.integers(0, 9))


@given(identifiers)
def test_an_identifier_is_read_as_it_was_written(identifier: NationalIdentifier) -> None:
    assert NationalIdentifier.parse(identifier.text) == identifier
    assert len(identifier.text) == (29 if identifier.serial is None else 31)
    assert is_sender_code(identifier.sender_code)


@given(st.text(alphabet="0123456789_A", max_size=34) | st.text(max_size=34))
def test_what_is_read_as_an_identifier_is_written_as_it_was(text: str) -> None:
    identifier = NationalIdentifier.parse(text)
    assert identifier is None or identifier.text == text


words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=20
).filter(lambda text: not text.isspace())
national_times = moments.map(lambda moment: moment.isoformat(sep=" "))
codes = st.from_regex(r"[0-9]{6}|[0-9]{12}", fullmatch=True)
LEAVES = {
    "note": words,
    "phone": words,
    "references": identifiers.map(lambda identifier: identifier.text),
    "language": st.sampled_from(["zh-CN", "zh", "zh-Hans"]),
    "eventType": st.from_regex(r"1[1-4][A-Y][0-9]{2}", fullmatch=True),
    "urgency": st.sampled_from(["Immediate", "Expected", "Unknown"]),
    "severity": st.sampled_from(["Red", "Orange", "Yellow", "Blue", "Unknown"]),
    "certainty": st.sampled_from(["Observed", "Likely", "Unknown"]),
    "effective": national_times,
    "onset": national_times,
    "expires": national_times,
    "headline": words | st.sampled_from(["重庆市气象台发布暴雨红色预警", "解除大雾预警"]),
    "description": words,
    "instruction": words,
    "areaDesc": words,
    "resourceDesc": words | st.sampled_from(["a.png", "b.PDF"]),
    "size": st.integers(0, 10**9).map(str),
    "geocode": st.lists(codes, min_size=1, max_size=4).map(",".join),
}


@given(st.fixed_dictionaries({}, optional=LEAVES), st.sampled_from(["Actual", "Test", "Exercise", "Draft"]))
@settings(deadline=None)
def test_whatever_a_document_says_comes_back_after_an_export(leaves: dict[str, str], status: str) -> None:
    root = etree.fromstring(DOCUMENT.encode())
    for name, text in leaves.items():
        element = next(root.iter(name))
        element.text = text
    next(root.iter("status")).text = status
    reading = read_national(etree.tostring(root, encoding="UTF-8"), now=NOW)
    assert reading.alert is not None, reading.errors
    data, findings = to_national(reading.alert, sender_code=SENDER, methods=reading.methods)
    assert "national.lost" not in {found.rule for found in findings}
    again = read_national(data, now=NOW)
    assert again.alert == reading.alert
    assert again.methods == reading.methods
    assert to_national(again.alert, sender_code=SENDER, methods=again.methods) == (data, findings)


@given(strategies.alerts)
@settings(deadline=None, max_examples=60)
def test_any_alert_at_all_is_written_and_read_without_failing(alert: object) -> None:
    data, findings = to_national(alert, sender_code=SENDER, posture=Posture.LENIENT)  # type: ignore[arg-type]
    assert all(found.place.startswith("/alert") for found in findings)
    read_national(data, now=NOW)


@given(st.integers(0, len(DOCUMENT) - 1), st.integers(1, 60), st.sampled_from(["", "<", "解除", "&#0;", "</info>"]))
def test_a_damaged_document_is_read_without_failing(at: int, length: int, put: str) -> None:
    reading = read_national((DOCUMENT[:at] + put + DOCUMENT[at + length :]).encode(), now=NOW)
    assert reading.alert is not None or reading.errors


def ack(rows: str) -> bytes:
    return f"<msg><data>{rows}</data></msg>".encode()


def test_an_ack_of_status_0_is_acceptance() -> None:
    reading = read_ack(ack("<rows><status>0</status><error_code/><note/></rows>"))
    assert reading.accepted
    assert reading.findings == ()


def test_a_refusal_says_why() -> None:
    reading = read_ack(ack("<rows><status>1</status><error_code>E07</error_code><note>签名错误</note></rows>"))
    assert not reading.accepted
    assert (reading.rows[0].status, reading.rows[0].error_code, reading.rows[0].note) == (1, "E07", "签名错误")


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"<ack/>", "national.ack.root"),
        (ack(""), "national.ack.rows"),
        (ack("<rows/>"), "national.ack.status"),
        (ack("<rows><status>ok</status></rows>"), "national.ack.status"),
        (ack("<rows><status>0</status><status>0</status></rows>"), "national.ack.status"),
        (b"<!DOCTYPE msg><msg/>", "cap.xml.doctype"),
        (b"", "cap.xml.syntax"),
    ],
)
def test_an_ack_that_cannot_be_understood_is_no_acceptance(data: bytes, rule: str) -> None:
    reading = read_ack(data)
    assert not reading.accepted
    assert [found.rule for found in reading.findings] == [rule]


def test_one_refused_row_refuses_all() -> None:
    rows = "<rows><status>0</status></rows><rows><status>1</status></rows>"
    assert not read_ack(ack(rows)).accepted


def test_a_time_of_another_zone_is_written_in_beijing_time() -> None:
    moment = datetime(2026, 8, 14, 1, 37, 5, tzinfo=UTC)
    assert NationalIdentifier(SENDER, moment).text == f"{SENDER}_20260814093705"
