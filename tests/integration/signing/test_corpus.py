"""Signed alerts that others published; read in place, skipped where they are not at hand."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import pytest
from cryptography import x509
from lxml import etree

from broker.clock import to_ms
from broker.errors import InputRefused
from broker.signing.certificates import PinnedCertificate
from broker.signing.verify import SignatureState, SignatureVerdict, verify
from tests.support.places import ROOT
from tests.support.signing import DS, NOW, pair

CORPUS = ROOT.parent / "shared" / "corpus" / "cap"
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="the collected alerts are not here")

READ_BY_SOME = [path.name for path in sorted(CORPUS.glob("*")) if path.suffix in (".cap", ".xml", ".atom")]


def data(name: str) -> bytes:
    path = CORPUS / f"google-cap-library__{name}"
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return path.read_bytes()


def rules(verdict: SignatureVerdict) -> list[str]:
    return [problem.rule for problem in verdict.problems]


def own_certificate(body: bytes) -> PinnedCertificate:
    """The certificate that the message itself carries, as if it had been pinned."""
    text = etree.fromstring(body).findtext(f".//{{{DS}}}X509Certificate")
    assert text is not None
    return PinnedCertificate.of(x509.load_der_x509_certificate(b64decode(text)), Path("carried.crt"))


def test_two_signatures_of_the_canadian_alert_are_one_too_many() -> None:
    body = data("canada_signed.cap")
    certificate = own_certificate(body)
    verdict = verify(body, [certificate], to_ms(certificate.certificate.not_valid_before_utc))

    assert verdict.state is SignatureState.INVALID
    assert {"signature.duplicate", "signature.position", "signature.form"} == set(rules(verdict))


def test_sha_1_of_the_canadian_alerts_second_signature_is_refused() -> None:
    root = etree.fromstring(data("canada_signed.cap"))
    first = root.find(f"{{{DS}}}Signature")
    assert first is not None
    root.remove(first)
    verdict = verify(etree.tostring(root), [own_certificate(data("canada_signed.cap"))], NOW)

    assert rules(verdict) == ["signature.algorithm", "signature.digest.algorithm"]


def test_sha_1_of_the_earthquake_alert_is_refused() -> None:
    verdict = verify(data("earthquake_signed.cap"), [pair("rsa").pinned], NOW)

    assert rules(verdict) == ["signature.algorithm", "signature.digest.algorithm"]


def test_a_signed_alert_in_a_feed_must_be_taken_out_first() -> None:
    assert rules(verify(data("canada_signed.atom"), [pair().pinned], NOW)) == ["signature.root"]


@pytest.mark.parametrize("name", READ_BY_SOME)
def test_every_collected_file_gets_a_verdict_and_no_foreign_signature_is_good(name: str) -> None:
    body = (CORPUS / name).read_bytes()
    verdict = verify(body, [pair().pinned, pair("rsa").pinned], NOW)

    assert not verdict.valid
    assert verdict.problems
    if verdict.state is SignatureState.ABSENT:
        assert DS.encode() not in body


def test_collected_alerts_that_can_be_signed_verify_afterwards() -> None:
    number = 0
    for name in READ_BY_SOME:
        body = (CORPUS / name).read_bytes()
        try:
            signed = pair().signer.sign(body)
        except InputRefused:
            continue
        number += 1
        assert verify(signed, [pair().pinned], NOW).valid, name
        assert not verify(signed.replace(b"sent>2", b"sent>3", 1), [pair().pinned], NOW).valid, name
    assert number >= 20
