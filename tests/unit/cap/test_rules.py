"""Every rule of the catalogue has a message that breaks it, and a valid message breaks none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker.cap import RULES, Finding, Grade, Limits, Posture, names, parse_xml, read, to_json
from broker.cap.build import alert_of
from broker.cap.model import Certainty
from tests.unit.cap.samples import ALERT, NOW, swap

POLYGON = "29.9,106.1 29.9,106.5 30.2,106.5 30.2,106.1 29.9,106.1"
CIRCLE = "29.97,106.27 5"
GEOCODE = "<geocode><valueName>GB/T 2260</valueName><value>500117000000</value></geocode>"
REFERENCE = "rain@cq.example.org,50000041600000_20260618080000,2026-06-18T08:00:00+08:00"
OWN = "rain@cq.example.org,50000041600000_20260618093000,2026-06-18T09:30:00+08:00"
RESOURCE = ALERT[ALERT.index("    <resource>") : ALERT.index("    <area>")]
AREA = ALERT[ALERT.index("    <area>") : ALERT.index("  </info>")]
INFO = ALERT[ALERT.index("  <info>") : ALERT.index("</alert>")]
ISSUE = "<msgType>Update</msgType>"

# rule → (the piece of the valid alert, what it becomes, where the finding points)
BROKEN: dict[str, tuple[str, str, str]] = {
    "cap.element.unknown": ("<source>forecast desk</source>", "<origin>x</origin>", "/alert/origin"),
    "cap.element.order": (
        "<status>Actual</status>\n  <msgType>Update</msgType>",
        "<msgType>Update</msgType><status>Actual</status>",
        "/alert/status",
    ),
    "cap.element.repeated": ("<note>", "<note>a</note><note>", "/alert/note[2]"),
    "cap.element.attribute": ("<source>", '<source lang="zh">', "/alert/source"),
    "cap.element.type": (
        "<source>",
        f'<source xmlns:t="{names.XML_SCHEMA}" xmlns:i="{names.XML_SCHEMA_INSTANCE}" i:type="t:string">',
        "/alert/source",
    ),
    "cap.element.signed": (
        "</alert>",
        f'<Signature xmlns="{names.XML_SIGNATURE}"><info xmlns="{names.CAP_1_2}"/></Signature></alert>',
        "/alert/Signature",
    ),
    "cap.element.text": ("<source>", "stray<source>", "/alert"),
    "cap.text.empty": ("<event>暴雨</event>", "<event> \n</event>", "/alert/info[1]/event"),
    "cap.text.blank": ("<contact>值班室</contact>", "<contact/>", "/alert/info[1]/contact"),
    "cap.time.whitespace": ("<onset>", "<onset> ", "/alert/info[1]/onset"),
    "cap.identifier.empty": (
        "<identifier>50000041600000_20260618093000<",
        "<identifier><",
        "/alert/identifier",
    ),
    "cap.sender.empty": ("<sender>rain@cq.example.org<", "<sender> <", "/alert/sender"),
    "cap.identifier.characters": ("<identifier>5", "<identifier>5,&amp;5", "/alert/identifier"),
    "cap.sender.characters": ("<sender>rain", "<sender>rain fall", "/alert/sender"),
    "cap.sent.future": (
        "<sent>2026-06-18T09:30:00",
        "<sent>2026-06-18T10:05:01",
        "/alert/sent",
    ),
    "cap.references.required": (f"<references>{REFERENCE}</references>", "", "/alert"),
    "cap.references.format": (REFERENCE, REFERENCE.replace(",2026", "2026"), "/alert/references"),
    "cap.references.self": (REFERENCE, OWN, "/alert/references"),
    "cap.references.duplicate": (REFERENCE, f"{REFERENCE} {REFERENCE}", "/alert/references"),
    "cap.references.later": (REFERENCE, REFERENCE.replace("T08", "T12"), "/alert/references"),
    "cap.restriction.required": ("<scope>Public<", "<scope>Restricted<", "/alert"),
    "cap.restriction.scope": (
        "</scope>",
        "</scope><restriction>staff</restriction>",
        "/alert/restriction",
    ),
    "cap.addresses.required": ("<scope>Public<", "<scope>Private<", "/alert"),
    "cap.addresses.format": ("</scope>", '</scope><addresses>"a b</addresses>', "/alert/addresses"),
    "cap.incidents.format": ('"second flood"', '"second flood', "/alert/incidents"),
    "cap.note.exercise": (
        ALERT[ALERT.index("<status>") : ALERT.index("<references>")],
        "<status>Exercise</status><msgType>Update</msgType><scope>Public</scope>",
        "/alert",
    ),
    "cap.note.error": (
        ALERT[ALERT.index(ISSUE) : ALERT.index("<references>")],
        "<msgType>Error</msgType><scope>Public</scope>",
        "/alert",
    ),
    "cap.info.required": (INFO, "", "/alert"),
    "cap.language.format": (">zh-CN<", ">zh_CN<", "/alert/info[1]/language"),
    "cap.language.tag": (">zh-CN<", ">z-CN<", "/alert/info[1]/language"),
    "cap.language.absent": ("<language>zh-CN</language>", "", "/alert/info[1]"),
    "cap.language.undeclared": ("<language>zh-CN</language>", "", "/alert/info[1]/event"),
    "cap.category.repeated": (
        "<category>Met</category>",
        "<category>Met</category><category>Met</category>",
        "/alert/info[1]/category[2]",
    ),
    "cap.responseType.repeated": (
        "<responseType>",
        "<responseType>Shelter</responseType><responseType>",
        "/alert/info[1]/responseType[2]",
    ),
    "cap.responseType.none": (
        "<responseType>",
        "<responseType>None</responseType><responseType>",
        "/alert/info[1]/responseType[1]",
    ),
    "cap.eventCode.repeated": (
        "<eventCode>",
        "<eventCode><valueName>GB/T 35561</valueName><value>11B04</value></eventCode><eventCode>",
        "/alert/info[1]/eventCode[2]",
    ),
    "cap.parameter.repeated": (
        "<parameter>",
        "<parameter><valueName>rain</valueName><value>50</value></parameter><parameter>",
        "/alert/info[1]/parameter[2]",
    ),
    "cap.effective.early": (
        "<effective>2026-06-18T09:30",
        "<effective>2026-06-18T09:29",
        "/alert/info[1]/effective",
    ),
    "cap.onset.early": ("<onset>2026-06-18T10:00", "<onset>2026-06-18T09:00", "/alert/info[1]/onset"),
    "cap.onset.order": ("<onset>2026-06-18T10:00", "<onset>2026-06-18T15:31", "/alert/info[1]/expires"),
    "cap.expires.order": ("<expires>2026-06-18T15:30", "<expires>2026-06-18T09:30", "/alert/info[1]/expires"),
    "cap.expires.past": ("<expires>2026-06-18T15:30", "<expires>2026-06-18T10:00", "/alert/info[1]/expires"),
    "cap.expires.absent": ("<expires>2026-06-18T15:30:00+08:00</expires>", "", "/alert/info[1]"),
    "cap.headline.absent": ("<headline>暴雨红色预警</headline>", "", "/alert/info[1]"),
    "cap.headline.length": ("<headline>", "<headline>" + "雨" * 160, "/alert/info[1]/headline"),
    "cap.web.format": ("https://example.org/alerts/1", "https://example.org/a%zz", "/alert/info[1]/web"),
    "cap.web.absolute": ("https://example.org/alerts/1", "example.org/alerts/1", "/alert/info[1]/web"),
    "cap.web.scheme": ("https://example.org/alerts/1", "javascript:alert(1)", "/alert/info[1]/web"),
    "cap.area.required": (AREA, "", "/alert/info[1]"),
    "cap.mimeType.format": ("image/png", "picture", "/alert/info[1]/resource[1]/mimeType"),
    "cap.size.format": ("<size>5<", "<size>5 kB<", "/alert/info[1]/resource[1]/size"),
    "cap.size.negative": ("<size>5<", "<size>-5<", "/alert/info[1]/resource[1]/size"),
    "cap.size.mismatch": ("<size>5<", "<size>6<", "/alert/info[1]/resource[1]/size"),
    "cap.uri.format": (
        "https://example.org/map.png",
        "https://example.org:port/",
        "/alert/info[1]/resource[1]/uri",
    ),
    "cap.uri.relative": (
        "<uri>https://example.org/map.png</uri>\n      <derefUri>aGVsbG8=</derefUri>",
        "<uri>map.png</uri>",
        "/alert/info[1]/resource[1]/uri",
    ),
    "cap.derefUri.base64": ("aGVsbG8=", "aGVsbG8", "/alert/info[1]/resource[1]/derefUri"),
    "cap.digest.format": ("<digest>aaf4", "<digest>zzf4", "/alert/info[1]/resource[1]/digest"),
    "cap.digest.mismatch": ("<digest>aaf4", "<digest>baf4", "/alert/info[1]/resource[1]/digest"),
    "cap.resource.unreachable": (
        RESOURCE[RESOURCE.index("<uri>") : RESOURCE.index("<digest>")],
        "",
        "/alert/info[1]/resource[1]",
    ),
    "cap.area.unlocated": (
        AREA[AREA.index("<polygon>") : AREA.index("<altitude>")],
        "",
        "/alert/info[1]/area[1]",
    ),
    "cap.polygon.empty": (POLYGON, " ", "/alert/info[1]/area[1]/polygon[1]"),
    "cap.polygon.syntax": (POLYGON, POLYGON + " 8.72977),-68.13409", "/alert/info[1]/area[1]/polygon[1]"),
    "cap.polygon.range": (
        POLYGON,
        POLYGON.replace("30.2,106.5", "30.2,-180.005"),
        "/alert/info[1]/area[1]/polygon[1]",
    ),
    "cap.polygon.swapped": (
        POLYGON,
        "106.1,29.9 106.5,29.9 106.5,30.2 106.1,29.9",
        "/alert/info[1]/area[1]/polygon[1]",
    ),
    "cap.polygon.points": (POLYGON, "29.9,106.1 30,106 29.9,106.1", "/alert/info[1]/area[1]/polygon[1]"),
    "cap.polygon.closed": (POLYGON, POLYGON[:-11], "/alert/info[1]/area[1]/polygon[1]"),
    "cap.polygon.crossing": (POLYGON, "0,0 2,2 2,0 0,2 0,0", "/alert/info[1]/area[1]/polygon[1]"),
    "cap.polygon.flat": (POLYGON, "0,0 1,1 2,2 0,0", "/alert/info[1]/area[1]/polygon[1]"),
    "cap.polygon.span": (POLYGON, "0,-170 0,170 5,170 5,-170 0,-170", "/alert/info[1]/area[1]/polygon[1]"),
    "cap.polygon.nodes": (
        POLYGON,
        " ".join(["0,0", *(f"{i * i / 100:.2f},{i}" for i in range(1, 100)), "99,0.5".replace("99", "89"), "0,0"]),
        "/alert/info[1]/area[1]/polygon[1]",
    ),
    "cap.polygon.limit": (POLYGON, "0,0 " * 40_000 + "0,0", "/alert/info[1]/area[1]/polygon[1]"),
    "cap.polygon.whitespace": (POLYGON, f"\n{POLYGON}\t", "/alert/info[1]/area[1]/polygon[1]"),
    "cap.circle.syntax": (CIRCLE, "29.97,106.27,5", "/alert/info[1]/area[1]/circle[1]"),
    "cap.circle.range": (CIRCLE, "29.97,186.27 5", "/alert/info[1]/area[1]/circle[1]"),
    "cap.circle.swapped": (CIRCLE, "106.27,29.97 5", "/alert/info[1]/area[1]/circle[1]"),
    "cap.circle.radius": (CIRCLE, "29.97,106.27 -5", "/alert/info[1]/area[1]/circle[1]"),
    "cap.circle.zero": (CIRCLE, "29.97,106.27 0.0", "/alert/info[1]/area[1]/circle[1]"),
    "cap.circle.large": (CIRCLE, "29.97,106.27 20039", "/alert/info[1]/area[1]/circle[1]"),
    "cap.geocode.repeated": (GEOCODE, GEOCODE + GEOCODE, "/alert/info[1]/area[1]/geocode[2]"),
    "cap.altitude.format": ("<altitude>600<", "<altitude>1e3<", "/alert/info[1]/area[1]/altitude"),
    "cap.ceiling.format": ("<ceiling>3000.5<", "<ceiling/><", "/alert/info[1]/area[1]/ceiling"),
    "cap.ceiling.altitude": ("<altitude>600</altitude>", "", "/alert/info[1]/area[1]/ceiling"),
    "cap.ceiling.order": ("<altitude>600<", "<altitude>6000<", "/alert/info[1]/area[1]/ceiling"),
    "cap.sent.format": ("<sent>2026-06-18T09:30:00+08:00", "<sent>2026-06-18T01:30:00Z", "/alert/sent"),
    "cap.effective.format": (
        "<effective>2026-06-18T",
        "<effective>2026-06-18 ",
        "/alert/info[1]/effective",
    ),
    "cap.onset.format": ("<onset>2026-06-18", "<onset>2026-06-31", "/alert/info[1]/onset"),
    "cap.expires.format": (":30:00+08:00</expires>", ":30:00.5+08:00</expires>", "/alert/info[1]/expires"),
    "cap.status.value": (">Actual<", ">actual<", "/alert/status"),
    "cap.msgType.value": (">Update<", ">Alarm<", "/alert/msgType"),
    "cap.scope.value": (">Public<", ">public<", "/alert/scope"),
    "cap.category.value": (">Met<", ">Weather<", "/alert/info[1]/category[1]"),
    "cap.responseType.value": (">Shelter<", ">Hide<", "/alert/info[1]/responseType[1]"),
    "cap.urgency.value": (">Immediate<", "> Immediate<", "/alert/info[1]/urgency"),
    "cap.severity.value": (">Extreme<", ">Red<", "/alert/info[1]/severity"),
    "cap.certainty.value": (">Likely<", ">Surely<", "/alert/info[1]/certainty"),
    "cap.certainty.deprecated": (">Likely<", ">Very Likely<", "/alert/info[1]/certainty"),
    "cap.identifier.missing": ("<identifier>50000041600000_20260618093000</identifier>", "", "/alert"),
    "cap.sender.missing": ("<sender>rain@cq.example.org</sender>", "", "/alert"),
    "cap.sent.missing": ("<sent>2026-06-18T09:30:00+08:00</sent>", "", "/alert"),
    "cap.status.missing": ("<status>Actual</status>", "", "/alert"),
    "cap.msgType.missing": (ISSUE, "", "/alert"),
    "cap.scope.missing": ("<scope>Public</scope>", "", "/alert"),
    "cap.category.missing": ("<category>Met</category>", "", "/alert/info[1]"),
    "cap.event.missing": ("<event>暴雨</event>", "", "/alert/info[1]"),
    "cap.urgency.missing": ("<urgency>Immediate</urgency>", "", "/alert/info[1]"),
    "cap.severity.missing": ("<severity>Extreme</severity>", "", "/alert/info[1]"),
    "cap.certainty.missing": ("<certainty>Likely</certainty>", "", "/alert/info[1]"),
    "cap.valueName.missing": ("<valueName>rain</valueName>", "", "/alert/info[1]/parameter[1]"),
    "cap.value.missing": ("<value>11B03</value>", "", "/alert/info[1]/eventCode[1]"),
    "cap.resourceDesc.missing": ("<resourceDesc>map</resourceDesc>", "", "/alert/info[1]/resource[1]"),
    "cap.mimeType.missing": ("<mimeType>image/png</mimeType>", "", "/alert/info[1]/resource[1]"),
    "cap.areaDesc.missing": ("<areaDesc>合川区</areaDesc>", "", "/alert/info[1]/area[1]"),
    "cap.text.placeholder": ("暴雨红色预警", "{{ event }}红色预警", "/alert/info[1]/headline"),
    "cap.info.override": (
        "</info>",
        "</info>" + INFO.replace("Extreme", "Severe"),
        "/alert/info[2]/severity",
    ),
    "cap.geocode.alone": (AREA[AREA.index("<polygon>") : AREA.index("<geocode>")], "", "/alert/info[1]/area[1]"),
    "cap.check.skipped": ("<sent>2026-06-18T09", "<sent>2026-06-18T29", "/alert/sent"),
    "cap.root": ("<alert ", "<info ", "/info"),
    "cap.namespace": (":cap:1.2", ":cap:1.3", "/alert"),
    "cap.xml.version": ('version="1.0"', 'version="1.1"', "line 1"),
    "cap.xml.encoding": ('encoding="UTF-8"', 'encoding="UTF-7"', "line 1"),
    "cap.xml.doctype": ("<alert ", '<!-- a --><!DOCTYPE alert [<!ENTITY x "y">]><alert ', "line 2"),
    "cap.xml.syntax": ("</source>", "</sauce>", "line 8, column 32"),
    "cap.depth": ("forecast desk", "<a>" * 12 + "</a>" * 12, "line 8"),
    "cap.elements": ("forecast desk", "<a/>" * 20_000, ""),
    "cap.size": ("forecast desk", "x" * 2 * 1024 * 1024, ""),
    "cap.findings.more": ("forecast desk", "<a/>" * 600, ""),
}
# The closing tags must follow where the root is renamed, and the empty element must be well-formed.
_REPAIR = {"cap.root": ("</alert>", "</info>"), "cap.ceiling.format": ("<ceiling/></ceiling>", "<ceiling/>")}

# rule → (bytes of JSON from the valid document, where the finding points)
JSON_BROKEN: dict[str, tuple[str, str, str]] = {
    "cap.json.syntax": ('"status"', '"status', "line 5, column 13"),
    "cap.json.type": ('"forecast desk"', "12", "/source"),
    "cap.json.duplicate": ('"source": "forecast desk"', '"source": "a", "source": "b"', "/source"),
    "cap.json.character": ("forecast desk", "\\u0000", "/source"),
    "cap.json.encoding": ("{\n", "\ufeff{\n", ""),
}


def _findings(data: bytes, rule: str, posture: Posture = Posture.STRICT) -> list[Finding]:
    return [finding for finding in read(data, "xml", posture=posture, now=NOW).findings if finding.rule == rule]


def _broken(rule: str) -> bytes:
    data = swap(BROKEN[rule][0], BROKEN[rule][1])
    if rule in _REPAIR:
        old, new = _REPAIR[rule]
        data = swap(old, new, data.decode())
    return data


def _json() -> str:
    root = parse_xml(ALERT.encode()).root
    assert root is not None
    alert = alert_of(root)
    assert alert is not None
    return to_json(alert).decode()


def test_an_alert_that_uses_every_element_has_no_findings() -> None:
    reading = read(ALERT.encode(), "xml", now=NOW)
    assert reading.findings == ()
    assert reading.valid
    assert reading.schema_valid


@pytest.mark.parametrize("rule", BROKEN)
def test_breaking_a_rule_is_found_in_its_place(rule: str) -> None:
    found = _findings(_broken(rule), rule)
    assert found
    assert found[0].place == BROKEN[rule][2]
    assert found[0].severity is RULES[rule].strict
    assert found[0].clause == RULES[rule].clause
    assert len(found[0].value) <= 120
    assert found[0].message


@pytest.mark.parametrize("rule", BROKEN)
def test_the_lenient_posture_finds_the_same_and_grades_it_its_own_way(rule: str) -> None:
    strict = _findings(_broken(rule), rule)
    lenient = _findings(_broken(rule), rule, Posture.LENIENT)
    assert [item.place for item in lenient] == [item.place for item in strict]
    assert {item.severity for item in lenient} == {RULES[rule].lenient}


@pytest.mark.parametrize("rule", JSON_BROKEN)
def test_breaking_a_rule_of_json_is_found_in_its_place(rule: str) -> None:
    old, new, place = JSON_BROKEN[rule]
    reading = read(swap(old, new, _json()), "json", now=NOW)
    assert [(finding.rule, finding.place) for finding in reading.findings if finding.rule == rule] == [
        (rule, place)
    ]
    assert reading.alert is None
    assert not reading.valid


# Rules that one message of CAP 1.2 cannot break, and the tests that break them.
ELSEWHERE = {
    "cap.version": "test_older.py",
    "cap.version.mapped": "test_older.py",
    "cap.version.newer": "test_older.py",
    "cap.version.dropped": "test_older.py",
    "cap.version.unmapped": "test_older.py",
    "cap.identity.conflict": "test_identities.py",
    "cap.identity.repeated": "test_identities.py",
}


def test_every_rule_of_the_catalogue_has_a_message_that_breaks_it() -> None:
    assert set(BROKEN) | set(JSON_BROKEN) | set(ELSEWHERE) == set(RULES)


@pytest.mark.parametrize("rule", ELSEWHERE)
def test_rules_that_are_broken_elsewhere_are_named_there(rule: str) -> None:
    assert f'"{rule}"' in (Path(__file__).parent / ELSEWHERE[rule]).read_text(encoding="utf-8")


def test_a_rule_is_never_graver_in_the_lenient_posture() -> None:
    order = [Grade.INFO, Grade.WARNING, Grade.ERROR]
    assert all(order.index(rule.lenient) <= order.index(rule.strict) for rule in RULES.values())


def test_all_problems_are_listed_not_the_first_only() -> None:
    data = swap(">Actual<", ">actual<")
    for old, new in ((POLYGON, "1,1"), (CIRCLE, "x"), (">Likely<", ">Surely<"), ("<size>5<", "<size>?<")):
        data = swap(old, new, data.decode())
    rules = {finding.rule for finding in read(data, "xml", now=NOW).errors}
    assert rules == {
        "cap.status.value",
        "cap.polygon.points",
        "cap.circle.syntax",
        "cap.certainty.value",
        "cap.size.format",
    }


def test_findings_know_their_line() -> None:
    (finding,) = _findings(_broken("cap.severity.value"), "cap.severity.value")
    assert ALERT.splitlines()[(finding.line or 0) - 1].strip().startswith("<severity>")
    assert finding.value == "Red"


def test_a_finding_clips_its_value_and_shows_control_characters() -> None:
    (finding,) = _findings(swap(POLYGON, "\t" + "x" * 5000), "cap.polygon.syntax")
    assert finding.value == "x" * 119 + "…"
    (finding,) = _findings(swap(">Extreme<", ">a\nb<"), "cap.severity.value")
    assert finding.value == "a\\nb"


def test_the_old_word_for_likely_counts_as_likely_as_the_standard_says_and_is_reported() -> None:
    strict = read(_broken("cap.certainty.deprecated"), "xml", now=NOW)
    lenient = read(_broken("cap.certainty.deprecated"), "xml", posture=Posture.LENIENT, now=NOW)
    assert not strict.valid
    assert lenient.valid
    assert lenient.alert is not None
    assert lenient.alert.infos[0].certainty is Certainty.LIKELY
    assert not lenient.schema_valid


def test_a_cancel_needs_neither_info_nor_expiry() -> None:
    data = swap(ISSUE, "<msgType>Cancel</msgType>", swap(INFO, "").decode())
    assert read(data, "xml", now=NOW).findings == ()


def test_an_alert_may_name_closed_messages_in_references() -> None:
    assert read(swap(ISSUE, "<msgType>Alert</msgType>"), "xml", now=NOW).findings == ()


def test_empty_references_on_an_alert_count_as_absent() -> None:
    data = swap(REFERENCE, "", swap(ISSUE, "<msgType>Alert</msgType>").decode())
    reading = read(data, "xml", now=NOW)
    assert reading.valid
    assert reading.alert is not None
    assert reading.alert.references == ()


def test_utc_may_be_written_with_either_sign() -> None:
    for offset in ("-00:00", "+00:00"):
        reading = read(swap("09:30:00+08:00</sent>", f"01:30:00{offset}</sent>"), "xml", now=NOW)
        assert reading.valid
        assert reading.alert is not None
        assert reading.alert.sent.text.endswith(offset)
        assert reading.alert.sent.instant.isoformat() == "2026-06-18T01:30:00+00:00"


def test_the_report_tells_how_many_findings_it_left_out() -> None:
    reading = read(_broken("cap.findings.more"), "xml", limits=Limits(max_findings=10), now=NOW)
    assert len(reading.findings) == 11
    assert reading.findings[-1].message == "591 more findings are not listed"


def test_an_unknown_key_of_json_is_found_with_its_pointer() -> None:
    reading = read(swap('"source"', '"a/b~c"', _json()), "json", now=NOW)
    assert [(finding.rule, finding.place) for finding in reading.findings] == [("cap.element.unknown", "/a~1b~0c")]


def test_values_of_json_are_found_with_their_pointer() -> None:
    content = json.loads(_json())
    content["info"][0]["area"][0]["polygon"][0] = "0,0"
    content["info"][0]["area"][0]["circle"] = "0,0 1"
    reading = read(json.dumps(content).encode(), "json", now=NOW)
    assert {(finding.rule, finding.place) for finding in reading.errors} == {
        ("cap.json.type", "/info/0/area/0/circle"),
        ("cap.polygon.points", "/info/0/area/0/polygon/0"),
    }
