"""A catalogue of attacks on XML signatures, each refused by its own rule.

Where an attack is one on the form, the signature is computed anew over it with the department's own key, so that
nothing but the rule on the form can refuse it.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable

import pytest
from lxml import etree

from broker.cap.document import read
from broker.clock import from_ms
from broker.signing.verify import SignatureState, SignatureVerdict, verify
from tests.support.signing import ALERT, CAP, DS, NOW, pair, resigned, signed

SIGNED = signed()
Element = etree._Element


def judge(data: bytes) -> SignatureVerdict:
    return verify(data, [pair().pinned], NOW)


def rules(data: bytes) -> list[str]:
    verdict = judge(data)
    assert verdict.state is SignatureState.INVALID
    assert verdict.signed_alert_bytes is None
    return [problem.rule for problem in verdict.problems]


def edited(change: Callable[[Element], None], data: bytes = SIGNED) -> bytes:
    root = etree.fromstring(data)
    change(root)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def ds(parent: Element, path: str) -> Element:
    found = parent.find("/".join(f"{{{DS}}}{step}" for step in path.split("/")))
    assert found is not None
    return found


def forged_alert() -> Element:
    return etree.fromstring(ALERT.replace("合川区".encode(), "重庆市".encode()))


def test_the_means_of_these_tests_make_good_signatures() -> None:
    """Else every attack below would be refused for the wrong reason."""
    assert judge(resigned(SIGNED, pair())).valid


def test_the_signed_alert_wrapped_into_another() -> None:
    def wrap(root: Element) -> None:
        original = copy.deepcopy(root)
        for child in list(root)[:-1]:
            root.remove(child)
        for number, child in enumerate(forged_alert()):
            root.insert(number, child)
        root.insert(len(root) - 1, original)

    found = rules(edited(wrap))
    assert "signature.nested" in found
    assert "signature.duplicate" in found


def test_an_alert_hidden_in_the_signature() -> None:
    def hide(root: Element) -> None:
        holder = etree.SubElement(root[-1], f"{{{DS}}}Object")
        holder.append(forged_alert())

    found = rules(resigned(edited(hide), pair()))
    assert found == ["signature.nested", "signature.form"]


def test_an_alert_of_another_namespace_within_the_alert() -> None:
    def nest(root: Element) -> None:
        root.insert(0, etree.fromstring("<alert xmlns='urn:oasis:names:tc:emergency:cap:1.1'/>"))

    assert rules(resigned(edited(nest), pair())) == ["signature.nested"]


def test_a_feed_around_the_signed_alert() -> None:
    feed = b"<feed xmlns='http://www.w3.org/2005/Atom'>" + SIGNED.partition(b"?>")[2] + b"</feed>"

    assert rules(feed) == ["signature.root"]


def test_a_signature_that_is_the_outermost_element() -> None:
    root = etree.fromstring(SIGNED)

    assert rules(etree.tostring(root[-1])) == ["signature.root"]


def test_a_signature_moved_to_the_front() -> None:
    def move(root: Element) -> None:
        root.insert(0, root[-1])

    assert rules(resigned(edited(move), pair())) == ["signature.position"]


def test_a_signature_moved_into_an_info() -> None:
    def move(root: Element) -> None:
        root.find(f"{{{CAP}}}info").append(root[-1])

    assert rules(resigned(edited(move), pair())) == ["signature.position"]


def test_something_after_the_signature() -> None:
    def append(root: Element) -> None:
        etree.SubElement(root, f"{{{CAP}}}incidents").text = "other"

    assert rules(resigned(edited(append), pair())) == ["signature.position"]


@pytest.mark.parametrize("first", [True, False])
def test_a_second_signature_of_a_stranger(first: bool) -> None:
    strange = etree.fromstring(signed(by="stranger"))[-1]

    def add(root: Element) -> None:
        root.insert(len(root) - first, strange)

    assert "signature.duplicate" in rules(edited(add))


def test_the_same_signature_twice() -> None:
    def double(root: Element) -> None:
        root.append(copy.deepcopy(root[-1]))

    assert "signature.duplicate" in rules(edited(double))


def test_a_stray_element_of_xml_signature_beside_an_alert_counts_as_a_signature() -> None:
    def stray(root: Element) -> None:
        etree.SubElement(root, f"{{{DS}}}Manifest")

    assert rules(edited(stray, ALERT)) == ["signature.form"]


@pytest.mark.parametrize(
    "uri", ["#a", "#xpointer(/)", "#xpointer(id('a'))", "https://warning.example/alert.xml", " ", "#"]
)
def test_a_reference_to_anything_but_the_whole_document(uri: str) -> None:
    def point(root: Element) -> None:
        root[-1].set("Id", "a")
        ds(root[-1], "SignedInfo/Reference").set("URI", uri)

    assert rules(resigned(edited(point), pair())) == ["signature.reference"]


def test_a_reference_to_nothing() -> None:
    def unset(root: Element) -> None:
        del ds(root[-1], "SignedInfo/Reference").attrib["URI"]

    assert rules(resigned(edited(unset), pair())) == ["signature.reference"]


def test_a_signature_over_one_element_by_its_id() -> None:
    """The info is signed; status, scope and everything around it are the attacker's."""

    def point(root: Element) -> None:
        root.find(f"{{{CAP}}}info").set("Id", "a")
        ds(root[-1], "SignedInfo/Reference").set("URI", "#a")

    assert rules(resigned(edited(point), pair())) == ["signature.reference"]


