"""Certificates are read from files, and everything wrong with them is said with the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from broker.errors import ConfigError
from broker.metrics import Metrics
from broker.signing.certificates import DAY_MS, OWN, Certificates, Expiry, read_certificates
from broker.signing.expiry import ExpiryWatch, notices
from broker.signing.generate import new_pair
from tests.support.signing import NOW, Pair, certified, days, pair

KEY = ec.generate_private_key(ec.SECP256R1())


def write(folder: Path, name: str, *pairs: Pair) -> Path:
    path = folder / name
    path.write_text("".join(each.certificate_pem for each in pairs))
    return path


def loading(*paths: Path) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as error:
        Certificates.load({"met": paths})
    return [(problem.place, problem.rule) for problem in error.value.problems]


def test_certificates_are_read_by_department(tmp_path: Path) -> None:
    files = {
        "met": [write(tmp_path, "old.crt", pair("old")), write(tmp_path, "new.pem", pair("new"))],
        "hydro": [write(tmp_path, "hydro.crt", pair("hydro"), pair("rsa"))],
        "geo": [],
    }

    certificates = Certificates.load(files)

    assert [each.fingerprint for each in certificates.of("met")] == [
        pair("old").pinned.fingerprint,
        pair("new").pinned.fingerprint,
    ]
    assert len(certificates.of("hydro")) == 2
    assert certificates.of("geo") == certificates.of("nobody") == ()


def test_a_folder_stands_for_the_certificates_in_it(tmp_path: Path) -> None:
    write(tmp_path, "a.crt", pair("old"))
    write(tmp_path, "b.pem", pair("new"))
    (tmp_path / "readme.txt").write_text("not read")

    assert len(Certificates.load({"met": [tmp_path]}).of("met")) == 2


def test_a_certificate_named_twice_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path, "a.crt", pair("old"))

    assert len(Certificates.load({"met": [path, path]}).of("met")) == 1


def test_every_file_that_is_no_certificate_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "text.crt").write_text("hello")
    (tmp_path / "broken.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (tmp_path / "both.crt").write_text(pair("old").certificate_pem + pair("old").key_pem)
    (tmp_path / "empty").mkdir()
    weak, curve, other = pair("rsa1024"), pair("k256"), pair("p521")

    assert loading(
        tmp_path / "none.crt",
        tmp_path / "text.crt",
        tmp_path / "broken.crt",
        tmp_path / "both.crt",
        tmp_path / "empty",
        write(tmp_path, "weak.crt", weak),
        write(tmp_path, "curve.crt", curve),
        write(tmp_path, "other.crt", other),
    ) == [
        (str(tmp_path / "none.crt"), "certificate.file"),
        (str(tmp_path / "text.crt"), "certificate.form"),
        (str(tmp_path / "broken.crt"), "certificate.form"),
        (str(tmp_path / "both.crt"), "certificate.private_key"),
        (str(tmp_path / "empty"), "certificate.file"),
        (str(tmp_path / "weak.crt"), "certificate.key.weak"),
        (str(tmp_path / "curve.crt"), "certificate.key.weak"),
        (str(tmp_path / "other.crt"), "certificate.key.weak"),
    ]


def test_a_certificate_for_encryption_only_is_refused(tmp_path: Path) -> None:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    path = write(tmp_path, "a.crt", certified(KEY, usage=usage))

    assert loading(path) == [(str(path), "certificate.usage")]


def test_one_that_has_ended_is_told_and_does_not_keep_the_others_from_loading(tmp_path: Path) -> None:
    ended = write(tmp_path, "ended.crt", certified(KEY, NOW - days(9), NOW - days(1)))
    coming = write(tmp_path, "coming.crt", certified(KEY, NOW + days(1), NOW + days(9)))
    good = write(tmp_path, "good.crt", certified(KEY))

    certificates = Certificates.load({"met": [ended, coming, good]})

    assert [(problem.place, problem.rule) for problem in certificates.untimely(NOW)] == [
        (str(ended), "signature.certificate.expired"),
        (str(coming), "signature.certificate.not_yet"),
    ]


def test_a_new_pair_is_fit_to_be_pinned(tmp_path: Path) -> None:
    certificate, key = new_pair("重庆市气象台", days=30, from_at_ms=NOW)
    path = tmp_path / "a.crt"
    path.write_text(certificate)

    [pinned], problems = read_certificates(path)

    assert problems == []
    assert pinned.subject == "CN=重庆市气象台"
    assert (pinned.not_before_ms, pinned.not_after_ms) == (NOW, NOW + 30 * DAY_MS)
    assert "PRIVATE KEY" in key
    assert "PRIVATE KEY" not in certificate


@pytest.mark.parametrize(("name", "span"), [("", 1), ("x" * 65, 1), ("x", 0)])
def test_a_pair_that_cannot_be_is_refused(name: str, span: int) -> None:
    with pytest.raises(ValueError):
        new_pair(name, days=span)


def ending(in_days: float, name: str = "met", key: str = "a", since: float = -100) -> Expiry:
    return Expiry(name, key, "CN=x", Path("x.crt"), NOW + days(since), NOW + days(in_days))


@pytest.mark.parametrize(
    ("in_days", "stage"),
    [
        (61, None),
        (60.5, None),
        (60, 60),
        (31, 60),
        (30, 30),
        (8, 30),
        (7, 7),
        (0.5, 7),
        (0, 7),
        (-0.001, 0),
        (-400, 0),
    ],
)
def test_sixty_thirty_and_seven_days_before_the_end_it_is_said(in_days: float, stage: int | None) -> None:
    found = notices([ending(in_days)], NOW)

    assert [notice.stage for notice in found] == ([] if stage is None else [stage])
    assert all(notice.grave == (stage == 0) for notice in found)


def test_one_that_has_its_successor_is_no_failure_when_it_ends() -> None:
    old, new = ending(-1), ending(300, key="b")

    [notice] = notices([old, new], NOW)

    assert notice.replaced
    assert not notice.grave


@pytest.mark.parametrize(
    "other",
    [ending(300, name="hydro", key="b"), ending(300, key="b", since=1), ending(50, key="b")],
    ids=["another department's", "not valid yet", "ends soon itself"],
)
def test_what_is_no_successor_does_not_calm(other: Expiry) -> None:
    notice = next(each for each in notices([ending(-1), other], NOW) if each.stage == 0)

    assert notice.grave


def test_the_gauge_tells_when_each_certificate_ends() -> None:
    metrics = Metrics()
    ExpiryWatch([ending(10), ending(-1, name=OWN, key="b")], metrics)

    text = generate_latest(metrics.registry).decode()

    name = "fenghuo_certificate_expires_timestamp_seconds"
    values = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if name + "{" in line
    }
    assert values == {
        f'{name}{{department="met",fingerprint="a"}}': (NOW + days(10)) / 1000,
        f'{name}{{department="_own",fingerprint="b"}}': (NOW - days(1)) / 1000,
    }


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


def test_it_is_said_once_a_day_and_at_once_when_a_stage_is_reached() -> None:
    clock = Clock()
    watch = ExpiryWatch([ending(8)], Metrics(), clock=clock)

    said = []
    with capture_logs() as lines:
        for hour in range(24 * 10):
            clock.now = NOW + hour * 3_600_000
            said += [(hour, notice.stage) for notice in watch.look()]

    # NOW is 04:00 UTC, so that days begin at hours 20, 44, …; 7 days before the end is hour 24, the end 192.
    assert said[:4] == [(0, 30), (20, 30), (24, 7), (44, 7)]
    assert [entry for entry in said if entry[1] == 0] == [(193, 0), (212, 0), (236, 0)]
    assert {line["log_level"] for line in lines if line["event"] == "certificate_ends"} == {"warning"}
    assert {line["log_level"] for line in lines if line["event"] == "certificate_ended"} == {"error"}
    assert len(lines) == len(said)
    assert lines[0]["days_left"] == 8


async def test_the_watch_runs_until_it_is_cancelled() -> None:
    import asyncio

    from tests.support.waiting import eventually

    clock = Clock()
    with capture_logs() as lines:
        task = asyncio.create_task(ExpiryWatch([ending(8)], Metrics(), clock=clock, interval=0.001).run())
        await eventually(lambda: len(lines) == 1, "the first line")
        clock.now += days(2)
        await eventually(lambda: len(lines) == 2, "the line of a later day")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
