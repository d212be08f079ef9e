"""Key pairs, signed alerts, and signatures made by hand for what our signer would never make."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml import algorithms
from signxml.signer import XMLSigner

from broker.clock import from_ms, to_ms
from broker.signing.certificates import DAY_MS, PinnedCertificate
from broker.signing.generate import KeyKind, new_pair
from broker.signing.sign import Signer

DS = "http://www.w3.org/2000/09/xmldsig#"
CAP = "urn:oasis:names:tc:emergency:cap:1.2"
NOW = to_ms(datetime(2026, 7, 1, 4, 0, tzinfo=UTC))
"""The instant that these tests take for the time of receipt."""
EXCLUSIVE = algorithms.CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0

ALERT = """<?xml version="1.0" encoding="UTF-8"?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">
  <identifier>50011741600000_20260701120000</identifier>
  <sender>met@warning.example</sender>
  <sent>2026-07-01T12:00:00+08:00</sent>
  <status>Actual</status>
  <msgType>Alert</msgType>
  <scope>Public</scope>
  <info>
    <language>zh-CN</language>
    <category>Met</category>
    <event>暴雨</event>
    <urgency>Immediate</urgency>
    <severity>Severe</severity>
    <certainty>Likely</certainty>
    <expires>2026-07-01T18:00:00+08:00</expires>
    <headline>暴雨橙色预警</headline>
    <description>未来3小时 &lt;50 mm &amp; 山洪</description>
    <area>
      <areaDesc>合川区</areaDesc>
      <polygon>30,106 30,107 29,107 30,106</polygon>
    </area>
  </info>
</alert>
""".encode()

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Pair:
    """A private key and the certificate of it."""

    def __init__(self, key: Key, certificate: x509.Certificate) -> None:
        self.key = key
        self.pinned = PinnedCertificate.of(certificate, Path("pair.crt"))

    @property
    def signer(self) -> Signer:
        return Signer(self.pinned, self.key)

    @property
    def certificate_pem(self) -> str:
        return self.pinned.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def until(self, first_ms: int, last_ms: int) -> Pair:
        """Another certificate for the same key."""
        return certified(self.key, first_ms, last_ms)


def certified(
    key: Key, first_ms: int = NOW - DAY_MS, last_ms: int = NOW + 100 * DAY_MS, *, usage: x509.KeyUsage | None = None
) -> Pair:
    """A certificate for a key, valid between two instants."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(from_ms(first_ms))
        .not_valid_after(from_ms(last_ms))
    )
    if usage is not None:
        builder = builder.add_extension(usage, critical=True)
    return Pair(key, builder.sign(key, hashes.SHA256()))


def pair(name: str = "department") -> Pair:
    """The pair of that name, the same throughout a run; `p384`, `rsa` and `rsa1024` say the kind."""
    return _pair(name)


@lru_cache
def _pair(name: str) -> Pair:
    if name.startswith("rsa"):
        return certified(rsa.generate_private_key(65_537, int(name.removeprefix("rsa") or 2048)))
    curve = {"p384": ec.SECP384R1(), "k256": ec.SECP256K1(), "p521": ec.SECP521R1()}.get(name, ec.SECP256R1())
    return certified(ec.generate_private_key(curve))


def signed(data: bytes = ALERT, by: str = "department") -> bytes:
    """An alert signed by our own signer."""
    return pair(by).signer.sign(data)


def library_signed(
    data: bytes,
    by: Pair,
    method: algorithms.SignatureMethod = algorithms.SignatureMethod.ECDSA_SHA256,
    digest: algorithms.DigestAlgorithm = algorithms.DigestAlgorithm.SHA256,
    c14n: algorithms.CanonicalizationMethod = EXCLUSIVE,
    **options: object,
) -> bytes:
    """An alert signed with the library's own means, for forms that our signer does not write."""
    signer = _Lax(signature_algorithm=method, digest_algorithm=digest, c14n_algorithm=c14n)
    root = etree.fromstring(data)
    key = options.pop("key", by.key)
    return etree.tostring(signer.sign(root, key=key, **options), encoding="UTF-8", xml_declaration=True)


class _Lax(XMLSigner):
    """Signs with SHA-1 too, for such messages exist."""

    def check_deprecated_methods(self) -> None:
        return


def resigned(data: bytes, by: Pair) -> bytes:
    """The document with digest and signature value computed anew over whatever SignedInfo now says.

    What an attacker could do who holds the key: so that a refusal is one of the form, not of the value. The
    digest is that of the whole document without any signature.
    """
    root = etree.fromstring(data)
    bare = etree.fromstring(data)
    for each in list(bare.iter(f"{{{DS}}}Signature")):
        above = each.getparent()
        if above is not None:
            above.remove(each)
    digest = hashlib.sha256(etree.tostring(bare, method="c14n", exclusive=True, with_comments=False)).digest()
    for value in root.iter(f"{{{DS}}}DigestValue"):
        value.text = base64.b64encode(digest).decode()
    for signature in root.iter(f"{{{DS}}}Signature"):
        info, value = signature.find(f"{{{DS}}}SignedInfo"), signature.find(f"{{{DS}}}SignatureValue")
        if info is None or value is None:
            continue
        octets = etree.tostring(info, method="c14n", exclusive=True, with_comments=False)
        value.text = base64.b64encode(_raw(by.key, octets)).decode()
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def _raw(key: Key, octets: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(octets, PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(octets, ec.ECDSA(hashes.SHA256())))
    width = (key.key_size + 7) // 8
    return r.to_bytes(width, "big") + s.to_bytes(width, "big")


def write_pair(folder: Path, name: str, kind: KeyKind = "p256", *, days: int = 100) -> tuple[Path, Path]:
    """A fresh pair in two files, as `fenghuo certificate new` writes them."""
    certificate, key = new_pair(name, kind=kind, days=days)
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    paths[0].write_text(certificate)
    paths[1].touch(mode=0o600)
    paths[1].write_text(key)
    return paths


def days(number: float) -> int:
    return int(timedelta(days=number).total_seconds() * 1000)
