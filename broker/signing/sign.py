"""Our own signature: put into an alert's bytes, nothing else in them changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree
from signxml.algorithms import (
    CanonicalizationMethod,
    DigestAlgorithm,
    SignatureConstructionMethod,
    SignatureMethod,
)
from signxml.signer import XMLSigner

from broker.cap.limits import Limits
from broker.errors import ConfigError, InputRefused, Problem
from broker.signing import form
from broker.signing.certificates import OWN, Expiry, PinnedCertificate, read_certificates
from broker.signing.settings import SigningSettings
from broker.signing.verify import verify

_CLOSING: Final = re.compile(rb"</(?:[A-Za-z_][\w.-]*:)?alert[ \t\r\n]*>[ \t\r\n]*\Z")
_OTHERS: Final = 0o007
"""Permission bits of everybody who is neither the owner nor in the group."""


class Signer:
    """Signs alerts with one key; the key is nowhere to be seen from outside."""

    def __init__(self, certificate: PinnedCertificate, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        self.certificate = certificate
        self._key = key
        self._method = _method_for(key)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Signer:
        """From PEM files of a certificate and its private key, which must not be encrypted.

        Raises ConfigError with every problem: files that cannot be read, a key that others may read, a weak key, a
        key that is not the certificate's. A certificate that has ended is none: what is signed with it is refused
        by whoever checks, and `expiry` tells in time.
        """
        problems: list[Problem] = []
        found, wrong = read_certificates(certificate)
        problems.extend(wrong)
        private = _read_key(key, problems)
        if not found or private is None or problems:
            raise ConfigError(problems)
        if private.public_key() != found[0].certificate.public_key():
            raise ConfigError([Problem(str(key), "signing.key.other", f"is not the key of {certificate}")])
        return cls(found[0], private)

    @classmethod
    def of(cls, settings: SigningSettings) -> Signer | None:
        """As the configuration says; None where it names no key. Raises ConfigError as `load` does."""
        if settings.certificate is None or settings.key is None:
            return None
        return cls.load(settings.certificate, settings.key)

    @property
    def expiry(self) -> Expiry:
        """When our certificate ends, for the gauge and the watch."""
        return Expiry.of(OWN, self.certificate)

    def sign(self, data: bytes) -> bytes:
        """The alert in `data` with an enveloped signature as its last child (CAP 1.2, 3.3.4.1).

        ECDSA with SHA-256 on P-256, by the key's kind otherwise; exclusive canonicalization; our certificate in
        KeyInfo. The signature is inserted before the closing tag, every other byte stays. Raises InputRefused for
        what is no alert in XML, is signed already, is in an encoding that ASCII is no part of, or has something
        after its end.
        """
        limits = Limits(max_bytes=max(Limits().max_bytes, len(data)))
        root, problems = form.open_alert(data, limits)
        end = _CLOSING.search(data)
        if root is not None:
            problems.extend(_unsignable(root, data, end is None))
        if root is None or end is None or problems:
            raise InputRefused(problems)
        signed = data[: end.start()] + self._signature(root) + data[end.start() :]
        # What goes out must be good: a signature that others refuse is worse than none.
        verdict = verify(signed, [self.certificate], self.certificate.not_before_ms, limits=limits)
        if not verdict.valid:
            raise InputRefused(list(verdict.problems))
        return signed

    def __repr__(self) -> str:
        """Names the certificate and never the key."""
        return f"Signer({self.certificate.subject}, {self.certificate.fingerprint})"

    def _signature(self, root: etree._Element) -> bytes:
        signer = XMLSigner(
            SignatureConstructionMethod.enveloped,
            signature_algorithm=self._method,
            digest_algorithm=DigestAlgorithm.SHA256,
            c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
        )
        signed = signer.sign(root, key=self._key, cert=[self.certificate.certificate])
        return etree.tostring(signed[-1], method="c14n", exclusive=True, with_comments=False)


def _unsignable(root: etree._Element, data: bytes, unclosed: bool) -> list[Problem]:
    problems = []
    if root.tag not in form.ROOTS:
        message = "only an alert is signed, as the outermost element"
        problems.append(Problem("/" + etree.QName(root).localname, "signature.root", message))
    if form.signature_elements(root):
        problems.append(Problem(form.ALERT, "signature.duplicate", "the alert is signed already"))
    if root.get("Id", root.get("ID")) is not None:
        problems.append(Problem(form.ALERT, "signature.form", "the alert has an Id, which CAP does not know"))
    if b"\0" in data[:4] or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        problems.append(Problem("body", "signature.encoding", "UTF-16 is not signed; write it in UTF-8"))
    elif unclosed:
        message = "the message must end with the alert's closing tag, for the signature goes before it"
        problems.append(Problem(form.ALERT, "signature.end", message))
    return problems


def _read_key(path: Path, problems: list[Problem]) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None:
    """The private key in a file; what is wrong goes into `problems`, and no word of the file into a message."""
    place = str(path)
    try:
        mode, text = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        problems.append(Problem(place, "signing.key.file", f"cannot be read: {error.strerror or error}"))
        return None
    if mode & _OTHERS:
        message = f"everybody may use this private key (mode {mode & 0o777:o}); chmod 600 it"
        problems.append(Problem(place, "signing.key.mode", message))
    try:
        key = load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        problems.append(Problem(place, "signing.key.form", "is not an unencrypted private key in PEM form"))
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        return key
    problems.append(Problem(place, "signing.key.kind", "is neither an ECDSA nor an RSA key"))
    return None


def _method_for(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> SignatureMethod:
    """By the key's strength (RFC 5656, 6.2.1: SHA-256 goes with P-256, SHA-384 with P-384)."""
    if isinstance(key, rsa.RSAPrivateKey):
        return SignatureMethod.RSA_SHA256
    return SignatureMethod.ECDSA_SHA256 if key.curve.name == "secp256r1" else SignatureMethod.ECDSA_SHA384
