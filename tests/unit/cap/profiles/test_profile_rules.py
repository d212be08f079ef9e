"""Every rule of the profiles for other countries is broken by a message, and a good message breaks none."""

from __future__ import annotations

import pytest

from broker.cap import Finding, Grade, Posture, parse_xml
from broker.cap.profiles import PROFILES, Profile, ipaws, wmo

HEAD = """<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">
<identifier>{identifier}</identifier><sender>desk@example.org</sender><sent>2026-06-18T09:30:00+08:00</sent>
<status>Actual</status><msgType>Alert</msgType><scope>Public</scope>{codes}"""

WMO_INFO = """<info><language>{language}</language><category>Met</category><event>{event}</event>
<urgency>Immediate</urgency><severity>Severe</severity><certainty>Likely</certainty>
<eventCode><valueName>GB/T 35561</valueName><value>11B03</value></eventCode>
<onset>2026-06-18T10:00:00+08:00</onset><expires>2026-06-18T15:30:00+08:00</expires>
<area><areaDesc>{area}</areaDesc><circle>29.97,106.27 5</circle></area></info>"""
ENGLISH = WMO_INFO.format(language="en-GB", event="Rainstorm", area="Hechuan")
WMO = (
    HEAD.format(identifier="urn:oid:2.49.0.1.156.0.2026.6.18.1", codes="")
    + WMO_INFO.format(language="zh-CN", event="暴雨", area="合川区")
    + ENGLISH
    + "</alert>"
)

IPAWS_INFO = """<info><language>en-US</language><category>Met</category><event>Flood Warning</event>
<urgency>Immediate</urgency><severity>Severe</severity><certainty>Likely</certainty>
<eventCode><valueName>SAME</valueName><value>FLW</value></eventCode><expires>2026-06-18T15:30:00+08:00</expires>
<parameter><valueName>EAS-ORG</valueName><value>WXR</value></parameter>
<parameter><valueName>BLOCKCHANNEL</valueName><value>NWEM</value></parameter>
<parameter><valueName>CMAMtext</valueName><value>Flood til 3PM. Avoid low ground [NWS]</value></parameter>
<parameter><valueName>CMAMlongtext</valueName><value>A flood is coming.</value></parameter>
<area><areaDesc>Dorchester</areaDesc><polygon>38.1,-76.2 38.1,-76.0 38.3,-76.0 38.1,-76.2</polygon>
<geocode><valueName>SAME</valueName><value>024019</value></geocode></area></info>"""
IPAWS = HEAD.format(identifier="one", codes="<code>IPAWSv1.0</code>") + IPAWS_INFO + "</alert>"

CP_INFO = """<info><language>{language}</language><category>Met</category><event>rainfall</event>
<urgency>Future</urgency><severity>Severe</severity><certainty>Likely</certainty>
<eventCode><valueName>profile:CAP-CP:Event:0.4</valueName><value>rainfall</value></eventCode>
<expires>2026-06-18T15:30:00+08:00</expires><senderName>Office</senderName>
<parameter><valueName>layer:SOREM:1.0:Broadcast_Immediately</valueName><value>No</value></parameter>
<area><areaDesc>Essex</areaDesc><polygon>42.1,-82.9 42.1,-82.5 42.3,-82.5 42.1,-82.9</polygon>
<geocode><valueName>profile:CAP-CP:Location:0.3</valueName><value>3537001</value></geocode></area></info>"""
CP = (
    HEAD.format(identifier="one", codes="<code>profile:CAP-CP:0.4</code><code>layer:SOREM:1.0</code>")
    + CP_INFO.format(language="en-CA")
    + CP_INFO.format(language="fr-CA")
    + "</alert>"
)
REFERENCE = "<references>desk@example.org,zero,2026-06-18T09:00:00+08:00</references>"
GOOD = {"wmo": WMO, "ipaws": IPAWS, "cap-cp": CP}

