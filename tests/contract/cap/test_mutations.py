"""Any single change that breaks a rule is found by that rule, wherever in whatever sound alert it is made."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from broker.cap import RULES, Grade, grammar, model, names, read, to_json, to_xml
from broker.cap.build import alert_of
from broker.cap.jsonform import parse_json
from tests.unit.cap.samples import NOW

Element = etree._Element
Mutation = Callable[[Element, st.DataObject], None]

# ── sound alerts ──────────────────────────────────────────────────────────────────────────────────────

_words = st.text(st.sampled_from("abcdefgh 暴雨洪水"), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
_codes = st.text(st.sampled_from("ABC123-."), min_size=1, max_size=12)


def _time(minutes: int) -> model.CapTime:
    return model.CapTime.of(NOW + timedelta(minutes=minutes))


@st.composite
def _polygons(draw: st.DrawFn) -> model.Polygon:
    south, west = draw(st.integers(-80, 70)), draw(st.integers(-170, 160))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    ring = [(south, west), (south, west + width), (south + height, west + width), (south + height, west)]
    return model.Polygon.parse(" ".join(f"{a}.5,{b}.25" for a, b in [*ring, ring[0]]))


_circles = st.builds(
    lambda a, b, km: model.Circle.parse(f"{a},{b} {km}"),
    st.integers(-89, 89),
    st.integers(-179, 179),
    st.integers(1, 400),
)
_named = st.builds(model.NamedValue, _codes, _codes)


@st.composite
def _areas(draw: st.DrawFn) -> model.Area:
    low = draw(st.integers(0, 900))
    return model.Area(
        draw(_words),
        polygons=tuple(draw(st.lists(_polygons(), min_size=1, max_size=2))),
        circles=tuple(draw(st.lists(_circles, min_size=1, max_size=2))),
        geocodes=tuple(draw(st.lists(_named, min_size=1, max_size=2))),
        altitude=model.Height.parse(str(low)),
        ceiling=model.Height.parse(str(low + draw(st.integers(0, 900)))),
    )


@st.composite
def _resources(draw: st.DrawFn) -> model.Resource:
    content = draw(st.binary(min_size=1, max_size=20))
    return model.Resource(
        draw(_words),
        "image/png",
        model.Size.parse(str(len(content))),
        "https://example.org/" + draw(st.sampled_from(["a", "b.png"])),
        base64.b64encode(content).decode(),
        hashlib.sha1(content, usedforsecurity=False).hexdigest(),
    )


@st.composite
def _infos(draw: st.DrawFn) -> model.Info:
    return model.Info(
        language=draw(st.sampled_from(["zh-CN", "en-US", "fr", "zh-Hant-TW"])),
        categories=(draw(st.sampled_from(model.Category)),),
        event=draw(_words),
        response_types=(draw(st.sampled_from(model.ResponseType)),),
        urgency=draw(st.sampled_from(model.Urgency)),
        severity=draw(st.sampled_from(model.Severity)),
        certainty=draw(st.sampled_from(model.Certainty)),
        event_codes=(draw(_named),),
        effective=_time(draw(st.integers(0, 9))),
        onset=_time(draw(st.integers(10, 30))),
        expires=_time(draw(st.integers(31, 600))),
        headline=draw(_words),
        web="https://example.org/" + draw(st.sampled_from(["", "x?y=1"])),
        parameters=(draw(_named),),
        resources=tuple(draw(st.lists(_resources(), min_size=1, max_size=2))),
        areas=tuple(draw(st.lists(_areas(), min_size=1, max_size=2))),
    )


@st.composite
def sound_alerts(draw: st.DrawFn) -> model.Alert:
    """Alerts without an error that hold at least one of every element that a mutation may want."""
    earlier = model.Reference("a@b", draw(_codes) + "x", _time(-60))
    return model.Alert(
        identifier="N" + draw(_codes),
        sender="office@example.org",
        sent=_time(-draw(st.integers(0, 60))),
        status=draw(st.sampled_from(model.Status)),
        msg_type=draw(st.sampled_from([model.MsgType.UPDATE])),
        source=draw(_words),
        scope=model.Scope.PUBLIC,
        note="a note",
        references_text=earlier.text,
        infos=tuple(draw(st.lists(_infos(), min_size=1, max_size=2))),
    )


# ── changes ───────────────────────────────────────────────────────────────────────────────────────────


def _pick(root: Element, name: str, data: st.DataObject) -> Element:
    return data.draw(st.sampled_from(root.findall(f".//{{{names.CAP_1_2}}}{name}")), label=name)


def says(name: str, *texts: str) -> Mutation:
    """One element of that name gets another text."""

    def change(root: Element, data: st.DataObject) -> None:
        _pick(root, name, data).text = data.draw(st.sampled_from(texts))

    return change


def lacks(name: str) -> Mutation:
    """One element loses its children of that name."""

    def change(root: Element, data: st.DataObject) -> None:
        parent = _pick(root, name, data).getparent()
        assert parent is not None
        for child in parent.findall(f"{{{names.CAP_1_2}}}{name}"):
            parent.remove(child)

    return change


def becomes(name: str, how: Callable[[str, st.DataObject], str]) -> Mutation:
    """One element of that name gets a text made of its own."""

    def change(root: Element, data: st.DataObject) -> None:
        element = _pick(root, name, data)
        element.text = how(element.text or "", data)

    return change


def both(*changes: Mutation) -> Mutation:
    """One change that takes several steps."""

    def change(root: Element, data: st.DataObject) -> None:
        for each in changes:
            each(root, data)

    return change


def adds(text: str, before: str) -> Mutation:
    """A new element before one of that name."""

    def change(root: Element, data: st.DataObject) -> None:
        _pick(root, before, data).addprevious(etree.fromstring(f'<x xmlns="{names.CAP_1_2}">{text}</x>')[0])

    return change


def _doubled(root: Element, data: st.DataObject) -> None:
    single = (
        "identifier",
        "sent",
        "scope",
        "note",
        "references",
        "event",
        "severity",
        "expires",
        "headline",
        "web",
    )
    element = _pick(root, data.draw(st.sampled_from(single)), data)
    element.addprevious(etree.fromstring(etree.tostring(element, with_tail=False)))


def _moved(root: Element, data: st.DataObject) -> None:
    parent = data.draw(st.sampled_from([element for element in root.iter() if len(element) > 1]))
    first = parent[0]
    last = next((child for child in reversed(parent) if child.tag != first.tag), None)
    assert last is not None
    parent.remove(last)
    parent.insert(0, last)


def _attribute(root: Element, data: st.DataObject) -> None:
    element = data.draw(st.sampled_from(list(root.iter())))
    element.set(
        data.draw(st.sampled_from(["lang", "{urn:x}id", "{http://www.w3.org/XML/1998/namespace}lang"])), "en"
    )


def _signed(root: Element, data: st.DataObject) -> None:
    inside = data.draw(st.sampled_from(["<alert/>", "<value>a</value>", "<x:Object><x:A><info/></x:A></x:Object>"]))
    signature = f'<x:Signature xmlns:x="{names.XML_SIGNATURE}" xmlns="{names.CAP_1_2}">{inside}</x:Signature>'
    root.append(etree.fromstring(signature))


def _between(root: Element, data: st.DataObject) -> None:
    element = data.draw(st.sampled_from([element for element in root.iter() if element.getparent() is not None]))
    element.tail = data.draw(st.sampled_from(["x", " x ", "\u3000", "雨"]))


def _unlocated(root: Element, data: st.DataObject) -> None:
    area = _pick(root, "area", data)
    for child in list(area):
        if etree.QName(child).localname in ("polygon", "circle", "geocode"):
            area.remove(child)


def _relative(root: Element, data: st.DataObject) -> None:
    resource = _pick(root, "resource", data)
    for child in list(resource):
        match etree.QName(child).localname:
            case "uri":
                child.text = data.draw(st.sampled_from(["map.png", "/a", "?b"]))
            case "derefUri" | "size" | "digest":
                resource.remove(child)


def _self(root: Element, data: st.DataObject) -> None:
    values = (root.findtext(f"{{{names.CAP_1_2}}}{name}") for name in ("sender", "identifier", "sent"))
    own = ",".join(value or "" for value in values)
    references = _pick(root, "references", data)
    references.text = data.draw(st.sampled_from([own, f"{references.text} {own}", f"{own}\n{references.text}"]))


_BAD_TIMES = (
    *("2026-06-18T02:00:00Z", "2026-06-18T02:00:00", "2026-06-18 02:00:00+00:00", "2026-06-18T02:00:00.0+00:00"),
    *("2026-06-31T02:00:00+00:00", "2026-06-18T25:00:00+00:00", "2026-06-18T02:00+00:00", "20260618T020000+0000"),
    *("2026-06-18T02:00:00+15:00", "now", "", "2026-06-18T02:00:00,00:00", "2026-06-18T24:00:01+00:00"),
)
_BAD_URIS = ("http://a/%zz", "http://[x", "http://a:b/", "http://a/#a#b")
_BAD_NUMBERS = ("1e3", "one", "", "1,5", "0x10", "--1")
_CROSSING = ("0,0 2,2 2,0 0,2 0,0", "1,1 5,5 1,5 5,1 1,1", "0,0 0,4 4,4 4,0 0,0 2,2 0,0")

MUTATIONS: dict[str, Mutation] = {
    **{
        f"cap.{name}.missing": lacks(name)
        for name in (
            *("identifier", "sender", "sent", "status", "msgType", "scope", "category", "event", "urgency"),
            *("severity", "certainty", "valueName", "value", "resourceDesc", "mimeType", "areaDesc"),
        )
    },
    **{
        f"cap.{name}.value": says(name, "", "Foo", "actual", "alert", "public", "met", " Likely", "Unknown ")
        for name in ("status", "msgType", "scope", "category", "responseType", "urgency", "severity", "certainty")
    },
    **{f"cap.{name}.format": says(name, *_BAD_TIMES) for name in ("sent", "effective", "onset", "expires")},
    "cap.certainty.deprecated": says("certainty", "Very Likely"),
    "cap.element.unknown": adds("<Point>1,2</Point>", "areaDesc"),
    "cap.element.order": _moved,
    "cap.element.repeated": _doubled,
    "cap.element.attribute": _attribute,
    "cap.element.signed": _signed,
    "cap.element.text": _between,
    "cap.text.empty": both(
        lambda root, data: says(
            data.draw(st.sampled_from(["event", "areaDesc", "resourceDesc", "mimeType", "value", "valueName"])),
            *("", " ", "\n\t", "\u3000"),
        )(root, data)
    ),
    "cap.identifier.empty": says("identifier", "", " ", "\n"),
    "cap.sender.empty": says("sender", "", " "),
    "cap.identifier.characters": says("identifier", "a b", "a,b", "a&b", "a<b", " a", "a\n"),
    "cap.sender.characters": says("sender", "a b", "a,b", "a&b", "a<b", "a\t"),
    "cap.references.required": both(lacks("references")),
    "cap.references.format": becomes(
        "references",
        lambda text, data: data.draw(
            st.sampled_from(
                [text.replace(",", " "), text + ",x", text + " a,b", "a/b", text.partition(",")[2], f",{text[1:]}"]
            )
        ),
    ),
    "cap.references.self": _self,
    "cap.restriction.required": says("scope", "Restricted"),
    "cap.addresses.required": says("scope", "Private"),
    "cap.addresses.format": adds('<addresses>a "b c</addresses>', "note"),
    "cap.info.required": lacks("info"),
    "cap.language.format": says("language", "zh_CN", "toolonglanguage", "1a", "e n"),
    "cap.onset.order": becomes("onset", lambda text, data: _time(601 + data.draw(st.integers(0, 9))).text),
    "cap.expires.order": becomes("expires", lambda text, data: _time(-61 - data.draw(st.integers(0, 9))).text),
    "cap.expires.past": becomes("expires", lambda text, data: _time(-data.draw(st.integers(0, 99))).text),
    "cap.web.format": says("web", *_BAD_URIS),
    "cap.web.absolute": says("web", "www.example.org", "/a", "a"),
    "cap.area.required": lacks("area"),
    "cap.mimeType.format": says("mimeType", "png", "image/", "/png", "image png"),
    "cap.size.format": says("size", *_BAD_NUMBERS, "1.5"),
    "cap.size.negative": says("size", "-1", "-20"),
    "cap.uri.format": says("uri", *_BAD_URIS),
    "cap.uri.relative": _relative,
    "cap.derefUri.base64": says("derefUri", "a", "!!!!", "YQ", "é", "YQ==="),
    "cap.digest.format": says("digest", "aa", "z" * 40, "a" * 64),
    "cap.digest.mismatch": says("digest", "a" * 40, "0" * 40),
    "cap.area.unlocated": _unlocated,
    "cap.polygon.empty": says("polygon", "", " ", "\n"),
    "cap.polygon.syntax": becomes(
        "polygon",
        lambda text, data: data.draw(
            st.sampled_from(
                [
                    text.replace(",", ", "),
                    text.replace(" ", ";"),
                    text + "...",
                    text + " 8.7),-68.1",
                    text + " 1e1,2",
                ]
            )
        ),
    ),
    "cap.polygon.range": becomes(
        "polygon",
        lambda text, data: " ".join(["0,0", "0,1", data.draw(st.sampled_from(["91,181", "1,-180.005"])), "0,0"]),
    ),
    "cap.polygon.swapped": says("polygon", "106,29 107,29 107,30 106,29", "-120,38 -119,38 -119,39 -120,38"),
    "cap.polygon.points": says("polygon", "0,0", "0,0 0,0", "0,0 1,1 0,0"),
    "cap.polygon.closed": becomes("polygon", lambda text, data: text.rpartition(" ")[0]),
    "cap.polygon.crossing": says("polygon", *_CROSSING),
    "cap.polygon.flat": says("polygon", "0,0 1,1 2,2 0,0", "3,3 3,3 3,3 3,3", "0,0 0,5 0,9 0,0"),
    "cap.circle.syntax": says("circle", "1,2", "1,2,3", "1 2 3", "1,2 3km", "", "1,2 3 4", "x,y 1"),
    "cap.circle.range": says("circle", "1,181 5", "-91,200 1"),
    "cap.circle.swapped": says("circle", "106.3,29.9 5", "-120,38 1"),
    "cap.circle.radius": says("circle", "1,2 -1", "1,2 -0.5"),
    "cap.circle.zero": says("circle", "1,2 0", "1,2 0.0"),
    "cap.altitude.format": says("altitude", *_BAD_NUMBERS),
    "cap.ceiling.format": says("ceiling", *_BAD_NUMBERS),
    "cap.ceiling.altitude": lacks("altitude"),
    "cap.ceiling.order": says("ceiling", "-1", "-0.5"),
}

REASONS = {
    **dict.fromkeys(
        ("cap.size", "cap.depth", "cap.elements", "cap.polygon.limit"),
        "a limit, tried at its edge in unit test_xml_safety",
    ),
    **dict.fromkeys(
        ("cap.xml.encoding", "cap.xml.version", "cap.xml.doctype", "cap.xml.syntax"),
        "the bytes, not the tree: test_xml_safety and test_rules",
    ),
    **dict.fromkeys(("cap.root", "cap.namespace"), "there is no alert then: test_rules"),
    **dict.fromkeys(
        ("cap.json.encoding", "cap.json.syntax", "cap.json.type", "cap.json.duplicate", "cap.json.character"),
        "JSON only: test_rules",
    ),
    **dict.fromkeys(("cap.version", "cap.version.newer", "cap.version.unmapped"), "not CAP 1.2: test_older"),
    "cap.identity.conflict": "takes two messages: test_identities",
}
"""Error rules that no change of one tree can break, and where they are broken instead."""

quiet = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_no_error_rule_is_without_a_mutation_or_a_reason() -> None:
    errors = {rule.id for rule in RULES.values() if rule.strict is Grade.ERROR}
    assert errors - set(MUTATIONS) == set(REASONS)
    assert set(MUTATIONS) <= errors


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sound_alerts())
def test_the_alerts_that_are_changed_are_sound_and_round_trip(alert: model.Alert) -> None:
    data = to_xml(alert)
    reading = read(data, "xml", now=NOW)
    assert reading.errors == ()
    assert reading.schema_valid
    assert reading.alert == alert
    root = parse_json(to_json(alert)).root
    assert root is not None
    again = alert_of(root)
    assert again == alert
    assert to_xml(again) == data


@pytest.mark.parametrize("rule", MUTATIONS)
@quiet
@given(alert=sound_alerts(), data=st.data())
def test_a_change_that_breaks_a_rule_is_found_by_it(rule: str, alert: model.Alert, data: st.DataObject) -> None:
    root = etree.fromstring(to_xml(alert))
    for element in root.iter():  # indentation would be in the way of what stands between elements
        element.tail = None
    MUTATIONS[rule](root, data)
    changed = etree.tostring(root)
    reading = read(changed, "xml", now=NOW)
    found = [finding for finding in reading.findings if finding.rule == rule]
    own = rule.rpartition(".")[0].removeprefix("cap.")
    # A word that is one of this element's own is no mistake in it.
    if rule.endswith(".value") and all(
        element.text in _allowed(own) for element in root.findall(f".//{{{names.CAP_1_2}}}{own}")
    ):
        return
    assert found, (rule, changed.decode())
    assert not reading.valid
    assert all(finding.place.startswith("/alert") and finding.line for finding in found)


def _allowed(name: str) -> set[str]:
    members = (member for group in grammar.groups() for member in group.members)
    return {value for member in members if member.name == name for value in member.allowed}
