"""Alerts are taken out of Atom, RSS, EDXL-DE and lists: byte for byte where they can stand alone."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from xml.sax.saxutils import escape

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from broker.cap import Limits, Posture, read, to_xml
from broker.cap.model import Alert
from broker.cap.wrapping import RULES, Link, Unwrapped, unwrap
from tests.unit.cap.samples import ALERT, NOW
from tests.unit.cap.strategies import alerts

OWN = ALERT.partition("?>")[2].strip()
CAP_TYPE = "application/cap+xml"


def atom(*entries: str, head: str = "", before: str = "") -> str:
    """A sound feed around entries."""
    sound = (
        "<id>urn:feed</id><title>Warnings</title><updated>2026-06-18T02:00:00Z</updated>"
        "<author><name>Office</name></author>"
    )
    return f'{before}<feed xmlns="http://www.w3.org/2005/Atom">{head or sound}{"".join(entries)}</feed>'


def entry(inside: str, *, number: int = 1) -> str:
    """A sound entry around its content or links."""
    sound = f"<id>urn:entry:{number}</id><title>Rain</title><updated>2026-06-18T01:30:00+08:00</updated>"
    return f"<entry>{sound}{inside}</entry>"


def inline(alert: str = OWN) -> str:
    """The content of an entry that carries an alert."""
    return f'<content type="{CAP_TYPE}">\n{alert}\n</content>'


def rss(
    *items: str, head: str = "<title>W</title><link>https://a.example/</link><description>d</description>"
) -> str:
    """A sound channel around items."""
    return f'<rss version="2.0"><channel>{head}{"".join(items)}</channel></rss>'


def edxl(*contents: str, status: str = "Actual", version: str = "1.0", drop: str = "") -> str:
    """A sound distribution around content objects."""
    if version == "1.0":
        parts = {
            "distributionID": "d-1",
            "senderID": "office@example.org",
            "dateTimeSent": "2026-06-18T09:30:00+08:00",
            "distributionStatus": status,
            "distributionType": "Report",
            "combinedConfidentiality": "UNCLASSIFIED",
        }
        root, around = "EDXLDistribution", "{}"
    else:
        parts = {
            "distributionID": "d-1",
            "senderID": "office@example.org",
            "dateTimeSent": "2026-06-18T09:30:00+08:00",
            "dateTimeExpires": "2026-06-18T15:30:00+08:00",
            "distributionStatus": f"<StatusKindDefault>{status}</StatusKindDefault>",
            "distributionKind": "<DistributionKindDefault>Report</DistributionKindDefault>",
        }
        root, around = "edxlDistribution", "<content>{}</content>"
    head = "".join(f"<{name}>{value}</{name}>" for name, value in parts.items() if name != drop)
    body = around.format("".join(contents))
    return f'<{root} xmlns="urn:oasis:names:tc:emergency:EDXL:DE:{version}">{head}{body}</{root}>'


def embedded(alert: str = OWN, version: str = "1.0") -> str:
    """A content object with an alert in it."""
    outer = "xmlContent" if version == "1.0" else "contentXML"
    inside = f"<{outer}><embeddedXMLContent>{alert}</embeddedXMLContent></{outer}>"
    return f"<contentObject>{inside}</contentObject>"


def rules(unwrapped: Unwrapped) -> list[tuple[str, str]]:
    """Every finding's rule and place."""
    return [(finding.rule, finding.place) for finding in unwrapped.findings]


WRAPPINGS = {
    "atom": lambda alert: atom(entry(inline(alert))),
    "atom entry": lambda alert: entry(inline(alert) + "<author><name>a</name></author>").replace(
        "<entry>", '<entry xmlns="http://www.w3.org/2005/Atom">', 1
    ),
    "rss": lambda alert: rss(f"<item><title>t</title><guid>1</guid>{alert}</item>"),
    "edxl 1.0": lambda alert: edxl(embedded(alert)),
    "edxl 2.0": lambda alert: edxl(embedded(alert, "2.0"), version="2.0"),
    "list": lambda alert: f'<a:alerts xmlns:a="http://gov.example/service">{alert}</a:alerts>',
}


