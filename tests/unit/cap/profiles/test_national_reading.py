"""The national format read: what it becomes in CAP, and what is held because it is in doubt."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from broker.cap import Posture, read, segments, to_xml
from broker.cap.limits import Limits
from broker.cap.model import Certainty, MsgType, Scope, Severity, Urgency
from broker.cap.profiles.national import is_national, read_national
from tests.unit.cap.profiles.national_samples import DOCUMENT, NOW, SENDER, changed

BODY = DOCUMENT.partition("?>")[2]


def rules_of(text: str, posture: Posture = Posture.STRICT) -> set[str]:
    return {found.rule for found in read_national(text.encode(), posture=posture, now=NOW).findings}


def test_a_document_becomes_the_alert_that_it_says() -> None:
    alert = read_national(DOCUMENT.encode(), now=NOW).alert
    assert alert is not None
    assert alert.identity == (
        SENDER,
        "50000041600000_20260814093705",
        datetime.fromisoformat("2026-08-14T09:37:05+08:00"),
    )
    assert (alert.msg_type, alert.scope, alert.note) == (MsgType.UPDATE, Scope.PUBLIC, "升级")
    (info,) = alert.infos
    assert (info.event, info.event_code("GB/T 35561")) == ("高温", "11B09")
    assert (info.urgency, info.severity, info.certainty) == (Urgency.UNKNOWN, Severity.SEVERE, Certainty.UNKNOWN)
    assert (info.sender_name, info.contact) == ("重庆市气象台", "023-00000000")
    assert info.parameter("12379:senderName") == "张三"
    assert [code.value for code in info.geocodes] == ["500117000000", "500109"]
    assert {code.value_name for code in info.geocodes} == {"GB/T 2260"}
    assert len(info.areas[0].polygons[0].points) == 5
    (resource,) = info.resources
    assert resource.digest == "AAF4C61ddcc5e8a2dabede0f3b482cd9aea9434d"
    assert resource.mime_type == "image/jpeg"


def test_a_reference_is_the_identity_that_the_first_message_itself_has() -> None:
    first = changed("<identifier>50000041600000_20260814093705", "<identifier>50000041600000_20260814080000")
    first = changed("<sendTime>2026-08-14 09:37:05", "<sendTime>2026-08-14 08:00:00", first)
    first = changed("<msgType>Update", "<msgType>Alert", first)
    original = read_national(first.encode(), now=NOW).alert
    update = read_national(DOCUMENT.encode(), now=NOW).alert
    assert original is not None
    assert update is not None
    assert [reference.identity for reference in update.references] == [original.identity]


def test_a_sender_may_be_known_by_another_name_and_its_references_follow() -> None:
    reading = read_national(DOCUMENT.encode(), now=NOW, senders={SENDER: "weather@cq.example.org"})
    assert reading.alert is not None
    assert reading.alert.sender == "weather@cq.example.org"
    assert reading.alert.references[0].sender == "weather@cq.example.org"


def test_the_converted_alert_is_good_cap_1_2() -> None:
    alert = read_national(DOCUMENT.encode(), now=NOW).alert
    assert alert is not None
    again = read(to_xml(alert), "xml", now=NOW)
    assert again.schema_valid
    assert again.alert == alert
    (segment,) = segments(alert)
    assert segment.event_code == "11B09"


def test_several_levels_become_several_segments() -> None:
    info = DOCUMENT[DOCUMENT.index("<info>") : DOCUMENT.index("</alert>")]
    red = info.replace("Orange", "Red").replace("橙色", "红色").replace("500117000000,500109", "500153000000")
    reading = read_national(changed("</alert>", f"{red}</alert>").encode(), now=NOW)
    assert reading.valid
    assert reading.alert is not None
    assert [segment.level for segment in segments(reading.alert)] == ["Orange", "Red"]


@pytest.mark.parametrize("spelling", ["audenceprt", "audencePrt", "audiencePrt", "audienceprt"])
def test_single_recipients_are_read_in_every_spelling_and_stand_in_no_report_and_no_alert(spelling: str) -> None:
    text = DOCUMENT.replace("audenceprt", spelling)
    reading = read_national(text.encode(), now=NOW)
    assert reading.valid
    assert [method.name for method in reading.methods] == ["SMS", "LED"]
    assert reading.methods[0].groups == ("duty", "village")
    assert reading.methods[0].recipients == ("13900000000", "13900000001")
    assert reading.methods[1].message == "高温橙色预警"
    assert "1390000" not in repr(reading)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<audenceprt>", "<audenceprt><x>13900000000</x>"),
        ("<methodName>SMS</methodName>", "13900000000<methodName>SMS</methodName>"),
        ("<methodName>SMS</methodName>", "<to>13900000000</to><methodName>SMS</methodName>"),
        ("<code>", "<code><to>13900000000</to>"),
        ("<note>", "<audiencePrt>13900000000</audiencePrt><note>"),
        ("<audenceprt>", "<audiencePrt>13900000000</audiencePrt><audenceprt>"),
    ],
)
def test_a_report_on_a_broken_method_repeats_no_address(old: str, new: str) -> None:
    reading = read_national(changed(old, new).encode(), now=NOW)
    assert reading.errors
    assert "1390000" not in repr(reading.findings)


@pytest.mark.parametrize("root", ["alert", "Alert", "Update", "update"])
@pytest.mark.parametrize("namespace", ["", ' xmlns="http://com.icss.amp"'])
def test_the_outermost_element_may_have_the_name_of_the_type_and_a_namespace(root: str, namespace: str) -> None:
    text = DOCUMENT.replace("<alert>", f"<{root}{namespace}>").replace("</alert>", f"</{root}>")
    assert is_national(text.encode())
    assert read_national(text.encode(), now=NOW).valid


def test_cap_1_2_is_not_taken_for_the_national_format() -> None:
    text = DOCUMENT.replace("<alert>", '<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">')
    assert not is_national(text.encode())
    (found,) = read_national(text.encode(), now=NOW).findings
    assert found.rule == "national.namespace"
    assert "CAP 1.2" in found.message


@pytest.mark.parametrize("posture", Posture)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("发布高温橙色预警</headline>", "解除高温橙色预警</headline>"),
        ("<msgType>Update", "<msgType>Cancel"),
        ("发布高温橙色预警</headline>", "发布高温红色预警</headline>"),
        ("发布高温橙色预警</headline>", "发布高温橙色预警（演练）</headline>"),
        ("<eventType>11B09", "<eventType>00000"),
    ],
)
def test_signals_that_contradict_each_other_hold_the_message(old: str, new: str, posture: Posture) -> None:
    reading = read_national(changed(old, new).encode(), posture=posture, now=NOW)
    assert not reading.valid
    assert "national.conflict" in {found.rule for found in reading.errors}


def test_an_outermost_element_of_another_type_than_the_message_holds_it() -> None:
    text = DOCUMENT.replace("<alert>", "<Cancel>").replace("</alert>", "</Cancel>")
    assert "national.conflict" in rules_of(text)


def test_a_lifting_is_a_cancel() -> None:
    text = DOCUMENT.replace("<msgType>Update", "<msgType>Cancel").replace("发布", "解除")
    reading = read_national(text.encode(), now=NOW)
    assert reading.valid
    assert reading.alert is not None
    assert reading.alert.msg_type is MsgType.CANCEL
    assert reading.alert.infos[0].event == "高温"


def test_a_drill_that_says_so_is_no_contradiction() -> None:
    text = DOCUMENT.replace("<status>Actual", "<status>Test").replace("预警</headline>", "预警（演练）</headline>")
    assert read_national(text.encode(), now=NOW).valid


def test_an_internal_message_can_never_be_public() -> None:
    reading = read_national(changed(">None<", ">Inner<").encode(), now=NOW)
    assert reading.valid
    assert reading.alert is not None
    assert reading.alert.scope is Scope.RESTRICTED


@pytest.mark.parametrize("name", ["sendTime", "effective", "onset", "expires"])
def test_no_offset_is_ever_assumed(name: str) -> None:
    text = re.sub(rf"(<{name}>[^<]*)\+08:00", r"\1", DOCUMENT)
    reading = read_national(text.encode(), posture=Posture.LENIENT, now=NOW)
    assert reading.alert is None
    (found,) = [found for found in reading.findings if found.rule == "national.time.offset"]
    assert found.place.endswith(f"/{name}")
    assert found.line == DOCUMENT[: DOCUMENT.index(f"<{name}>")].count("\n") + 1


@pytest.mark.parametrize("wrong", ["", "2026-08-14", "2026-02-30 09:00:00+08:00", "20260814093705", "明天"])
def test_a_time_that_is_none_leaves_no_alert(wrong: str) -> None:
    text = changed("2026-08-14 10:00:00+08:00", wrong)
    reading = read_national(text.encode(), now=NOW)
    if wrong:
        assert reading.alert is None
        assert "national.time.format" in rules_of(text)
    else:
        assert "national.element.empty" in rules_of(text)


@pytest.mark.parametrize(
    "text", ["50000041600000-1", "50000041600000_20260230080000", "a,b,2026-08-14T08:00:00+08:00"]
)
def test_a_reference_whose_sender_or_time_is_not_told_leaves_no_alert(text: str) -> None:
    reading = read_national(changed("50000041600000_20260814080000", text).encode(), now=NOW)
    assert reading.alert is None
    assert "national.references.unresolvable" in {found.rule for found in reading.errors}


def test_cap_1_2_finds_what_is_wrong_with_the_values_at_their_place_in_the_original() -> None:
    text = changed("29.9,106.1 29.9,106.5", "29.9,106.1 29.9;106.5")
    (found,) = [
        found for found in read_national(text.encode(), now=NOW).findings if found.rule.startswith("cap.poly")
    ]
    assert found.rule == "cap.polygon.syntax"
    assert found.place == "/alert/info[1]/area[1]/polygon[1]"
    assert "cap.expires.past" in rules_of(DOCUMENT.replace("2026-08-15", "2026-08-14"))


def test_nothing_is_told_twice() -> None:
    for name in re.findall(r"<(\w+)>[^<]+</", BODY):
        text = re.sub(rf"<{name}>[^<]*</{name}>", f"<{name}>?</{name}>", DOCUMENT, count=1)
        places = [found.place for found in read_national(text.encode(), now=NOW).errors]
        assert len(places) == len(set(places)), (name, places)


def test_an_event_is_called_by_its_code_unless_headline_or_table_name_it() -> None:
    text = changed("发布高温橙色预警</headline>", "高温</headline>")
    plain = read_national(text.encode(), now=NOW).alert
    named = read_national(text.encode(), now=NOW, event_names={"11B09": "高温天气"}).alert
    assert plain is not None
    assert named is not None
    assert (plain.infos[0].event, named.infos[0].event) == ("11B09", "高温天气")


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b'<!DOCTYPE alert [<!ENTITY x "y">]>' + BODY.encode(), "cap.xml.doctype"),
        (DOCUMENT.encode()[:-20], "cap.xml.syntax"),
        (DOCUMENT.replace("<note>", "<note>" + "<a>" * 20 + "</a>" * 20).encode(), "cap.depth"),
        (DOCUMENT.encode() + b" " * 3_000_000, "cap.size"),
    ],
)
def test_hostile_xml_is_refused_as_it_is_in_cap(data: bytes, rule: str) -> None:
    reading = read_national(data, now=NOW)
    assert reading.alert is None
    assert rule in {found.rule for found in reading.errors}
    assert not is_national(data)


def test_a_document_in_the_old_chinese_encodings_is_read() -> None:
    data = DOCUMENT.replace("UTF-8", "GBK").encode("gb18030")
    assert read_national(data, now=NOW).valid


def test_a_report_is_bounded() -> None:
    text = changed("<note>", "<x/>" * 1_000 + "<note>")
    findings = read_national(text.encode(), now=NOW, limits=Limits(max_findings=10)).findings
    assert "cap.findings.more" in {found.rule for found in findings}
    assert len(findings) < 30


def test_an_empty_document_lists_everything_that_is_missing() -> None:
    reading = read_national(b"<alert/>", now=NOW)
    assert reading.alert is None
    assert sum(found.rule == "national.element.missing" for found in reading.errors) == 8