# rule → (the piece of the good message, what it becomes, where the finding points)
BROKEN: dict[str, tuple[str, str, str]] = {
    "wmo.identifier.oid": ("urn:oid:2.49.0.1.156.0.", "cq.", "/alert/identifier"),
    "wmo.identifier.country": ("2.49.0.1.156.", "2.49.0.1.0156.", "/alert/identifier"),
    "wmo.identifier.information": ("urn:oid:2.49.0.1.", "2.49.0.0.", "/alert/identifier"),
    "wmo.identifier.arcs": (".2026.6.", ".2026-06.", "/alert/identifier"),
    "wmo.info.required": (WMO[WMO.index("<info>") : WMO.index("</alert>")], "", "/alert"),
    "wmo.language.missing": (">en-GB<", ">fr<", "/alert"),
    "wmo.language.same.count": (ENGLISH, ENGLISH + ENGLISH, "/alert/info[2]"),
    "wmo.language.same.event": (ENGLISH, ENGLISH + ENGLISH.replace("Rain", "Snow"), "/alert/info[2]/event"),
    "wmo.language.same.eventCode": (
        ENGLISH,
        ENGLISH.replace("11B03", "11B04"),
        "/alert/info[2]/eventCode[1]",
    ),
    "wmo.language.same.category": (ENGLISH, ENGLISH.replace(">Met<", ">Geo<"), "/alert/info[2]/category[1]"),
    "wmo.language.same.urgency": (
        ENGLISH,
        ENGLISH.replace("Immediate", "Expected"),
        "/alert/info[2]/urgency",
    ),
    "wmo.language.same.severity": (ENGLISH, ENGLISH.replace("Severe", "Extreme"), "/alert/info[2]/severity"),
    "wmo.language.same.certainty": (ENGLISH, ENGLISH.replace("Likely", "Possible"), "/alert/info[2]/certainty"),
    "wmo.language.same.area": (ENGLISH, ENGLISH.replace("106.27 5", "106.27 6"), "/alert/info[2]/area[1]"),
    "wmo.language.same.geocode": (
        ENGLISH,
        ENGLISH.replace(
            "</circle>", "</circle><geocode><valueName>GB/T 2260</valueName><value>500117</value></geocode>"
        ),
        "/alert/info[2]/area[1]",
    ),
    "wmo.expires.required": ("<expires>2026-06-18T15:30:00+08:00</expires>", "", "/alert/info[1]"),
    "wmo.time.early": ("<onset>2026-06-18T10", "<onset>2026-06-18T09", "/alert/info[1]/onset"),
    "wmo.span.day": ("<expires>2026-06-18", "<expires>2026-06-20", "/alert/info[1]/expires"),
    "wmo.span.month": ("<expires>2026-06-18", "<expires>2026-08-20", "/alert/info[1]/expires"),
    "ipaws.code": ("IPAWSv1.0", "IPAWSv2.0", "/alert"),
    "ipaws.status.broadcast": ("<status>Actual", "<status>Test", "/alert/status"),
    "ipaws.info.required": (IPAWS_INFO, "", "/alert"),
    "ipaws.references.all": (
        "<msgType>Alert</msgType><scope>Public</scope><code>IPAWSv1.0</code>",
        f"<msgType>Update</msgType><scope>Public</scope><code>IPAWSv1.0</code>{REFERENCE}",
        "/alert/references",
    ),
    "ipaws.infos.category": (
        IPAWS_INFO,
        IPAWS_INFO + IPAWS_INFO.replace(">Met<", ">Geo<"),
        "/alert/info[2]/category[1]",
    ),
    "ipaws.infos.eventCode": (
        IPAWS_INFO,
        IPAWS_INFO + IPAWS_INFO.replace(">FLW<", ">FFW<"),
        "/alert/info[2]/eventCode[1]",
    ),
    "ipaws.expires.required": ("<expires>2026-06-18T15:30:00+08:00</expires>", "", "/alert/info[1]"),
    "ipaws.area.required": (
        IPAWS_INFO[IPAWS_INFO.index("<area>") : IPAWS_INFO.index("</info>")],
        "",
        "/alert/info[1]",
    ),
    "ipaws.same.code": (
        "</eventCode>",
        "</eventCode><eventCode><valueName>SAME</valueName><value>FFW</value></eventCode>",
        "/alert/info[1]/eventCode[2]",
    ),
    "ipaws.same.code.format": (">FLW<", ">flood<", "/alert/info[1]/eventCode[1]/value"),
    "ipaws.same.geocode": (
        "<valueName>SAME</valueName><value>024019",
        "<valueName>UGC</valueName><value>MDZ021",
        "/alert/info[1]/area[1]",
    ),
    "ipaws.same.geocode.format": (">024019<", ">24019<", "/alert/info[1]/area[1]/geocode[1]/value"),
    "ipaws.same.geocode.many": (
        "</area>",
        "".join(f"<geocode><valueName>SAME</valueName><value>{code:06}</value></geocode>" for code in range(31))
        + "</area>",
        "/alert/info[1]/area[1]/geocode[32]",
    ),
    "ipaws.eas-org": (">WXR<", ">NWS<", "/alert/info[1]/parameter[1]/value"),
    "ipaws.eas-org.absent": ("EAS-ORG", "EAS-ORIGIN", "/alert/info[1]"),
    "ipaws.blockchannel": (">NWEM<", ">TV<", "/alert/info[1]/parameter[2]/value"),
    "ipaws.cmamtext.length": ("Flood til 3PM", "x" * 62 + "Flood til 3PM", "/alert/info[1]/parameter[3]/value"),
    "ipaws.cmamlongtext.length": (
        "A flood is coming.",
        "A flood is coming." * 20 + "!",
        "/alert/info[1]/parameter[4]/value",
    ),
    "ipaws.cmam.characters": ("A flood", "Ein “Hochwasser”", "/alert/info[1]/parameter[4]/value"),
    "ipaws.polygon.nodes": (
        "<polygon>",
        "<polygon>" + "38.1,-76.2 " * 96,
        "/alert/info[1]/area[1]/polygon[1]",
    ),
    "cap-cp.code": ("profile:CAP-CP:0.4", "profile:CAP-CP:0.3", "/alert/code[1]"),
    "cap-cp.layer": ("layer:SOREM:1.0<", "layer:SOREM<", "/alert/code[2]"),
    "cap-cp.layer.undeclared": ("<code>layer:SOREM:1.0</code>", "", "/alert/info[1]/parameter[1]"),
    "cap-cp.info.required": (CP[CP.index("<info>") : CP.index("</alert>")], "", "/alert"),
    "cap-cp.references.all": (
        CP[CP.index("<msgType>") : CP.index("<info>")],
        CP[CP.index("<msgType>") : CP.index("<info>")].replace("Alert", "Cancel") + REFERENCE,
        "/alert/references",
    ),
    "cap-cp.language.missing": ("<language>fr-CA</language>", "", "/alert/info[2]"),
    "cap-cp.language.pair": (">fr-CA<", ">fr-FR<", "/alert"),
    "cap-cp.event": ("profile:CAP-CP:Event:0.4", "SAME", "/alert/info[1]"),
    "cap-cp.event.one": ("<value>rainfall", "<value>snowfall", "/alert/info[2]/eventCode[1]"),
    "cap-cp.event.format": ("<value>rainfall", "<value>heavy rain", "/alert/info[1]/eventCode[1]/value"),
    "cap-cp.event.list": ("one", "two", "/alert/info[1]/eventCode[1]"),
    "cap-cp.area.required": (
        CP_INFO[CP_INFO.index("<area>") : CP_INFO.index("</info>")],
        "",
        "/alert/info[1]",
    ),
    "cap-cp.location": ("profile:CAP-CP:Location:0.3", "layer:SOREM:1.0:X", "/alert/info[1]/area[1]"),
    "cap-cp.location.format": (">3537001<", ">353700<", "/alert/info[1]/area[1]/geocode[1]/value"),
    "cap-cp.location.list": ("one", "two", "/alert/info[1]/area[1]/geocode[1]"),
    "cap-cp.expires": ("<expires>2026-06-18T15:30:00+08:00</expires>", "", "/alert/info[1]"),
    "cap-cp.senderName": ("<senderName>Office</senderName>", "", "/alert/info[1]"),
    "cap-cp.broadcast": (">No<", ">Maybe<", "/alert/info[1]/parameter[1]/value"),
}
CANNOT_RUN = {"cap-cp.event.list", "cap-cp.location.list"}