@pytest.mark.parametrize("form", WRAPPINGS)
def test_an_alert_is_cut_out_byte_for_byte(form: str) -> None:
    found = unwrap(WRAPPINGS[form](OWN).encode())
    (item,) = found.items
    assert item.data == OWN.encode()
    assert item.exact
    assert {rule for rule, _ in rules(found)} == ({"wrap.list"} if form == "list" else set())
    assert found.form == {"atom entry": "atom", "edxl 1.0": "edxl-de", "edxl 2.0": "edxl-de"}.get(form, form)
    assert read(item.data, "xml", now=NOW) == read(OWN.encode(), "xml", now=NOW)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(alerts, min_size=1, max_size=3), st.sampled_from(sorted(set(WRAPPINGS) - {"atom entry"})))
def test_whatever_alerts_are_wrapped_come_out_as_they_went_in(several: list[Alert], form: str) -> None:
    texts = [to_xml(alert).partition(b"\n")[2].strip() for alert in several]
    if form == "atom":
        wrapped = atom(*(entry(inline(text.decode()), number=n) for n, text in enumerate(texts)))
    else:
        wrapped = WRAPPINGS[form]("".join(text.decode() for text in texts))
    found = unwrap(wrapped.encode())
    assert [item.data for item in found.items] == texts
    assert all(item.exact for item in found.items)


