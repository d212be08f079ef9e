"""Intake's question: does the signature keep this alert from being accepted?"""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.intake.departments import Departments
from broker.intake.signatures import SignatureCheck
from tests.support.signing import ALERT, NOW, days, pair, signed

DEPARTMENT = """  - id: {id}
    name_zh: 气象台
    name_en: Observatory {id}
    senders: [{id}@warning.example]
    events: ["11B*"]
    regions: ["500117000000"]
    levels: [Red]
    signature: {signature}
"""


@pytest.fixture
def departments(tmp_path: Path) -> Departments:
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / "met.crt").write_text(pair().certificate_pem)
    (tmp_path / "certificates" / "free.crt").write_text(pair("free").certificate_pem)
    return load(
        tmp_path,
        must="{required: true, certificates: [certificates/met.crt]}",
        may="{certificates: [certificates/free.crt]}",
        none="{}",
    )


def load(folder: Path, **signatures: str) -> Departments:
    path = folder / "departments.yaml"
    listed = "".join(DEPARTMENT.format(id=name, signature=rule) for name, rule in signatures.items())
    path.write_text("departments:\n" + listed, encoding="utf-8")
    return Departments.load(path)


def rules(departments: Departments, department: str, body: bytes, form: str = "xml", at: int = NOW) -> list[str]:
    check = SignatureCheck.load(departments)
    return [problem.rule for problem in check.problems(body, form, departments.get(department), at)]


def test_who_must_sign_is_accepted_with_a_good_signature_only(departments: Departments) -> None:
    assert rules(departments, "must", signed()) == []
    assert rules(departments, "must", ALERT) == ["signature.absent"]
    assert rules(departments, "must", signed(by="stranger"))[0] == "signature.value"
    assert rules(departments, "must", signed(), at=NOW + days(200)) == ["signature.certificate.expired"]


def test_who_must_sign_cannot_send_json(departments: Departments) -> None:
    assert rules(departments, "must", b"{}", "json") == ["signature.form.json"]
    assert rules(departments, "may", b"{}", "json") == []
    assert rules(departments, "none", b"{}", "json") == []


def test_who_may_sign_need_not(departments: Departments) -> None:
    assert rules(departments, "may", ALERT) == []
    assert rules(departments, "none", ALERT) == []


def test_a_broken_signature_is_never_overlooked(departments: Departments) -> None:
    broken = signed(by="free").replace(b"Severe", b"Minor")

    assert rules(departments, "may", signed(by="free")) == []
    assert rules(departments, "may", broken) == ["signature.digest"]
    assert "signature.unknown" in rules(departments, "none", broken)


def test_a_signature_that_nobody_can_judge_is_not_overlooked(departments: Departments) -> None:
    assert rules(departments, "none", signed()) == ["signature.unknown", "signature.certificate.unknown"]


def test_the_key_of_one_department_does_not_sign_for_another(departments: Departments) -> None:
    assert rules(departments, "must", signed(by="free"))[0] == "signature.value"
    assert rules(departments, "may", signed())[0] == "signature.value"


def test_to_require_signatures_without_a_certificate_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no certificate is named"):
        load(tmp_path, met="{required: true}")


def test_an_unknown_key_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"departments\.yaml:9: unknown key 'certificats'.*did you mean"):
        load(tmp_path, met="{certificats: [a.crt]}")


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"certificates/none\.crt: cannot be read"):
        SignatureCheck.load(load(tmp_path, met="{certificates: [certificates/none.crt]}"))