def judge(profile: Profile, text: str, posture: Posture = Posture.STRICT) -> list[Finding]:
    root = parse_xml(text.encode()).root
    assert root is not None
    return profile.judge(root, posture=posture)


@pytest.mark.parametrize("name", GOOD)
def test_a_message_that_keeps_to_its_profile_has_no_finding_but_what_could_not_be_checked(name: str) -> None:
    assert {found.rule for found in judge(PROFILES[name], GOOD[name])} <= CANNOT_RUN


@pytest.mark.parametrize("rule", BROKEN)
def test_a_message_that_breaks_a_rule_of_a_profile_is_told_so_at_its_place(rule: str) -> None:
    name = rule.partition(".")[0]
    old, new, place = BROKEN[rule]
    assert old in GOOD[name]
    found = [found for found in judge(PROFILES[name], GOOD[name].replace(old, new, 1)) if found.rule == rule]
    assert place in {found.place for found in found}
    assert {found.clause for found in found} == {PROFILES[name].rules[rule].clause}


@pytest.mark.parametrize("name", GOOD)
def test_every_rule_of_a_profile_is_broken_by_one_of_these_messages(name: str) -> None:
    assert set(PROFILES[name].rules) == {rule for rule in BROKEN if rule.startswith(f"{name}.")}


