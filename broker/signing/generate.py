"""Making a key pair with a certificate that it signs itself: pinned certificates need no authority."""

from __future__ import annotations

from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from broker.clock import from_ms, now_ms
from broker.signing.certificates import DAY_MS

KeyKind = Literal["p256", "p384", "rsa3072"]
KEY_KINDS: Final[tuple[KeyKind, ...]] = ("p256", "p384", "rsa3072")
LONGEST_NAME: Final = 64
"""Characters of a common name (RFC 5280, upper bounds)."""


def new_pair(
    name: str, *, days: int = 730, kind: KeyKind = "p256", from_at_ms: int | None = None
) -> tuple[str, str]:
    """A certificate made out to `name` and its private key, both as PEM.

    Valid for `days` from `from_at_ms` on (now by default). Raises ValueError for a name that no certificate can
    have and for days below 1.
    """
    if not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"a name has 1 to {LONGEST_NAME} characters")
    if days < 1:
        raise ValueError("a certificate is valid for a day at least")
    begin = from_ms(now_ms() if from_at_ms is None else from_at_ms).replace(microsecond=0)
    end = from_ms(int(begin.timestamp()) * 1000 + days * DAY_MS)
    key = _new_key(kind)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_signatures_only(), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM).decode(), private.decode()


def _new_key(kind: KeyKind) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    match kind:
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa3072":
            return rsa.generate_private_key(public_exponent=65_537, key_size=3072)


def _signatures_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
