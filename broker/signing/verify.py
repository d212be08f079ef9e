"""Whether an alert's signature is good: judged on the bytes as they were received, against pinned keys only."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from lxml import etree
from signxml.algorithms import CanonicalizationMethod
from signxml.exceptions import InvalidDigest, SignXMLException
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

from broker.cap.limits import Limits
from broker.cap.tree import Node
from broker.cap.xml import parse_xml
from broker.errors import Problem
from broker.signing import form
from broker.signing.certificates import PinnedCertificate

_KEY_INFO: Final = f"./{form.DS}KeyInfo//{form.DS}X509Certificate"
_METHOD: Final = f"./{form.DS}SignedInfo/{form.DS}SignatureMethod"


class SignatureState(StrEnum):
    """What there is to say of a signature."""

    VALID = "valid"
    ABSENT = "absent"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class SignatureVerdict:
    """What was found of an alert's signature, and why.

    `problems` is empty when it is valid. `certificate` is the pinned one whose key made it. `signed_alert_bytes`
    is the alert exactly as it was digested: canonical XML in UTF-8, without the Signature. It reads as the same
    alert as the received bytes, which is checked here, so either may be acted upon.
    """

    state: SignatureState
    problems: tuple[Problem, ...] = ()
    certificate: PinnedCertificate | None = None
    signed_alert_bytes: bytes | None = field(default=None, repr=False)

    @property
    def valid(self) -> bool:
        """Whether there is a signature and it is good."""
        return self.state is SignatureState.VALID


class _Verifier(XMLVerifier):
    """The library's, with canonicalization as the standards have it."""

    def _c14n(
        self,
        nodes: etree._Element,
        algorithm: CanonicalizationMethod,
        inclusive_ns_prefixes: list[str] | None = None,
    ) -> bytes:
        """The element in canonical form.

        In a document of its own, for lxml puts empty namespaces into the inclusive form of an element that has
        ancestors, and what Java and .NET sign by default would not verify. Always without comments: a reference to
        the whole document has none, whatever the algorithm (XML Signature 1.1, 4.4.3.3), and `form` lets none into
        the signature.
        """
        alone = etree.fromstring(etree.tostring(nodes, with_tail=False))
        exclusive = algorithm.value.startswith(form.EXCLUSIVE)
        prefixes = inclusive_ns_prefixes if exclusive else None
        return etree.tostring(
            alone, method="c14n", exclusive=exclusive, with_comments=False, inclusive_ns_prefixes=prefixes
        )


def verify(
    data: bytes, certificates: Sequence[PinnedCertificate], received_ms: int, *, limits: Limits | None = None
) -> SignatureVerdict:
    """Judge the signature of the alert in `data`; never raises, whatever the bytes are.

    `certificates` are those pinned for whoever is said to have sent it; one that a message carries may choose
    among them and is trusted for nothing else. Their validity is judged at `received_ms`, the time of receipt,
    not at any time that the message names. Takes CAP 1.2, 1.1 and 1.0 (CAP 1.2, 3.3.4.1).
    """
    limits = limits or Limits()
    root, problems = form.open_alert(data, limits)
    if root is None:
        return SignatureVerdict(SignatureState.INVALID, tuple(problems))
    found = form.signature_elements(root)
    if not found:
        absent = Problem(form.ALERT, "signature.absent", "the alert has no signature")
        return SignatureVerdict(SignatureState.ABSENT, (absent,))
    problems.extend(form.form_problems(root, found))
    if problems:
        return SignatureVerdict(SignatureState.INVALID, tuple(problems))
    return _judged(data, root, found[0], certificates, received_ms, limits)


def _judged(
    data: bytes,
    root: etree._Element,
    signature: etree._Element,
    certificates: Sequence[PinnedCertificate],
    received_ms: int,
    limits: Limits,
) -> SignatureVerdict:
    """The verdict on a signature of good form: the first pinned key that made it, in a time when it might."""
    problems: list[Problem] = []
    for certificate in _candidates(signature, certificates):
        result = _computed(root, certificate)
        if isinstance(result, Problem):
            problems.append(result)
            continue
        problem = certificate.validity_problem(received_ms, form.SIGNATURE) or _misread(data, result, limits)
        if problem is None:
            return SignatureVerdict(SignatureState.VALID, (), certificate, result.signed_data)
        problems.append(problem)
    telling = [problem for problem in problems if problem.rule != "signature.value"] or problems[:1]
    if not telling:
        telling = [_no_key(signature, certificates)]
    if telling[0].rule in ("signature.value", "signature.unknown"):
        telling += _strangers(signature, certificates)
    return SignatureVerdict(SignatureState.INVALID, tuple(telling))


