"""Addresses that may be called back, their secrets, and the signature of a request."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from broker.callbacks import registration
from broker.callbacks.sending import signature
from broker.errors import InputRefused
from broker.sealing import Keyring, SealError
from broker.types import AlertState
from tests.support.places import KEYRING


@pytest.mark.parametrize(
    "url",
    [
        "https://department.example/hook?key=s3cr3t",
        "https://department.example:8443/hook?a=%2F&b=c%20d",
        "https://部门.example/警报?a=b",
        "http://127.0.0.1:9000/hook",
        "http://localhost/hook",
        "http://[::1]:9000/hook",
    ],
)
def test_an_address_and_its_secret_come_back_out_of_the_seal(url: str) -> None:
    secret, record = registration.new("geology", url, ["planned", "planned", "cancelled"], KEYRING)
    target = registration.target(record, KEYRING)
    assert target.secret == secret
    assert target.url.partition("?")[2] == url.partition("?")[2]
    assert target.url.isascii()
    assert record.states == (AlertState.PLANNED, AlertState.CANCELLED)
    assert record.department == "geology"


def test_neither_secret_nor_query_can_be_seen_from_outside() -> None:
    secret, record = registration.new("geology", "https://d.example/hook?key=s3cr3t#x", [], KEYRING)
    assert record.shown == "https://d.example/hook"
    seen = f"{record}{registration.target(record, KEYRING)}".encode() + record.sealed
    assert secret.encode() not in seen
    assert b"s3cr3t" not in seen


def test_every_secret_is_another_and_belongs_to_its_callback() -> None:
    made = [registration.new("geology", "https://d.example/", [], KEYRING) for _ in range(3)]
    assert len({secret for secret, _ in made}) == len({record.id for _, record in made}) == 3
    (_, one), (_, other), _ = made
    with pytest.raises(SealError):
        registration.target(replace(one, sealed=other.sealed), KEYRING)
    with pytest.raises(SealError):
        registration.target(one, Keyring({"another": b"x" * 32}))


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://department.example/hook", "callback.https"),
        ("http://10.0.0.1/hook", "callback.https"),
        ("http://127.0.0.1.department.example/hook", "callback.https"),
        ("ftp://department.example/", "callback.url"),
        ("department.example/hook", "callback.url"),
        ("https://", "callback.url"),
        ("https://department.example/a b", "callback.url"),
        ("https://department.example/\r\nHost: x", "callback.url"),
        ("https://[::1/", "callback.url"),
        ("https://user:pass@department.example/", "callback.user"),
        ("https://department.example/" + "x" * 2_000, "callback.url"),
    ],
)
def test_an_address_that_must_not_be_called_is_refused(url: str, rule: str) -> None:
    with pytest.raises(InputRefused) as refused:
        registration.new("geology", url, [], KEYRING)
    assert [problem.rule for problem in refused.value.problems] == [rule]
    assert "pass" not in str(refused.value).replace("password", "")


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InputRefused) as refused:
        registration.new("geology", "http://d.example/", ["planed", "sent"], KEYRING)
    rules = [problem.rule for problem in refused.value.problems]
    assert rules == ["callback.https", "callback.state", "callback.state"]


def test_the_signature_is_that_of_rfc_2104_worked_out_by_hand() -> None:
    secret, timestamp, body = "fhs_secret", "1781746200", '{"state": "planned", "why": "预案"}'.encode()
    key = secret.encode().ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + timestamp.encode() + b"." + body).digest()
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()
    assert signature(secret, timestamp, body) == f"v1={outer}"