def test_a_second_reference_beside_the_one_to_the_document() -> None:
    def add(root: Element) -> None:
        info = ds(root[-1], "SignedInfo")
        info.append(copy.deepcopy(ds(info, "Reference")))

    assert rules(resigned(edited(add), pair())) == ["signature.reference"]


def test_no_reference_at_all() -> None:
    def remove(root: Element) -> None:
        info = ds(root[-1], "SignedInfo")
        info.remove(ds(info, "Reference"))

    assert rules(resigned(edited(remove), pair())) == ["signature.reference"]


def transform(algorithm: str, inside: str = "", at: int = 1) -> Callable[[Element], None]:
    def change(root: Element) -> None:
        made = etree.fromstring(f"<Transform xmlns='{DS}' Algorithm='{algorithm}'>{inside}</Transform>")
        transforms = ds(root[-1], "SignedInfo/Reference/Transforms")
        transforms.insert(at, made)

    return change


@pytest.mark.parametrize(
    ("algorithm", "inside"),
    [
        (
            "http://www.w3.org/TR/1999/REC-xpath-19991116",
            "<XPath>not(ancestor-or-self::*[local-name()='info'])</XPath>",
        ),
        ("http://www.w3.org/2002/06/xmldsig-filter2", "<XPath Filter='subtract'>//*</XPath>"),
        (
            "http://www.w3.org/TR/1999/REC-xslt-19991116",
            "<x:stylesheet xmlns:x='http://www.w3.org/1999/XSL/Transform' version='1.0'/>",
        ),
        ("http://www.w3.org/2000/09/xmldsig#base64", ""),
        ("http://www.w3.org/2000/09/xmldsig#enveloped-signature", ""),
        ("http://www.w3.org/2010/xml-c14n2", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_transforms_that_compute_what_is_signed(algorithm: str, inside: str, at: int) -> None:
    found = rules(resigned(edited(transform(algorithm, inside, at)), pair()))
    assert found == ["signature.transform"]


def test_no_transform_that_takes_the_signature_out() -> None:
    def leave(root: Element) -> None:
        transforms = ds(root[-1], "SignedInfo/Reference/Transforms")
        transforms.remove(transforms[0])

    assert rules(resigned(edited(leave), pair())) == ["signature.transform"]


def test_an_xpath_inside_of_a_transform_that_is_allowed() -> None:
    def put(root: Element) -> None:
        first = ds(root[-1], "SignedInfo/Reference/Transforms")[0]
        etree.SubElement(first, f"{{{DS}}}XPath").text = "self::text()"

    assert rules(resigned(edited(put), pair())) == ["signature.transform"]


def test_canonicalization_by_a_strange_algorithm() -> None:
    def change(root: Element) -> None:
        ds(root[-1], "SignedInfo/CanonicalizationMethod").set(
            "Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116"
        )

    assert rules(resigned(edited(change), pair())) == ["signature.canonicalization"]


@pytest.mark.parametrize(
    "method", ["", "none", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256", DS + "dsa-sha1"]
)
def test_no_algorithm_and_weak_algorithms(method: str) -> None:
    def change(root: Element) -> None:
        ds(root[-1], "SignedInfo/SignatureMethod").set("Algorithm", method)

    assert rules(resigned(edited(change), pair())) == ["signature.algorithm"]


def test_a_signature_cut_short_by_a_parameter() -> None:
    def change(root: Element) -> None:
        method = ds(root[-1], "SignedInfo/SignatureMethod")
        etree.SubElement(method, f"{{{DS}}}HMACOutputLength").text = "0"

    assert rules(resigned(edited(change), pair())) == ["signature.algorithm"]


def test_a_digest_split_by_a_comment() -> None:
    """Readers differ in whether the value is what stands before the comment or all of it."""

    def split(root: Element) -> None:
        value = ds(root[-1], "SignedInfo/Reference/DigestValue")
        comment = etree.Comment("AAAA")
        value.insert(0, comment)
        value.text, comment.tail = None, value.text

    assert rules(edited(split)) == ["signature.form"]


@pytest.mark.parametrize("text", ["", "!", "AAAA====AAAA", "é"])
@pytest.mark.parametrize("path", ["SignatureValue", "SignedInfo/Reference/DigestValue"])
def test_values_that_are_not_base64(path: str, text: str) -> None:
    def change(root: Element) -> None:
        ds(root[-1], path).text = text

    assert rules(edited(change)) == ["signature.form"]


@pytest.mark.parametrize("octets", [b"\0" * 64, b"\0" * 63 + b"\1", b"\xff" * 64, b"\0", b"\0" * 72])
def test_signature_values_that_no_key_makes(octets: bytes) -> None:
    """Zeros among them: an implementation that does not check their range takes them for any message."""

    def change(root: Element) -> None:
        ds(root[-1], "SignatureValue").text = base64.b64encode(octets).decode()

    assert rules(edited(change)) == ["signature.value"]


@pytest.mark.parametrize("path", ["SignedInfo", "SignatureValue"])
def test_a_part_of_the_signature_twice(path: str) -> None:
    def double(root: Element) -> None:
        root[-1].append(copy.deepcopy(ds(root[-1], path)))

    assert rules(edited(double)) == ["signature.form"]


@pytest.mark.parametrize(
    "path", ["SignedInfo", "SignatureValue", "SignedInfo/Reference/DigestValue", "SignedInfo/Reference/Transforms"]
)
def test_a_part_of_the_signature_missing(path: str) -> None:
    def remove(root: Element) -> None:
        part = ds(root[-1], path)
        part.getparent().remove(part)

    assert rules(resigned(edited(remove), pair())) == ["signature.form"]


def test_another_element_in_the_place_of_one_of_xml_signature() -> None:
    def change(root: Element) -> None:
        ds(root[-1], "SignedInfo").tag = "{urn:other}SignedInfo"

    assert rules(edited(change)) == ["signature.form"]


def test_a_declared_entity_in_a_signed_alert() -> None:
    dtd = b"<!DOCTYPE alert [<!ENTITY x SYSTEM 'file:///etc/hostname'>]>\n<alert "

    assert rules(SIGNED.replace(b"<alert ", dtd)) == ["signature.unreadable"]


def test_a_declaration_that_adds_attributes_to_a_signed_alert() -> None:
    dtd = b"<!DOCTYPE alert [<!ATTLIST alert Id ID 'a'>]>\n<alert "

    assert rules(SIGNED.replace(b"<alert ", dtd)) == ["signature.unreadable"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_style_sheet_outside_of_what_is_signed(where: str) -> None:
    style = b"<?xml-stylesheet type='text/xsl' href='https://attacker.example/other.xsl'?>"
    data = SIGNED.replace(b"<alert ", style + b"<alert ") if where == "before" else SIGNED + style

    assert rules(data) == ["signature.coverage"]


def test_a_style_sheet_within_what_is_signed_is_found_by_the_digest() -> None:
    assert rules(SIGNED.replace(b"<info>", b"<?xml-stylesheet href='x'?><info>")) == ["signature.digest"]


def test_a_comment_that_splits_a_value_changes_nothing_that_is_read() -> None:
    """It is not signed, so it may be put in by anybody: the value must be read as if it were not there."""
    split = SIGNED.replace(b"<severity>Severe</severity>", b"<severity>Sev<!-- Minor -->ere</severity>")
    verdict = judge(split)

    assert verdict.valid
    reading = read(split, "xml", now=from_ms(NOW))
    assert reading.alert is not None
    assert str(reading.alert.infos[0].severity) == "Severe"
    assert reading.alert == read(SIGNED, "xml", now=from_ms(NOW)).alert


def test_character_data_written_in_another_way_is_the_same() -> None:
    assert judge(SIGNED.replace(b"<scope>Public</scope>", b"<scope><![CDATA[Pub]]>&#108;ic</scope>")).valid


def test_an_attribute_that_a_schema_would_add_is_not_there() -> None:
    assert rules(SIGNED.replace(b"<info>", b"<info lang='x'>")) == ["signature.digest"]


def test_namespaces_by_the_thousand_are_refused_before_they_are_canonicalized() -> None:
    many = b" ".join(b'xmlns:n%d="u:%d"' % (number, number) for number in range(3000))

    assert rules(SIGNED.replace(b"<alert ", b"<alert " + many + b" ")) == ["signature.unreadable"]


def test_certificates_by_the_thousand_are_refused() -> None:
    def fill(root: Element) -> None:
        data = ds(root[-1], "KeyInfo/X509Data")
        for _ in range(1000):
            etree.SubElement(data, f"{{{DS}}}X509Certificate").text = "AAAA"

    assert rules(edited(fill)) == ["signature.form"]


def test_deep_nesting_within_the_signature_is_refused() -> None:
    def nest(root: Element) -> None:
        at = ds(root[-1], "KeyInfo")
        for _ in range(150):
            at = etree.SubElement(at, f"{{{DS}}}Object")

    assert rules(edited(nest)) == ["signature.unreadable"]


def test_key_info_may_hold_what_it_likes_and_is_not_trusted() -> None:
    """Neither a key value nor a place to fetch a key from changes which keys are tried."""
    retrieval = f"<RetrievalMethod xmlns='{DS}' URI='http://127.0.0.1:9/key'/>"
    numbers = "<RSAKeyValue><Modulus>AQ==</Modulus><Exponent>AQ==</Exponent></RSAKeyValue>"
    value = f"<KeyValue xmlns='{DS}'>{numbers}</KeyValue>"
    garbage = f"<X509Data xmlns='{DS}'><X509Certificate>not a certificate</X509Certificate></X509Data>"
    for content in (retrieval, value, garbage):

        def put(root: Element, content: str = content) -> None:
            info = ds(root[-1], "KeyInfo")
            info[:] = [etree.fromstring(content)]

        assert judge(edited(put)).valid

        def forge(root: Element, content: str = content) -> None:
            put(root, content)
            root.find(f"{{{CAP}}}status").text = "Test"

        assert rules(edited(forge))[0] == "signature.digest"


def test_every_form_of_refusal_names_its_place() -> None:
    def change(root: Element) -> None:
        ds(root[-1], "SignedInfo/SignatureMethod").set("Algorithm", "none")
        ds(root[-1], "SignedInfo/Reference").set("URI", "#x")
        ds(root[-1], "SignedInfo/Reference/DigestMethod").set("Algorithm", DS + "sha1")

    verdict = judge(edited(change))

    assert [(problem.place, problem.rule) for problem in verdict.problems] == [
        ("/alert/Signature/SignedInfo/SignatureMethod", "signature.algorithm"),
        ("/alert/Signature/SignedInfo/Reference", "signature.reference"),
        ("/alert/Signature/SignedInfo/Reference/DigestMethod", "signature.digest.algorithm"),
    ]
