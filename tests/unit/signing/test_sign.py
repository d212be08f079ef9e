"""Our own signer: what it writes is good, and nothing but the signature is new."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from broker.cap.document import read
from broker.cap.xml import parse_xml
from broker.clock import from_ms, now_ms
from broker.errors import ConfigError, InputRefused
from broker.signing.certificates import OWN
from broker.signing.settings import SigningSettings
from broker.signing.sign import Signer
from broker.signing.verify import verify
from tests.support.signing import ALERT, NOW, certified, pair, signed, write_pair

EC_KEY = pair().key


def refused(data: bytes) -> list[str]:
    with pytest.raises(InputRefused) as refusal:
        pair().signer.sign(data)
    return [problem.rule for problem in refusal.value.problems]


def loading(certificate: Path, key: Path) -> list[str]:
    with pytest.raises(ConfigError) as error:
        Signer.load(certificate, key)
    return [problem.rule for problem in error.value.problems]


def test_nothing_but_the_signature_is_new() -> None:
    data = signed()
    begin, end = data.index(b"<ds:Signature "), data.index(b"</ds:Signature>") + len(b"</ds:Signature>")

    assert data[:begin] + data[end:] == ALERT


def test_a_signed_alert_reads_as_before_and_is_valid_by_the_schema() -> None:
    plain, after = (read(data, "xml", now=from_ms(NOW)) for data in (ALERT, signed()))

    assert after.valid
    assert after.schema_valid
    assert after.signatures == 1
    assert after.alert == plain.alert


def test_the_default_is_ecdsa_on_p_256_with_sha_256_and_exclusive_canonicalization() -> None:
    data = signed()

    assert data.count(b"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256") == 1
    assert data.count(b"http://www.w3.org/2001/10/xml-exc-c14n#") == 2
    assert data.count(b"http://www.w3.org/2001/04/xmlenc#sha256") == 1
    assert b"sha1" not in data


def test_the_certificate_goes_along() -> None:
    body = "".join(pair().certificate_pem.splitlines()[1:-1])

    assert body.encode() in signed().replace(b"\n", b"")


@pytest.mark.parametrize(
    "data",
    [
        ALERT.replace(b"\n", b"\r\n"),
        ALERT.rstrip(),
        ALERT.replace(b"</alert>", b"</alert \n >"),
        ALERT.replace(b"<alert ", b"<!-- for </alert> --><alert "),
        ALERT.replace(b"</info>", b"</info><!-- </alert> -->"),
        ALERT.decode().replace("UTF-8", "GB18030").encode("gb18030"),
        b"\xef\xbb\xbf" + ALERT,
        ALERT.replace(b'xmlns="', b'xmlns:ds="urn:other" xmlns="'),
    ],
    ids=["crlf", "no end of line", "spaced end", "comment", "comment inside", "gb18030", "mark", "prefix taken"],
)
def test_documents_written_in_other_ways_are_signed_as_they_are(data: bytes) -> None:
    result = pair().signer.sign(data)
    begin, end = result.index(b"<ds:Signature "), result.index(b"</ds:Signature>") + len(b"</ds:Signature>")

    assert result[:begin] + result[end:] == data
    assert verify(result, [pair().pinned], NOW).valid


def test_an_alert_under_a_prefix_is_signed() -> None:
    text = ALERT.decode().replace("</", "</c:").replace("<", "<c:").replace("<c:/c:", "</c:")
    text = text.replace("<c:?", "<?").replace("xmlns=", "xmlns:c=")

    assert verify(pair().signer.sign(text.encode()), [pair().pinned], NOW).valid


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60))
def test_whatever_the_words_the_signature_is_good_and_the_words_stay(words: str) -> None:
    words = words.replace("\ufffe", "").replace("\uffff", "") or "x"
    escaped = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    data = ALERT.replace("暴雨橙色预警".encode(), escaped.encode())

    result = pair().signer.sign(data)

    assert verify(result, [pair().pinned], NOW).valid
    root = parse_xml(result).root
    assert root is not None
    assert root.all("info")[0].value("headline") == words


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (signed(), "signature.duplicate"),
        (b"<feed xmlns='http://www.w3.org/2005/Atom'></feed>", "signature.root"),
        (ALERT + b"<!-- the end -->", "signature.end"),
        (ALERT.replace(b"<alert ", b"<?xml-stylesheet href='x'?><alert "), "signature.coverage"),
        (ALERT.decode().replace("UTF-8", "UTF-16").encode("utf-16"), "signature.encoding"),
        (ALERT.replace(b"<alert ", b"<alert Id='a' "), "signature.form"),
        (b"{}", "signature.unreadable"),
        (ALERT[:-20], "signature.unreadable"),
    ],
)
def test_what_cannot_be_signed_is_refused(data: bytes, rule: str) -> None:
    assert rule in refused(data)


def test_a_pair_is_loaded_from_files(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "ours")
    signer = Signer.load(certificate, key)

    assert verify(signer.sign(ALERT), [signer.certificate], now_ms()).valid
    assert signer.expiry.department == OWN
    assert signer.expiry.days_left(now_ms()) in (99, 100)


@pytest.mark.parametrize("kind", ["p384", "rsa3072"])
def test_pairs_of_every_kind_sign(kind: str, tmp_path: Path) -> None:
    signer = Signer.load(*write_pair(tmp_path, "ours", kind))

    assert verify(signer.sign(ALERT), [signer.certificate], now_ms()).valid


def test_the_key_is_shown_nowhere(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "ours")
    signer = Signer.load(certificate, key)
    lines = key.read_text().splitlines()[1:-1]

    assert not any(line in repr(signer) + str(vars(signer)) for line in lines)
    assert "PRIVATE" not in repr(signer)


def test_a_key_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "ours")
    key.chmod(0o644)

    assert loading(certificate, key) == ["signing.key.mode"]


def test_the_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    certificate, _ = write_pair(tmp_path, "ours")
    _, key = write_pair(tmp_path, "theirs")

    assert loading(certificate, key) == ["signing.key.other"]


def test_files_that_hold_something_else_are_all_named_without_a_word_of_them(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "ours")
    key.write_text("-----BEGIN PRIVATE KEY-----\nhushhush\n-----END PRIVATE KEY-----\n")

    with pytest.raises(ConfigError) as error:
        Signer.load(key, key)

    assert [problem.rule for problem in error.value.problems] == ["certificate.private_key", "signing.key.form"]
    assert "hushhush" not in str(error.value)
    assert loading(certificate, tmp_path / "none.key") == ["signing.key.file"]


def test_a_weak_key_does_not_sign(tmp_path: Path) -> None:
    weak = pair("rsa1024")
    (tmp_path / "weak.crt").write_text(weak.certificate_pem)
    (tmp_path / "weak.key").touch(mode=0o600)
    (tmp_path / "weak.key").write_text(weak.key_pem)

    assert loading(tmp_path / "weak.crt", tmp_path / "weak.key") == ["certificate.key.weak"]


def test_a_certificate_that_has_ended_does_not_keep_its_signer_from_starting(tmp_path: Path) -> None:
    ended = certified(EC_KEY, 0, 1000)
    (tmp_path / "c.crt").write_text(ended.certificate_pem)
    (tmp_path / "c.key").touch(mode=0o600)
    (tmp_path / "c.key").write_text(ended.key_pem)

    signer = Signer.load(tmp_path / "c.crt", tmp_path / "c.key")

    assert signer.expiry.days_left(NOW) < 0
    assert not verify(signer.sign(ALERT), [signer.certificate], NOW).valid


def test_the_settings_take_both_files_or_none(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "ours")

    assert Signer.of(SigningSettings()) is None
    assert Signer.of(SigningSettings(certificate=certificate, key=key)) is not None
    with pytest.raises(ValidationError, match="both or neither"):
        SigningSettings(certificate=certificate)