def test_every_rule_begins_with_the_name_of_its_profile() -> None:
    for name, profile in PROFILES.items():
        assert profile.name == name
        assert all(rule == known.id and rule.startswith(f"{name}.") for rule, known in profile.rules.items())


@pytest.mark.parametrize("name", GOOD)
def test_no_rule_is_graver_to_a_foreign_feed_than_to_our_own_departments(name: str) -> None:
    gravity = [Grade.INFO, Grade.WARNING, Grade.ERROR]
    for rule in PROFILES[name].rules.values():
        assert gravity.index(rule.grade(Posture.LENIENT)) <= gravity.index(rule.grade(Posture.STRICT)), rule.id


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("text", ["<alert xmlns='urn:oasis:names:tc:emergency:cap:1.2'/>", *GOOD.values()])
def test_a_profile_judges_any_message_without_failing(name: str, text: str) -> None:
    for at in range(0, len(text), 7):
        root = parse_xml((text[:at] + text[at + 7 :]).encode()).root
        if root is not None:
            for found in PROFILES[name].judge(root):
                assert found.place.startswith("/")


def test_a_country_agrees_on_its_own_languages() -> None:
    french = wmo.profile(("fr", "en"))
    assert "wmo.language.missing" in {found.rule for found in judge(french, WMO)}
    assert not judge(french, WMO.replace(">zh-CN<", ">fr-FR<"))


def test_areas_without_geometry_are_compared_by_their_codes() -> None:
    code = "<geocode><valueName>GB/T 2260</valueName><value>500117</value></geocode>"
    text = WMO.replace("<circle>29.97,106.27 5</circle>", code)
    assert not judge(PROFILES["wmo"], text)
    other = text[::-1].replace("711005", "901005", 1)[::-1]
    assert {"wmo.language.same.area", "wmo.language.same.geocode"} == {
        found.rule for found in judge(PROFILES["wmo"], other)
    }


def test_an_event_code_of_another_system_is_no_same_code() -> None:
    text = IPAWS.replace("<valueName>SAME</valueName><value>FLW", "<valueName>NWS</valueName><value>FLW")
    assert [found.rule for found in judge(PROFILES["ipaws"], text)] == ["ipaws.same.code"]


def test_a_blocked_channel_needs_no_originator() -> None:
    text = IPAWS.replace("EAS-ORG", "X").replace(">NWEM<", ">EAS<")
    assert not judge(PROFILES["ipaws"], text)


def test_the_alphabet_of_phones_has_its_127_characters_and_the_escape() -> None:
    assert len(ipaws._GSM_7) == 127
    assert not ipaws._GSM_7 & ipaws._GSM_7_EXTENSION


def test_a_character_behind_the_escape_takes_the_room_of_two() -> None:
    text = IPAWS.replace("Flood til 3PM. Avoid low ground [NWS]", "x" * 88 + "{}")
    (found,) = judge(PROFILES["ipaws"], text)
    assert found.rule == "ipaws.cmamtext.length"
    assert "92" in found.message
    assert not judge(PROFILES["ipaws"], text.replace("{}", "{"))