def _candidates(signature: etree._Element, pinned: Sequence[PinnedCertificate]) -> Iterator[PinnedCertificate]:
    """The pinned certificates that the method can be of, the one that the message names first."""
    named = set(_carried(signature))
    method = signature.find(_METHOD)
    wants_ec = method is not None and "ecdsa" in method.get("Algorithm", "")
    for certificate in sorted(pinned, key=lambda each: each.der not in named):
        key = certificate.certificate.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey if wants_ec else rsa.RSAPublicKey):
            yield certificate


def _carried(signature: etree._Element) -> Iterator[bytes]:
    """The certificates in KeyInfo as bytes; they are compared, never parsed."""
    for element in signature.iterfind(_KEY_INFO):
        try:
            yield b64decode(element.text or "")
        except ValueError:
            continue


def _computed(root: etree._Element, certificate: PinnedCertificate) -> VerifyResult | Problem:
    """Compute signature and digest with one key, whatever the certificate's times."""
    expected = SignatureConfiguration(
        location="./",
        expect_references=1,
        signature_methods=form.SIGNATURE_METHODS,
        digest_algorithms=form.DIGESTS,
        ignore_ambiguous_key_info=True,  # a KeyValue in the message is not looked at in any case
        verification_time=certificate.certificate.not_valid_before_utc,
        # What turns a document into bytes where no transform does (XML Signature 1.1, 4.4.3.2).
        default_reference_c14n_method=CanonicalizationMethod.CANONICAL_XML_1_0,
    )
    try:
        result = _Verifier().verify(
            root,
            x509_cert=certificate.certificate,
            expect_config=expected,
            # `form` has checked all that is looked at, and real alerts have an Id that the schema does not allow.
            validate_schema=False,
        )
    except InvalidDigest:
        message = "the alert was altered after it was signed: its digest is another"
        return Problem(form.REFERENCE + "/DigestValue", "signature.digest", message, certificate.fingerprint)
    except (
        SignXMLException,
        etree.LxmlError,
        UnsupportedAlgorithm,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        NotImplementedError,
    ):
        # The library lets out more kinds of errors than its own; all of them mean that it is not good.
        message = "the signature was not made by this key, or what it signs was altered"
        return Problem(form.SIGNATURE + "/SignatureValue", "signature.value", message, certificate.fingerprint)
    if isinstance(result, list):
        message = "there must be one reference, to the whole document"
        return Problem(form.SIGNED_INFO, "signature.reference", message)
    return result


def _misread(data: bytes, result: VerifyResult, limits: Limits) -> Problem | None:
    """A problem unless our reader takes the received bytes and the signed ones for the same alert.

    Wrapping attacks live on two readers that differ; this asks the one that counts.
    """
    received, signed = parse_xml(data, limits=limits), parse_xml(result.signed_data, limits=limits)
    if received.root is not None and signed.root is not None and _same(received.root, signed.root):
        return None
    return Problem(
        form.ALERT, "signature.coverage", "what was signed reads as another alert than what was received"
    )


def _same(one: Node, other: Node) -> bool:
    """Whether two trees say the same, signatures apart."""
    ours = [child for child in one.children if not child.signature]
    theirs = [child for child in other.children if not child.signature]
    return (
        (one.name, one.namespace, one.text, one.attributes)
        == (other.name, other.namespace, other.text, other.attributes)
        and len(ours) == len(theirs)
        and all(_same(mine, yours) for mine, yours in zip(ours, theirs, strict=True))
    )


def _no_key(signature: etree._Element, certificates: Sequence[PinnedCertificate]) -> Problem:
    """Why there was no pinned key to try."""
    if not certificates:
        message = "there is no certificate configured to verify the signature with"
    else:
        message = "no certificate that is configured has a key for this kind of signature"
    method = signature.find(_METHOD)
    value = None if method is None else method.get("Algorithm")
    return Problem(form.SIGNATURE, "signature.unknown", message, value)


def _strangers(signature: etree._Element, certificates: Sequence[PinnedCertificate]) -> list[Problem]:
    """Names the certificate in the message where it is none of ours: perhaps ours is overdue for replacement."""
    carried = list(_carried(signature))
    if not carried or {certificate.der for certificate in certificates}.intersection(carried):
        return []
    fingerprint = sha256(carried[0]).digest().hex(":").upper()
    message = "the message carries a certificate that is not configured; it is not trusted for being there"
    return [Problem(form.SIGNATURE + "/KeyInfo", "signature.certificate.unknown", message, fingerprint)]
