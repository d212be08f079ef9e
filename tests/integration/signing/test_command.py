"""`fenghuo certificate` as a program: files, permissions, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from broker.clock import now_ms
from broker.signing.sign import Signer
from broker.signing.verify import verify
from tests.support.places import ROOT
from tests.support.signing import ALERT, certified, days, pair

DEPARTMENTS = """departments:
  - id: met
    name_zh: 气象台
    name_en: Observatory
    senders: [met@warning.example]
    events: ["11B*"]
    regions: ["500117000000"]
    levels: [Red]
    signature: {required: true, certificates: [met]}
"""


def fenghuo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "broker.cli", "certificate", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "met").mkdir()
    (tmp_path / "departments.yaml").write_text(DEPARTMENTS, encoding="utf-8")
    path = tmp_path / "fenghuo.yaml"
    path.write_text("files: {departments: departments.yaml}\n")
    return path


def test_a_new_pair_is_private_and_signs(tmp_path: Path) -> None:
    certificate, key = tmp_path / "public" / "ours.crt", tmp_path / "private" / "ours.key"

    made = fenghuo("new", "--name", "重庆预警", "--certificate", certificate, "--key", key, "--days", "90")

    assert made.returncode == 0, made.stderr
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    assert "PRIVATE" not in made.stdout + made.stderr + certificate.read_text()
    signer = Signer.load(certificate, key)
    assert made.stdout.strip() == signer.certificate.fingerprint
    assert verify(signer.sign(ALERT), [signer.certificate], now_ms()).valid


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    key = tmp_path / "ours.key"
    key.write_text("precious")

    made = fenghuo("new", "--name", "x", "--certificate", tmp_path / "ours.crt", "--key", key)

    assert made.returncode == 1
    assert key.read_text() == "precious"
    assert not (tmp_path / "ours.crt").exists()


@pytest.mark.parametrize("span", ["0", "9999999"])
def test_a_pair_that_cannot_be_is_misuse(span: str, tmp_path: Path) -> None:
    made = fenghuo("new", "--name", "x", "--certificate", tmp_path / "c", "--key", tmp_path / "k", "--days", span)

    assert made.returncode == 2
    assert "Traceback" not in made.stderr
    assert not (tmp_path / "k").exists()


def test_the_list_shows_what_is_left_and_says_no_when_one_has_ended(config: Path) -> None:
    folder = config.parent / "met"
    now = now_ms()
    key = pair().key
    (folder / "new.crt").write_text(certified(key, now - days(1), now + days(100.5)).certificate_pem)

    good = fenghuo("list", "--config", config, "--json")
    assert good.returncode == 0, good.stderr
    [row] = json.loads(good.stdout)
    assert (row["department"], row["days_left"], row["file"]) == ("met", 100, str(folder / "new.crt"))

    (folder / "old.crt").write_text(certified(key, now - days(9), now - days(1.5)).certificate_pem)
    bad = fenghuo("list", "--config", config)
    assert bad.returncode == 1
    first, second = bad.stdout.splitlines()
    assert "ended 2 days ago" in first
    assert "100 days left" in second


def test_a_broken_file_is_named(config: Path) -> None:
    (config.parent / "met" / "a.crt").write_text("hello")

    done = fenghuo("list", "--config", config)

    assert done.returncode == 2
    assert "a.crt: is not a certificate" in done.stderr


def test_a_certificate_is_shown_with_all_that_is_wrong_with_it(tmp_path: Path) -> None:
    good, weak = tmp_path / "good.crt", tmp_path / "weak.crt"
    now = now_ms()
    good.write_text(certified(pair().key, now - days(1), now + days(30.5)).certificate_pem)
    weak.write_text(certified(pair("rsa1024").key, 0, 1000).certificate_pem)

    shown = fenghuo("show", good)
    assert shown.returncode == 0
    assert "ECDSA P-256" in shown.stdout
    assert "days left    30" in shown.stdout

    refused = fenghuo("show", weak)
    assert refused.returncode == 1
    assert "certificate.key.weak" in refused.stderr
    assert "signature.certificate.expired" in refused.stderr