TRICKY = """<!-- <alert> --><?pi <alert> ?><title><![CDATA[<alert>]]></title><link href='a>b"'/>"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_comments_instructions_cdata_and_odd_attributes_do_not_lead_the_knife_astray(newline: str) -> None:
    own = OWN.replace("\n", newline).replace("forecast desk", "<![CDATA[</alert> ]]><!-- </alert> -->x&#13;'\"")
    text = f'<?xml version="1.0"?>{newline}<!-- <a> --><box x="/alert>">{TRICKY}<i>{own}</i>{own}</box>'
    found = unwrap(text.encode())
    assert [item.data for item in found.alerts] == [own.encode(), own.encode()]
    assert [item.place for item in found.alerts] == ["/box/i/alert", "/box/alert"]


def test_the_line_of_an_alert_is_that_of_its_first_line() -> None:
    text = atom("\n\n", entry(inline()), before='<?xml version="1.0"?>\n<!--\n-->')
    (item,) = unwrap(text.encode()).items
    assert text.splitlines()[item.line - 1].startswith("<alert")


def test_a_namespace_of_the_wrapping_is_written_into_the_alert_and_that_is_said() -> None:
    body = OWN.replace(' xmlns="urn:oasis:names:tc:emergency:cap:1.2"', "")
    found = unwrap(
        f'<alerts xmlns="urn:oasis:names:tc:emergency:cap:1.2" xmlns:un="urn:x">{body}</alerts>'.encode()
    )
    (item,) = found.items
    assert item.data == OWN.encode()
    assert not item.exact
    assert rules(found) == [("wrap.list", "/alerts"), ("wrap.rewritten", "/alerts/alert")]


def test_a_prefix_of_the_wrapping_is_written_into_the_alert() -> None:
    body = OWN.replace(' xmlns="urn:oasis:names:tc:emergency:cap:1.2"', "").replace("</", "</cap:")
    body = "".join(f"<cap:{part}" if part[:1].isalpha() else f"<{part}" for part in body.split("<")[1:])
    wrapped = edxl(embedded(body)).replace("<EDXL", '<EDXL xmlns:cap="urn:oasis:names:tc:emergency:cap:1.2" ', 1)
    (item,) = unwrap(wrapped.replace("<EDXL ", "<EDXLDistribution ").replace(" Distribution", "", 1).encode()).items
    assert item.data is not None
    assert not item.exact
    assert read(item.data, "xml", now=NOW).alert == read(OWN.encode(), "xml", now=NOW).alert


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030"])
def test_an_alert_of_another_encoding_is_written_in_utf_8_and_that_is_said(encoding: str) -> None:
    text = atom(entry(inline()), before=f'<?xml version="1.0" encoding="{encoding}"?>')
    found = unwrap(text.encode(encoding))
    (item,) = found.items
    assert (item.data, item.exact) == (OWN.encode(), False)
    assert [rule for rule, _ in rules(found)] == ["wrap.rewritten"]


def test_a_signature_verifies_after_unpacking_as_it_did_before() -> None:
    from signxml import XMLSigner, XMLVerifier, methods
    from signxml.verifier import SignatureConfiguration

    key = ec.generate_private_key(ec.SECP256R1())
    signed = XMLSigner(method=methods.enveloped, signature_algorithm="ecdsa-sha256").sign(
        etree.fromstring(OWN.encode()), key=key, cert=[_certificate(key)]
    )
    own = etree.tostring(signed).decode()
    for wrap in WRAPPINGS.values():
        wrapped = wrap(own).replace(">", ' xmlns:georss="http://www.georss.org/georss">', 1)
        (item,) = unwrap(wrapped.encode()).items
        assert item.exact
        XMLVerifier().verify(
            item.data, x509_cert=_certificate(key), expect_config=SignatureConfiguration(location=".//")
        )


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography.hazmat.primitives import hashes

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "office")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7)
    builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(2090, 1, 1, tzinfo=UTC)
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256())


# rule → (a wrapping that breaks it, where the finding points)
BROKEN: dict[str, tuple[str, str]] = {
    "wrap.stray": (atom(entry(inline()), OWN), "/feed/alert"),
    "wrap.list": (f"<x>{OWN}</x>", "/x"),
    "wrap.rewritten": (
        OWN.replace("<alert xmlns", "<alerts xmlns").replace('">', '"><alert>', 1) + "</alerts>",
        "/alerts/alert",
    ),
    "wrap.escaped": (atom(entry(f'<content type="text/xml">{escape(ALERT)}</content>')), "/feed/entry[1]/content"),
    "wrap.content": (
        edxl(
            f"<contentObject><nonXMLContent><mimeType>{CAP_TYPE}</mimeType><contentData>?</contentData>"
            "</nonXMLContent></contentObject>"
        ),
        "/EDXLDistribution/contentObject[1]/nonXMLContent/contentData",
    ),
    "wrap.nothing": (atom(entry("<content/>")), "/feed/entry[1]"),
    "wrap.empty": (atom(), "/feed"),
    "wrap.link.address": (atom(entry('<link href="a.xml"/>')), "/feed/entry[1]/link[1]"),
    "wrap.repeated": (atom(entry(inline()), entry('<link href="http://a/"/>')), "/feed/entry[2]"),
    "wrap.atom.id": (atom(entry(inline()).replace("urn:entry:1", " ")), "/feed/entry[1]/id"),
    "wrap.atom.title": (atom(entry(inline()).replace("<title>Rain</title>", "")), "/feed/entry[1]"),
    "wrap.atom.updated": (
        atom(entry(inline()).replace("+08:00</updated>", "</updated>")),
        "/feed/entry[1]/updated",
    ),
    "wrap.atom.author": (
        atom(entry(inline()), head="<id>u</id><title>t</title><updated>2026-06-18T02:00:00Z</updated>"),
        "/feed/entry[1]",
    ),
    "wrap.atom.element": (atom(entry(inline() + "<foo/>")), "/feed/entry[1]/foo"),
    "wrap.rss.channel": (
        rss(f"<item><guid>1</guid><title>t</title>{OWN}</item>", head="<title>t</title>"),
        "/rss/channel",
    ),
    "wrap.rss.item": (rss(f"<item><guid>1</guid>{OWN}</item>"), "/rss/channel/item[1]"),
    "wrap.rss.date": (
        rss(f"<item><guid>1</guid><title>t</title><pubDate>yesterday</pubDate>{OWN}</item>"),
        "/rss/channel/item[1]/pubDate",
    ),
    "wrap.rss.guid": (rss(f"<item><title>t</title>{OWN}</item>"), "/rss/channel/item[1]"),
    "wrap.edxl.required": (edxl(embedded(), drop="senderID"), "/EDXLDistribution"),
    "wrap.edxl.time": (
        edxl(embedded()).replace("09:30:00+08:00<", "01:30:00Z<", 1),
        "/EDXLDistribution/dateTimeSent",
    ),
    "wrap.edxl.status": (
        edxl(embedded(), status="Exercise"),
        "/EDXLDistribution/contentObject[1]/xmlContent/embeddedXMLContent/alert",
    ),
}


def test_every_rule_of_wrappings_has_one_that_breaks_it() -> None:
    assert set(BROKEN) == set(RULES)


@pytest.mark.parametrize("posture", Posture)
@pytest.mark.parametrize("rule", BROKEN)
def test_breaking_a_rule_is_found_in_its_place_and_the_alert_is_unpacked_all_the_same(
    rule: str, posture: Posture
) -> None:
    text, place = BROKEN[rule]
    found = unwrap(text.encode(), posture=posture)
    assert (rule, place) in rules(found)
    assert {f.severity for f in found.findings if f.rule == rule} == {RULES[rule].grade(posture)}
    if "cap:1.2" in text:
        assert found.alerts
        for item in found.alerts:
            assert read(item.data or b"", "xml", now=NOW).alert == read(ALERT.encode(), "xml", now=NOW).alert


def test_a_sound_wrapping_breaks_only_the_rule_it_was_made_to_break() -> None:
    alone = {"wrap.rewritten": {"wrap.list"}, "wrap.rss.channel": set()}
    for rule, (text, _) in BROKEN.items():
        others = {found for found, _ in rules(unwrap(text.encode()))} - {rule}
        assert others == alone.get(rule, set()), rule


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize(("outer", "own"), [("Exercise", "Actual"), ("Test", "Actual"), ("Actual", "Exercise")])
def test_a_drill_in_an_envelope_that_says_it_is_real_is_an_error(version: str, outer: str, own: str) -> None:
    alert = OWN.replace(">Actual<", f">{own}<")
    found = unwrap(edxl(embedded(alert, version), status=outer, version=version).encode())
    assert [(f.rule, f.severity.value) for f in found.findings] == [("wrap.edxl.status", "error")]


def test_edxl_carries_alerts_encoded_and_linked() -> None:
    carried = base64.b64encode(ALERT.encode()).decode()
    for version, name in (("1.0", "nonXMLContent"), ("2.0", "otherContent")):
        for inside in (f"<contentData>\n{carried}\n</contentData>", "<uri>https://a.example/1</uri>"):
            content = f"<contentObject><{name}><mimeType>{CAP_TYPE}</mimeType>{inside}</{name}></contentObject>"
            (item,) = unwrap(edxl(content, version=version).encode()).items
            if "uri" in inside:
                assert item.link == Link("https://a.example/1", media_type=CAP_TYPE)
                assert item.data is None
            else:
                assert (item.data, item.exact) == (ALERT.encode(), True)


def test_the_drafts_of_edxl_2_that_wrote_capitals_are_read_too() -> None:
    text = edxl(embedded(version="2.0"), version="2.0")
    for name in ("content", "contentObject", "contentXML", "embeddedXMLContent", "distributionID", "senderID"):
        text = text.replace(f"<{name}>", f"<{name[0].upper()}{name[1:]}>").replace(
            f"</{name}>", f"</{name[0].upper()}{name[1:]}>"
        )
    found = unwrap(text.encode())
    assert [item.data for item in found.items] == [OWN.encode()]
    assert rules(found) == []


ENTRY_LINKS = [
    ('<link href="https://a/1"/>', "https://a/1", None),
    (
        '<link href="https://a/page" type="text/html"/><link rel="related" type="application/cap+xml" href="/1"/>',
        "/1",
        1,
    ),
    (
        '<link href="https://a/1"/><link href="https://a/2" type="application/cap+xml; charset=utf-8"/>',
        "https://a/2",
        1,
    ),
    ('<link rel="self" href="https://a/self"/><link href="https://a/1" type="application/xml"/>', "https://a/1", 0),
    ('<content type="application/cap+xml" src="https://a/3"/>', "https://a/3", 1),
]


@pytest.mark.parametrize(("links", "href", "stated"), ENTRY_LINKS)
def test_the_link_that_leads_to_the_alert_is_chosen_and_carries_what_the_entry_says(
    links: str, href: str, stated: int | None
) -> None:
    found = unwrap(atom(entry(links)).encode(), base="https://a/feed/index.atom")
    (link,) = found.links
    assert link.href == (href if href.startswith("https") else f"https://a{href}")
    assert (link.title, link.updated, link.id) == ("Rain", "2026-06-18T01:30:00+08:00", "urn:entry:1")
    assert link.media_type == {None: None, 0: "application/xml", 1: CAP_TYPE}[stated]
    assert found.findings == ()


def test_a_page_to_read_is_no_link_to_an_alert() -> None:
    found = unwrap(atom(entry('<link href="https://a/page" type="text/html"/>')).encode())
    assert found.items == ()
    assert rules(found) == [("wrap.nothing", "/feed/entry[1]")]


def test_links_are_resolved_against_the_bases_of_the_feed() -> None:
    text = atom(entry('<link href="1.xml"/>')).replace("<entry>", '<entry xml:base="may/">')
    text = text.replace("<feed ", '<feed xml:base="https://b.example/x/" ', 1)
    assert unwrap(text.encode()).links[0].href == "https://b.example/x/may/1.xml"
    relative = text.replace("https://b.example", "")
    assert unwrap(relative.encode(), base="http://c.example/feed").links[0].href == "http://c.example/x/may/1.xml"
    assert rules(unwrap(relative.encode())) == [("wrap.link.address", "/feed/entry[1]/link[1]")]


@pytest.mark.parametrize("href", ["file:///etc/passwd", "javascript:alert(1)", "ftp://a/b", "http://[x", "//", " "])
def test_an_address_that_is_not_http_is_reported_and_never_raises(href: str) -> None:
    found = unwrap(atom(entry(f'<link href="{href}"/>')).encode())
    assert {rule for rule, _ in rules(found)} <= {"wrap.link.address", "wrap.nothing"}
    assert rules(found)


RSS_LINKS = [
    ("<link>https://a/1</link>", "https://a/1"),
    (
        '<link>https://a/page</link><enclosure url="https://a/2" type="application/cap+xml" length="1"/>',
        "https://a/2",
    ),
    ("<guid>https://a/3</guid>", "https://a/3"),
]


@pytest.mark.parametrize(("links", "href"), RSS_LINKS)
def test_the_link_of_an_rss_item_is_its_enclosure_link_or_guid(links: str, href: str) -> None:
    item = f"<item><title>t</title><pubDate>Thu, 18 Jun 2026 01:30:00 +0000</pubDate>{links}</item>"
    (link,) = unwrap(rss(item).encode()).links
    assert (link.href, link.title, link.updated) == (href, "t", "Thu, 18 Jun 2026 01:30:00 +0000")


def test_a_guid_that_is_no_address_is_not_taken_for_one() -> None:
    found = unwrap(rss('<item><title>t</title><guid isPermaLink="false">https://a/3</guid></item>').encode())
    assert found.items == ()
    assert rules(found) == [("wrap.nothing", "/rss/channel/item[1]")]


def test_an_alert_in_the_description_of_an_rss_item_is_unpacked() -> None:
    found = unwrap(
        rss(f"<item><guid>1</guid><title>t</title><description><![CDATA[{ALERT}]]></description></item>").encode()
    )
    (item,) = found.items
    assert item.data == OWN.encode()
    assert [rule for rule, _ in rules(found)] == ["wrap.escaped"]


def test_rss_1_0_keeps_its_items_beside_the_channel() -> None:
    text = (
        '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">'
        "<channel><title>t</title><link>http://a/</link><description>d</description></channel>"
        "<item><title>t</title><link>http://a/1.cap</link></item></r:RDF>"
    )
    found = unwrap(text.encode())
    assert [link.href for link in found.links] == ["http://a/1.cap"]
    assert found.findings == ()


@pytest.mark.parametrize(
    "data", [b"", b"<", b"\xff\xfe", OWN.encode(), ALERT.encode(), b"<feed>", b"<html/>", b"\0\0"]
)
def test_what_is_no_wrapping_comes_back_whole_for_others_to_judge(data: bytes) -> None:
    found = unwrap(data)
    assert found.form == "alert"
    assert [(item.data, item.exact) for item in found.items] == [(data, True)]


def test_json_comes_back_whole() -> None:
    assert unwrap(b' {"identifier": "1"}').form == "json"


def test_a_feed_with_a_document_type_or_over_a_limit_is_not_taken_apart() -> None:
    feed = atom(entry(inline()))
    elements = feed.count("</")
    for data, limits in (
        (f'<!DOCTYPE feed [<!ENTITY x SYSTEM "file:///etc/passwd">]>{feed}', Limits()),
        (feed, Limits(max_bytes=len(feed.encode()) - 1)),
        (feed, Limits(max_elements=elements - 1)),
        (feed, Limits(max_depth=4)),
    ):
        assert unwrap(data.encode(), limits=limits).form == "alert"
    assert unwrap(feed.encode(), limits=Limits(max_bytes=len(feed.encode()), max_elements=elements)).form == "atom"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([text for text, _ in BROKEN.values()]), st.data())
def test_a_damaged_wrapping_never_raises(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    start = data.draw(st.integers(0, len(raw)))
    width = data.draw(st.integers(0, 60))
    patch = data.draw(st.binary(max_size=6) | st.sampled_from([b"<", b"</entry>", b"<entry>", b"<alert>", b"]]>"]))
    found = unwrap(raw[:start] + patch + raw[start + width :])
    for item in found.alerts:
        read(item.data or b"", "xml", now=NOW)
