"""The pinned certificates: read from files, judged when they are read, and when they end.

Nothing is trusted but what the operator put into a file: no authority, no chain, no certificate out of a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from broker.clock import from_ms, now_ms, to_ms
from broker.errors import ConfigError, Problem

DAY_MS: Final = 86_400_000
SMALLEST_RSA: Final = 2048
"""Bits of the smallest RSA key that is taken; NIST SP 800-131A allows none below."""
LARGEST_RSA: Final = 8192
CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384"}
"""Curves that are taken, under their names in the library."""
SUFFIXES: Final = (".pem", ".crt", ".cer")
"""Files that are read where a folder is named."""


@dataclass(frozen=True, slots=True)
class PinnedCertificate:
    """A certificate whose key may sign, and the file it came from."""

    certificate: x509.Certificate = field(repr=False)
    path: Path
    fingerprint: str
    """SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` writes it."""
    not_before_ms: int
    not_after_ms: int

    @classmethod
    def of(cls, certificate: x509.Certificate, path: Path) -> PinnedCertificate:
        """Of a certificate that was read from `path`."""
        return cls(
            certificate,
            path,
            certificate.fingerprint(SHA256()).hex(":").upper(),
            to_ms(certificate.not_valid_before_utc),
            to_ms(certificate.not_valid_after_utc),
        )

    @property
    def subject(self) -> str:
        """The name that the certificate was made out to (RFC 4514)."""
        return self.certificate.subject.rfc4514_string()

    @property
    def der(self) -> bytes:
        """The certificate in its binary form, as X509Data carries it."""
        return self.certificate.public_bytes(Encoding.DER)

    def valid_at(self, at_ms: int) -> bool:
        """Whether `at_ms` lies between not-before and not-after, both included (RFC 5280, 4.1.2.5)."""
        return self.not_before_ms <= at_ms <= self.not_after_ms

    def validity_problem(self, at_ms: int, place: str) -> Problem | None:
        """What is wrong with relying on it at `at_ms`; None when nothing is."""
        if at_ms < self.not_before_ms:
            message = (
                f"certificate {self.subject} is valid only from {from_ms(self.not_before_ms):%Y-%m-%d %H:%M} UTC"
            )
            return Problem(place, "signature.certificate.not_yet", message, self.fingerprint)
        if at_ms > self.not_after_ms:
            message = f"certificate {self.subject} ended on {from_ms(self.not_after_ms):%Y-%m-%d %H:%M} UTC"
            return Problem(place, "signature.certificate.expired", message, self.fingerprint)
        return None


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a certificate that we rely on ends."""

    department: str
    """The department's id, or OWN for the certificate that we sign with."""
    fingerprint: str
    subject: str
    path: Path
    not_before_ms: int
    not_after_ms: int

    @classmethod
    def of(cls, department: str, certificate: PinnedCertificate) -> Expiry:
        """Of a certificate that a department, or we ourselves, sign with."""
        return cls(
            department,
            certificate.fingerprint,
            certificate.subject,
            certificate.path,
            certificate.not_before_ms,
            certificate.not_after_ms,
        )

    def days_left(self, at_ms: int) -> int:
        """Whole days until it ends; negative once it has."""
        return (self.not_after_ms - at_ms) // DAY_MS


OWN: Final = "_own"
"""Stands for a department where our own certificate is meant; no department's id has an underscore."""


class Certificates:
    """The pinned certificates of all departments."""

    def __init__(self, by_department: Mapping[str, Iterable[PinnedCertificate]]) -> None:
        self._by_department = {
            department: tuple({certificate.fingerprint: certificate for certificate in listed}.values())
            for department, listed in by_department.items()
        }

    @classmethod
    def load(cls, files: Mapping[str, Iterable[Path]]) -> Certificates:
        """From PEM files, or folders of them, by department; a file may hold several certificates.

        Raises ConfigError with every file that is no certificate, holds a private key, or has a key too weak or
        not meant for signatures. A certificate that has ended is no such error, for it must not keep the broker
        from starting: `untimely` lists those.
        """
        problems: list[Problem] = []
        loaded = {department: [*_read_all(paths, problems)] for department, paths in files.items()}
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))
        return cls(loaded)

    def of(self, department: str) -> tuple[PinnedCertificate, ...]:
        """The certificates of a department; none where none is configured."""
        return self._by_department.get(department, ())

    def expiries(self) -> list[Expiry]:
        """When each of them ends, the first to end first."""
        found = [
            Expiry.of(department, certificate)
            for department, listed in self._by_department.items()
            for certificate in listed
        ]
        return sorted(found, key=lambda expiry: (expiry.not_after_ms, expiry.department))

    def untimely(self, at_ms: int | None = None) -> list[Problem]:
        """A problem for each that is not valid at `at_ms` (now by default), the file as its place."""
        at = now_ms() if at_ms is None else at_ms
        found = (
            certificate.validity_problem(at, str(certificate.path))
            for listed in self._by_department.values()
            for certificate in listed
        )
        return [problem for problem in found if problem is not None]


def read_certificates(path: Path) -> tuple[list[PinnedCertificate], list[Problem]]:
    """The certificates in a PEM file, and what is wrong with the file or with any of them."""
    place = str(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        return [], [Problem(place, "certificate.file", f"cannot be read: {error.strerror or error}")]
    if b"PRIVATE KEY-----" in text:
        message = "holds a private key; a certificate's file is handed around, so keep the key in one of its own"
        return [], [Problem(place, "certificate.private_key", message)]
    try:
        found = x509.load_pem_x509_certificates(text)
        pinned = [PinnedCertificate.of(certificate, path) for certificate in found]
    except ValueError as error:
        return [], [Problem(place, "certificate.form", f"is not a certificate in PEM form: {error}")]
    problems = [
        Problem(place, rule, message, pin.fingerprint)
        for pin in pinned
        for rule, message in _unfit(pin.certificate)
    ]
    return pinned, problems


def key_kind(certificate: x509.Certificate) -> str:
    """The kind and size of a certificate's key for people: `ECDSA P-256`, `RSA 3072`."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unknown"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {CURVES.get(key.curve.name, key.curve.name)}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__.removesuffix("PublicKey")


def _read_all(paths: Iterable[Path], problems: list[Problem]) -> Iterator[PinnedCertificate]:
    for path in paths:
        files = [path]
        if path.is_dir():
            files = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES)
            if not files:
                problems.append(Problem(str(path), "certificate.file", f"no {', '.join(SUFFIXES)} in this folder"))
        for file in files:
            certificates, found = read_certificates(file)
            problems.extend(found)
            yield from certificates


def _unfit(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    """Rule and message of everything for which the certificate cannot be relied on, its times apart."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        yield "certificate.key", f"has a key of a kind that is not supported: {error}"
        return
    if isinstance(key, rsa.RSAPublicKey):
        if not SMALLEST_RSA <= key.key_size <= LARGEST_RSA:
            message = f"has an RSA key of {key.key_size} bits, must be {SMALLEST_RSA} to {LARGEST_RSA}"
            yield "certificate.key.weak", message
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in CURVES:
            yield "certificate.key.weak", f"has a key on {key.curve.name}, must be {' or '.join(CURVES.values())}"
    else:
        yield "certificate.key", f"has a key of the kind {key_kind(certificate)}, must be RSA or ECDSA"
    if certificate.not_valid_after_utc < certificate.not_valid_before_utc:
        yield "certificate.validity", "ends before it begins"
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    except ValueError as error:
        yield "certificate.form", f"has extensions that cannot be read: {error}"
        return
    if not (usage.digital_signature or usage.content_commitment):
        yield "certificate.usage", "is not meant for signatures (key usage, RFC 5280, 4.2.1.3)"
