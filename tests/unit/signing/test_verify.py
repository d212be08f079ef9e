"""What makes a signature good, and what makes it none."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod

from broker.cap.document import read
from broker.cap.xml import parse_xml
from broker.clock import from_ms
from broker.signing.verify import SignatureState, SignatureVerdict, verify
from tests.support.signing import ALERT, NOW, days, library_signed, pair, signed

PINNED = [pair().pinned]
SIGNED = signed()


def judge(data: bytes, *names: str, at: int = NOW) -> SignatureVerdict:
    return verify(data, [pair(name).pinned for name in names or ("department",)], at)


def rules(verdict: SignatureVerdict) -> list[str]:
    return [problem.rule for problem in verdict.problems]


@pytest.mark.parametrize("by", ["department", "p384", "rsa"])
def test_a_signature_by_a_pinned_key_is_good(by: str) -> None:
    verdict = judge(signed(by=by), by)

    assert verdict.state is SignatureState.VALID
    assert verdict.problems == ()
    assert verdict.certificate == pair(by).pinned


def test_what_was_signed_is_given_back_and_reads_as_the_same_alert() -> None:
    verdict = judge(SIGNED)

    assert verdict.signed_alert_bytes is not None
    assert b"Signature" not in verdict.signed_alert_bytes
    received = read(SIGNED, "xml", now=from_ms(NOW))
    acted_upon = read(verdict.signed_alert_bytes, "xml", now=from_ms(NOW))
    assert received.valid
    assert received.alert == acted_upon.alert


def test_an_alert_without_a_signature_has_none() -> None:
    verdict = judge(ALERT)

    assert verdict.state is SignatureState.ABSENT
    assert rules(verdict) == ["signature.absent"]


@pytest.mark.parametrize("c14n", list(CanonicalizationMethod))
def test_every_canonicalization_of_xml_1_0_is_taken(c14n: CanonicalizationMethod) -> None:
    assert judge(library_signed(ALERT, pair(), c14n=c14n)).valid


def test_a_signature_that_leaves_canonicalization_to_the_standard_is_taken() -> None:
    c14n = CanonicalizationMethod.CANONICAL_XML_1_0
    assert judge(library_signed(ALERT, pair(), c14n=c14n, exclude_c14n_transform_element=True)).valid


@pytest.mark.parametrize(
    ("method", "by"),
    [
        (SignatureMethod.ECDSA_SHA256, "department"),
        (SignatureMethod.ECDSA_SHA512, "p384"),
        (SignatureMethod.RSA_SHA512, "rsa"),
        (SignatureMethod.SHA256_RSA_MGF1, "rsa"),
    ],
)
def test_strong_methods_are_taken(method: SignatureMethod, by: str) -> None:
    assert judge(library_signed(ALERT, pair(by), method, DigestAlgorithm.SHA512), by).valid


@pytest.mark.parametrize(
    ("method", "by"),
    [
        (SignatureMethod.ECDSA_SHA1, "department"),
        (SignatureMethod.RSA_SHA1, "rsa"),
        (SignatureMethod.RSA_SHA224, "rsa"),
        (SignatureMethod.ECDSA_SHA224, "department"),
        (SignatureMethod.SHA1_RSA_MGF1, "rsa"),
    ],
)
def test_weak_methods_are_refused_although_they_verify(method: SignatureMethod, by: str) -> None:
    assert rules(judge(library_signed(ALERT, pair(by), method), by)) == ["signature.algorithm"]


@pytest.mark.parametrize("digest", [DigestAlgorithm.SHA1, DigestAlgorithm.SHA224])
def test_weak_digests_are_refused_although_they_verify(digest: DigestAlgorithm) -> None:
    assert rules(judge(library_signed(ALERT, pair(), digest=digest))) == ["signature.digest.algorithm"]


def test_a_public_key_used_as_a_shared_secret_signs_nothing() -> None:
    secret = pair("rsa").certificate_pem.encode()
    forged = library_signed(ALERT, pair("rsa"), SignatureMethod.HMAC_SHA256, key=secret)

    assert rules(judge(forged, "rsa")) == ["signature.algorithm"]


def test_a_strangers_signature_is_refused_and_his_certificate_named() -> None:
    verdict = judge(signed(by="stranger"))

    assert rules(verdict) == ["signature.value", "signature.certificate.unknown"]
    assert verdict.problems[1].value == pair("stranger").pinned.fingerprint


def test_a_certificate_in_the_message_does_not_make_up_for_another_key() -> None:
    """The stranger's signature carries the department's certificate."""
    forged = library_signed(ALERT, pair("stranger"), cert=[pair().pinned.certificate])

    assert rules(judge(forged)) == ["signature.value"]


def test_a_signature_needs_no_key_info() -> None:
    root = etree.fromstring(SIGNED)
    root[-1].remove(root[-1][-1])

    assert judge(etree.tostring(root)).valid


def test_with_no_certificate_configured_nothing_can_be_said() -> None:
    assert rules(verify(SIGNED, [], NOW))[0] == "signature.unknown"


def test_a_key_of_another_kind_is_no_key() -> None:
    assert rules(judge(SIGNED, "rsa"))[0] == "signature.unknown"


def test_the_right_one_among_several_pinned_is_found() -> None:
    verdict = judge(signed(by="p384"), "department", "stranger", "rsa", "p384")

    assert verdict.certificate == pair("p384").pinned


def test_before_its_beginning_a_certificate_signs_nothing() -> None:
    late = pair().until(NOW + days(1), NOW + days(9))

    assert rules(verify(SIGNED, [late.pinned], NOW)) == ["signature.certificate.not_yet"]


def test_after_its_end_a_certificate_signs_nothing() -> None:
    ended = pair().until(NOW - days(9), NOW - days(1))
    verdict = verify(SIGNED, [ended.pinned], NOW)

    assert rules(verdict) == ["signature.certificate.expired"]
    assert verdict.problems[0].value == ended.pinned.fingerprint


def test_the_first_and_the_last_second_of_a_certificate_count() -> None:
    exact = pair().until(NOW, NOW + days(1))

    assert verify(SIGNED, [exact.pinned], NOW).valid
    assert verify(SIGNED, [exact.pinned], NOW + days(1)).valid
    assert not verify(SIGNED, [exact.pinned], NOW - 1).valid
    assert not verify(SIGNED, [exact.pinned], NOW + days(1) + 1).valid


def test_old_and_new_certificates_overlap() -> None:
    old = pair("old").until(NOW - days(300), NOW + days(10))
    new = pair("new").until(NOW - days(10), NOW + days(300))
    both = [old.pinned, new.pinned]

    assert verify(signed(by="old"), both, NOW).certificate == old.pinned
    assert verify(signed(by="new"), both, NOW).certificate == new.pinned
    assert rules(verify(signed(by="old"), both, NOW + days(20))) == ["signature.certificate.expired"]
    assert verify(signed(by="new"), both, NOW + days(20)).valid


def test_a_certificate_renewed_for_the_same_key_takes_over() -> None:
    ended, renewed = pair().until(NOW - days(300), NOW - days(1)), pair().until(NOW - days(5), NOW + days(300))

    assert verify(SIGNED, [ended.pinned, renewed.pinned], NOW).certificate == renewed.pinned


def test_a_changed_word_is_told_from_a_wrong_key() -> None:
    assert rules(judge(SIGNED.replace("橙色".encode(), "蓝色".encode()))) == ["signature.digest"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"<",
        b"<alert/>",
        b"{}",
        b"\xff\xfe<",
        b"<a>" * 5000,
        SIGNED[:-20],
        b"<?xml version='1.1'?><alert/>",
    ],
)
def test_bytes_that_are_no_alert_are_no_reason_to_fall_over(data: bytes) -> None:
    assert not judge(data).valid


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    assert not judge(data).valid


def seen(data: bytes) -> str:
    """What our reader sees in the bytes, signatures apart."""
    alert = read(data, "xml", now=from_ms(NOW)).alert
    return repr(alert)


@settings(max_examples=600, deadline=None)
@given(st.integers(0, len(SIGNED) - 1), st.integers(0, 255))
@example(SIGNED.index(b"Severe"), ord("s"))
@example(SIGNED.index(b"</alert>") - 3, ord("x"))
def test_a_changed_byte_is_found_or_changes_nothing_that_was_signed(position: int, byte: int) -> None:
    altered = SIGNED[:position] + bytes([byte]) + SIGNED[position + 1 :]
    verdict = judge(altered)

    if verdict.valid:
        assert verdict.signed_alert_bytes == judge(SIGNED).signed_alert_bytes
        assert seen(altered) == seen(SIGNED)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_character_of_any_value_is_always_found(data: st.DataObject) -> None:
    root = etree.fromstring(SIGNED)
    values = [each for each in root.iter(f"{{{root.nsmap[None]}}}*") if len(each) == 0]
    value = data.draw(st.sampled_from(values), label="element")
    text = value.text or ""
    position = data.draw(st.integers(0, len(text) - 1), label="position")
    other = data.draw(
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")
    )
    value.text = text[:position] + other + text[position + 1 :]
    altered = etree.tostring(root, encoding="UTF-8")

    verdict = judge(altered)

    assert verdict.valid == (value.text == text)
    if not verdict.valid:
        assert rules(verdict) == ["signature.digest"]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(SIGNED)), st.sampled_from([b"<!-- x -->", b"<?x y?>", b" ", b"&#32;", b"<a/>", b"\n"]))
def test_something_put_in_is_found_or_changes_nothing_that_was_signed(position: int, extra: bytes) -> None:
    altered = SIGNED[:position] + extra + SIGNED[position:]
    verdict = judge(altered)

    if verdict.valid:
        assert seen(altered) == seen(SIGNED)


@pytest.mark.parametrize("encoding", ["GB18030", "GBK", "GB2312", "ISO-8859-1", "UTF-16"])
def test_a_signature_is_verified_whatever_the_encoding(encoding: str) -> None:
    text = SIGNED.decode().replace('encoding="UTF-8"', f'encoding="{encoding}"')
    codec = {"GB2312": "gb18030", "GBK": "gb18030"}.get(encoding, encoding)
    data, altered = (each.encode(codec, "xmlcharrefreplace") for each in (text, text.replace("橙", "蓝")))

    assert parse_xml(data).root is not None
    assert judge(data).valid
    assert rules(judge(altered)) == ["signature.digest"]
