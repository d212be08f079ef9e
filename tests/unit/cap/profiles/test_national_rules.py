"""Every rule of the national format is broken by a document or by an export, and a good one breaks none."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.cap import Finding, Posture, profiles
from broker.cap.build import tree_of
from broker.cap.model import (
    Alert,
    CapTime,
    Category,
    Circle,
    Height,
    MsgType,
    NamedValue,
    Resource,
    ResponseType,
    Scope,
    Severity,
    Status,
)
from broker.cap.profiles.national import NATIONAL, ack, read_national, to_national
from tests.unit.cap.profiles.national_samples import DOCUMENT, NOW, SENDER, changed

# rule → (the piece of the good document, what it becomes, where the finding points)
BROKEN: dict[str, tuple[str, str, str]] = {
    "national.root": ("alert", "message", "/message"),
    "national.namespace": ("<alert>", '<alert xmlns="urn:other">', "/alert"),
    "national.element.missing": ("<headline>重庆市气象台发布高温橙色预警</headline>", "", "/alert/info[1]"),
    "national.element.unknown": ("<note>", "<remark/><note>", "/alert/remark"),
    "national.element.repeated": ("<note>", "<note>一</note><note>", "/alert/note[2]"),
    "national.element.order": (
        "<status>Actual</status><msgType>Update</msgType>",
        "<msgType>Update</msgType><status>Actual</status>",
        "/alert/status",
    ),
    "national.element.empty": ("<web>https://example.org/w</web>", "<web/>", "/alert/info[1]/web"),
    "national.element.text": ("<note>", "stray<note>", "/alert"),
    "national.identifier.form": (
        "<identifier>50000041600000_2026",
        "<identifier>50000041600000-2026",
        "/alert/identifier",
    ),
    "national.identifier.sender": ("<senderCode>500000416", "<senderCode>500000332", "/alert/identifier"),
    "national.identifier.time": (
        "<sendTime>2026-08-14 09:37:05",
        "<sendTime>2026-08-14 09:37:06",
        "/alert/sendTime",
    ),
    "national.senderCode.form": ("<senderCode>50000041600000", "<senderCode>500000416", "/alert/senderCode"),
    "national.status.reserved": ("<status>Actual", "<status>Exercise", "/alert/status"),
    "national.status.value": ("<status>Actual", "<status>System", "/alert/status"),
    "national.msgType.reserved": ("<msgType>Update", "<msgType>Ack", "/alert/msgType"),
    "national.scope.public": ("<scope>Public", "<scope>Private", "/alert/scope"),
    "national.secClassification.value": (">None<", ">Secret<", "/alert/secClassification"),
    "national.secClassification.inner": (">None<", ">Inner<", "/alert/secClassification"),
    "national.note.cancel": (
        "<msgType>Update</msgType><scope>Public</scope>",
        "<msgType>Cancel</msgType><scope>Public</scope>",
        "/alert",
    ),
    "national.references.required": (
        "<references>50000041600000_20260814080000</references>",
        "",
        "/alert",
    ),
    "national.references.unresolvable": (
        "<references>50000041600000_20260814080000",
        "<references>20260814080000",
        "/alert/references",
    ),
    "national.references.several": (
        "<references>",
        "<references>50000041600000_20260814070000,",
        "/alert/references",
    ),
    "national.method.absent": ("<code>", "<!--<code>", "/alert"),
    "national.methods.apart": ("<code>", "<code>", "/alert/code[1]/method[1]"),
    "national.recipients.apart": ("<code>", "<code>", "/alert/code[1]/method[1]/audenceprt"),
    "national.conflict": ("高温橙色预警</headline>", "高温红色预警</headline>", "/alert/info[1]/severity"),
    "national.language.default": ("<language>zh-CN</language>", "", "/alert/info[1]"),
    "national.eventType.form": ("11B09", "B09", "/alert/info[1]/eventType"),
    "national.event.name": ("发布高温橙色预警</headline>", "高温</headline>", "/alert/info[1]/headline"),
    "national.urgency.default": ("<urgency>Unknown</urgency>", "", "/alert/info[1]"),
    "national.certainty.default": ("<certainty>Unknown<", "<certainty><", "/alert/info[1]/certainty"),
    "national.severity.value": (">Orange<", ">Severe<", "/alert/info[1]/severity"),
    "national.severity.case": (">Orange<", ">ORANGE<", "/alert/info[1]/severity"),
    "national.time.format": ("<onset>2026-08-14", "<onset>2026/08/14", "/alert/info[1]/onset"),
    "national.time.offset": ("10:00:00+08:00", "10:00:00", "/alert/info[1]/onset"),
    "national.time.zone": ("10:00:00+08:00", "02:00:00+00:00", "/alert/info[1]/onset"),
    "national.time.separator": ("<onset>2026-08-14 ", "<onset>2026-08-14T", "/alert/info[1]/onset"),
    "national.geocode.form": (",500109<", ",5001<", "/alert/info[1]/area[1]/geocode[1]"),
    "national.geocode.long": (",500109<", ",50010900000000<", "/alert/info[1]/area[1]/geocode[1]"),
    "national.geocode.many": (
        ",500109<",
        ",500109" * 20_000 + "<",
        "/alert/info[1]/area[1]/geocode[1]",
    ),
    "national.resource.mimeType": ("_O_01.jpg", "_O_01", "/alert/info[1]/resource[1]/resourceDesc"),
}


def _good() -> Alert:
    alert = read_national(DOCUMENT.encode(), now=NOW).alert
    assert alert is not None
    return alert


GOOD = _good()
INFO = GOOD.infos[0]
AREA = INFO.areas[0]


def _with_info(**changes: object) -> Alert:
    return replace(GOOD, infos=(replace(INFO, **changes),))


def _with_area(**changes: object) -> Alert:
    return _with_info(areas=(replace(AREA, **changes),))


ENGLISH = replace(INFO, language="en", headline="High temperature", sender_name="Chongqing")
UTC_TIME = CapTime.of(datetime(2026, 8, 14, 1, 37, 5, tzinfo=UTC))

# rule → an alert that cannot be said in the national format as it is, where the finding points
UNSAYABLE: dict[str, tuple[Alert, str]] = {
    "national.identifier.form": (replace(GOOD, identifier="rain-1"), "/alert/identifier"),
    "national.sender.name": (_with_info(sender_name=None), "/alert/info[1]"),
    "national.status.value": (replace(GOOD, status=Status.SYSTEM), "/alert/status"),
    "national.status.reserved": (replace(GOOD, status=Status.DRAFT), "/alert/status"),
    "national.msgType.reserved": (replace(GOOD, msg_type=MsgType.ERROR), "/alert/msgType"),
    "national.scope.public": (replace(GOOD, scope=Scope.PRIVATE, addresses="a@b.example"), "/alert/scope"),
    "national.note.cancel": (replace(GOOD, msg_type=MsgType.CANCEL, note=None), "/alert"),
    "national.references.required": (replace(GOOD, references_text=None), "/alert"),
    "national.references.several": (
        replace(GOOD, references_text=f"{GOOD.references_text} {GOOD.references_text}"),
        "/alert/references",
    ),
    "national.references.unresolvable": (
        replace(GOOD, references_text="desk@example.org,zero,2026-08-14T08:00:00+08:00"),
        "/alert/references",
    ),
    "national.language.other": (replace(GOOD, infos=(INFO, ENGLISH)), "/alert/info[2]/language"),
    "national.language.none": (replace(GOOD, infos=(ENGLISH,)), "/alert"),
    "national.levels.several": (
        replace(GOOD, infos=(INFO, replace(INFO, severity=Severity.EXTREME))),
        "/alert",
    ),
    "national.event.code": (_with_info(event_codes=()), "/alert/info[1]"),
    "national.eventType.form": (
        _with_info(event_codes=(NamedValue("GB/T 35561", "HEAT"),)),
        "/alert/info[1]/eventCode[1]/value",
    ),
    "national.headline.rule": (_with_info(headline="高温橙色预警"), "/alert/info[1]/headline"),
    "national.element.missing": (_with_info(description=None), "/alert/info[1]"),
    "national.signatory.absent": (_with_info(parameters=()), "/alert/info[1]"),
    "national.effective.absent": (_with_info(effective=None), "/alert/info[1]"),
    "national.time.zone": (replace(GOOD, sent=UTC_TIME), "/alert/sent"),
    "national.geocode.required": (_with_area(geocodes=()), "/alert/info[1]/area[1]"),
    "national.geocode.form": (
        _with_area(geocodes=(NamedValue("GB/T 2260", "5001"),)),
        "/alert/info[1]/area[1]/geocode[1]/value",
    ),
    "national.conflict": (_with_info(severity=Severity.EXTREME), "/alert/info[1]/severity"),
}

# where the export must say that something is lost → an alert that holds it
LOST: dict[str, Alert] = {
    "/alert/source": replace(GOOD, source="desk"),
    "/alert/addresses": replace(GOOD, addresses="a@b.example"),
    "/alert/code[1]": replace(GOOD, codes=("urgent",)),
    "/alert/incidents": replace(GOOD, incidents="heat-2026"),
    "/alert/restriction": replace(GOOD, restriction="staff"),
    "/alert/references": replace(
        GOOD, references_text=f"{SENDER},{SENDER}_20260814080000,2026-08-14T08:00:01+08:00"
    ),
    "/alert/info[1]/category[2]": _with_info(categories=(Category.MET, Category.HEALTH)),
    "/alert/info[1]/event": _with_info(event="热浪"),
    "/alert/info[1]/responseType[1]": _with_info(response_types=(ResponseType.AVOID,)),
    "/alert/info[1]/audience": _with_info(audience="公众"),
    "/alert/info[1]/eventCode[2]": _with_info(event_codes=(*INFO.event_codes, NamedValue("SAME", "HWW"))),
    "/alert/info[1]/parameter[3]": _with_info(parameters=(*INFO.parameters, NamedValue("rain", "100"))),
    "/alert/info[1]/resource[1]/uri": _with_info(
        resources=(Resource("a.jpg", "image/jpeg", uri="https://example.org/a.jpg"),)
    ),
    "/alert/info[1]/resource[1]/mimeType": _with_info(resources=(Resource("a.jpg", "image/tiff"),)),
    "/alert/info[1]/area[1]/polygon[2]": _with_area(polygons=AREA.polygons * 2),
    "/alert/info[1]/area[1]/circle[2]": _with_area(circles=(Circle.parse("29.9,106.2 5"),) * 2),
    "/alert/info[1]/area[1]/altitude": _with_area(altitude=Height.parse("600")),
    "/alert/info[1]/area[1]/geocode[3]": _with_area(geocodes=(*AREA.geocodes, NamedValue("EMMA_ID", "CN001"))),
    "/alert/info[2]/senderName": replace(GOOD, infos=(INFO, replace(INFO, sender_name="綦江区气象台"))),
    "/alert/info[2]/contact": replace(GOOD, infos=(INFO, replace(INFO, contact="023-1"))),
}


def read(old: str, new: str, posture: Posture = Posture.STRICT) -> tuple[Finding, ...]:
    text = changed(old, new)
    if new.startswith("<!--"):
        text = text.replace("</code>", "</code>-->", 1)
    if new == "message":
        text = text.replace("</alert>", "</message>")
    if "Cancel" in new:
        text = text.replace("<note>升级</note>", "").replace("发布", "解除")
    return read_national(text.encode(), posture=posture, now=NOW).findings


@pytest.mark.parametrize("rule", BROKEN)
def test_a_document_that_breaks_a_rule_is_told_so_at_its_place(rule: str) -> None:
    old, new, place = BROKEN[rule]
    assert place in {found.place for found in read(old, new) if found.rule == rule}


@pytest.mark.parametrize("rule", UNSAYABLE)
def test_an_alert_that_the_format_cannot_say_is_told_so_at_its_place(rule: str) -> None:
    alert, place = UNSAYABLE[rule]
    _, findings = to_national(alert, sender_code=SENDER)
    assert place in {found.place for found in findings if found.rule == rule}
    root = tree_of(alert)
    assert place in {found.place for found in NATIONAL.judge(root) if found.rule == rule}


@pytest.mark.parametrize("place", LOST)
def test_whatever_an_export_leaves_out_is_listed(place: str) -> None:
    _, findings = to_national(LOST[place], sender_code=SENDER)
    assert place in {found.place for found in findings if found.rule == "national.lost"}


def test_a_good_alert_loses_nothing_on_export() -> None:
    assert NATIONAL.judge(tree_of(GOOD)) == []


def test_every_rule_is_broken_by_one_of_these_messages() -> None:
    assert set(NATIONAL.rules) == {*BROKEN, *UNSAYABLE, "national.lost"}


def test_every_rule_that_the_code_reports_is_in_the_catalogue() -> None:
    folder = Path(profiles.__file__).parent
    known = set().union(*(profile.rules for profile in profiles.PROFILES.values()), ack.RULES)
    reported = {
        rule
        for path in folder.rglob("*.py")
        for rule in re.findall(r'"((?:national|wmo|ipaws|cap-cp)\.[A-Za-z.-]+)"', path.read_text(encoding="utf-8"))
    }
    assert reported
    assert reported <= known


def test_a_good_document_is_valid_and_says_only_what_is_kept_beside_it() -> None:
    reading = read_national(DOCUMENT.encode(), now=NOW)
    assert reading.valid
    told = {found.rule for found in reading.findings if found.rule.startswith("national.")}
    assert told == {"national.methods.apart", "national.recipients.apart"}
