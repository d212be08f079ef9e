"""Another implementation, xmlsec1, agrees with ours; skipped where it is not installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from broker.signing.sign import Signer
from broker.signing.verify import verify
from tests.support.signing import ALERT, write_pair

XMLSEC = shutil.which("xmlsec1")
pytestmark = pytest.mark.skipif(XMLSEC is None, reason="xmlsec1 is not installed")

TEMPLATE = """<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><SignedInfo>
<CanonicalizationMethod Algorithm="{c14n}"/><SignatureMethod Algorithm="{method}"/>
<Reference URI=""><Transforms><Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>{last}</Transforms>
<DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><DigestValue/></Reference></SignedInfo>
<SignatureValue/><KeyInfo><X509Data/></KeyInfo></Signature>"""
INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"


def xmlsec(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert XMLSEC is not None
    return subprocess.run([XMLSEC, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa3072"])
def test_the_peer_finds_our_signatures_good_and_altered_ones_not(kind: str, tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "ours", kind)
    data = Signer.load(certificate, key).sign(ALERT)
    good, altered = tmp_path / "good.xml", tmp_path / "altered.xml"
    good.write_bytes(data)
    altered.write_bytes(data.replace(b"Severe", b"Minor"))

    assert xmlsec("--verify", "--pubkey-cert-pem", str(certificate), str(good)).returncode == 0
    assert xmlsec("--verify", "--pubkey-cert-pem", str(certificate), str(altered)).returncode != 0


@pytest.mark.parametrize("c14n", [INCLUSIVE, INCLUSIVE + "#WithComments", EXCLUSIVE, EXCLUSIVE + "WithComments"])
@pytest.mark.parametrize("transform", [True, False])
@pytest.mark.parametrize(("kind", "method"), [("p256", "ecdsa-sha256"), ("rsa3072", "rsa-sha512")])
def test_we_find_the_peers_signatures_good_and_altered_ones_not(
    c14n: str, transform: bool, kind: str, method: str, tmp_path: Path
) -> None:
    certificate, key = write_pair(tmp_path, "theirs", kind)
    last = f'<Transform Algorithm="{c14n}"/>'
    signature = TEMPLATE.format(c14n=c14n, method=MORE + method, last=last if transform else "")
    template, result = tmp_path / "template.xml", tmp_path / "signed.xml"
    # A comment, for a reference to the whole document leaves comments out whatever the canonicalization says.
    template.write_bytes(
        ALERT.replace(b"<info>", b"<!-- one --><info>").replace(b"</alert>", signature.encode() + b"</alert>")
    )
    made = xmlsec("--sign", "--privkey-pem", f"{key},{certificate}", "--output", str(result), str(template))
    assert made.returncode == 0, made.stderr
    data = result.read_bytes()
    pinned = Signer.load(certificate, key).certificate

    assert verify(data, [pinned], pinned.not_before_ms).valid
    altered = verify(data.replace(b"Severe", b"Minor"), [pinned], pinned.not_before_ms)
    assert [problem.rule for problem in altered.problems] == ["signature.digest"]
