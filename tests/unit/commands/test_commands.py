"""The command line: 0 good, 1 the answer is no, 2 misuse."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog

from broker.cap.compose import compose, geocode_area
from broker.cap.level import Level
from broker.cap.xml import to_xml
from broker.cli import main
from broker.errors import TransportError
from broker.sealing import KEYS_VARIABLE, Keyring, pack
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.transport.contract import Message
from broker.transport.embedded import EmbeddedTransport

ROOT = Path(__file__).parents[3]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The commands set logging up for a process of their own; here it must be undone."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration over the real files, with a store and keys of its own."""
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    (tmp_path / "address.keys").write_text(Keyring.new_line() + "\n")
    path = tmp_path / "fenghuo.yaml"
    path.write_text(
        f"""\
data: data
store: sqlite:///fenghuo.db
transport: "embedded:"
address_keys: address.keys
files:
  divisions: {ROOT}/config/regions/divisions.csv
  districts: {ROOT}/config/regions/districts.geojson
  events: {ROOT}/config/events.yaml
  departments: {ROOT}/config/departments.yaml
  policies: {ROOT}/policies
  templates: {ROOT}/templates
channels: {{sms: {{password: secret}}}}
""",
        encoding="utf-8",
    )
    return path


def misused(*argv: str) -> bool:
    """Whether a command line is refused as misuse, by exit code 2."""
    try:
        return main(argv) == 2
    except SystemExit as end:
        return end.code == 2


def in_store(config: Path, work: Callable[[Store], Any]) -> Any:
    """Do something with the store that a configuration names."""

    async def run() -> Any:
        store = open_store(f"sqlite:///{config.parent}/fenghuo.db")
        await store.start()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


# ── check ─────────────────────────────────────────────────────────────────────────────────────────────


def test_check_finds_a_good_configuration_good(config: Path, capsys: Capture) -> None:
    assert main(["check", "--config", str(config)]) == 0
    assert "NOT good" not in capsys.readouterr().out


def test_check_finds_the_shipped_configuration_good_once_its_keys_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    (tmp_path / "config").mkdir()
    places = [own.relative_to(ROOT) for own in (ROOT / "config").iterdir() if own.name != "fenghuo.yaml"]
    for place in (*places, Path("policies"), Path("templates")):
        (tmp_path / place).symlink_to(ROOT / place)
    path = tmp_path / "config/fenghuo.yaml"
    path.write_text((ROOT / "config/fenghuo.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    assert main(["check", "--config", str(path)]) == 1
    assert "fenghuo keys init" in capsys.readouterr().out
    assert main(["keys", "init", "--config", str(path)]) == 0
    assert main(["check", "--config", str(path)]) == 0, capsys.readouterr().out


def test_check_names_file_line_and_what_was_meant(config: Path, capsys: Capture) -> None:
    config.write_text(config.read_text(encoding="utf-8") + "listn: {port: 1}\n", encoding="utf-8")
    assert main(["check", "--config", str(config)]) == 1
    said = capsys.readouterr().out
    assert f"{config}:{len(config.read_text(encoding='utf-8').splitlines())}: " in said
    assert "did you mean 'listen'?" in said


def test_check_goes_on_after_the_first_bad_file_and_names_them_all(
    config: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "bad.yaml").write_text("rules:\n  - nam: x\n", encoding="utf-8")
    (tmp_path / "address.keys").unlink()
    text = config.read_text(encoding="utf-8").replace(f"{ROOT}/policies", "policies")
    text = text.replace("sqlite:///fenghuo.db", "mysql://u:s3cret@db/x").replace('"embedded:"', "kafka://x")
    config.write_text(text, encoding="utf-8")
    assert main(["check", "--config", str(config)]) == 1
    said = capsys.readouterr().out
    assert "store: NOT good" in said
    assert "transport: NOT good" in said
    assert "policies: NOT good" in said
    assert "bad.yaml:2" in said
    assert "address keys: NOT good" in said
    assert "districts: NOT good" not in said
    assert "s3cret" not in said


def test_check_of_a_file_that_is_not_there_says_so(tmp_path: Path, capsys: Capture) -> None:
    assert main(["check", "--config", str(tmp_path / "none.yaml")]) == 1
    assert "cannot be read" in capsys.readouterr().out


# ── misuse ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("fly",),
        ("check", "--colour"),
        ("alert",),
        ("alert", "lint"),
        ("run",),
        ("department", "token"),
        ("parked", "drop", "seven"),
        ("simulate", "pigeon"),
        ("serve", "--log-level", "loud"),
        ("demo", "--amqp", "amqp://x"),
    ],
    ids=" ".join,
)
def test_a_command_line_that_makes_no_sense_is_misuse(argv: tuple[str, ...], capsys: Capture) -> None:
    assert misused(*argv)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: fenghuo" in captured.err


def test_help_is_good_for_every_command(capsys: Capture) -> None:
    for command in ("demo", "serve", "run", "check", "alert", "department", "user", "registry", "keys", "parked"):
        with pytest.raises(SystemExit) as end:
            main([command, "--help"])
        assert end.value.code == 0
        assert command in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ("serve",),
        ("run", "api"),
        ("department", "tokens"),
        ("registry", "stats"),
        ("parked", "list"),
        ("keys", "new"),
    ],
    ids=" ".join,
)
def test_a_bad_configuration_is_misuse_of_every_command_that_needs_one(
    argv: tuple[str, ...], tmp_path: Path, capsys: Capture
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("nonsense: true\n", encoding="utf-8")
    assert main([*argv, "--config", str(bad)]) == 2
    assert f"{bad}:1" in capsys.readouterr().err


def test_running_half_of_an_embedded_broker_is_misuse(config: Path, capsys: Capture) -> None:
    assert main(["run", "api", "--config", str(config)]) == 2
    assert "every role in one process" in capsys.readouterr().err


# ── lint ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def warning(tmp_path: Path) -> Path:
    now = datetime.now(UTC).replace(microsecond=0)
    alert = compose(
        "T1",
        "cq-met@warning.example",
        now,
        "11B03",
        "暴雨",
        Level.RED,
        "暴雨红色预警",
        "将有大暴雨。",
        "请转移。",
        areas=[geocode_area("合川区", ["500117000000"])],
        expires=now + timedelta(hours=3),
        sender_name="重庆市气象台",
    )
    path = tmp_path / "warning.xml"
    path.write_bytes(to_xml(alert))
    return path


def test_lint_passes_a_good_alert(warning: Path, capsys: Capture) -> None:
    assert main(["alert", "lint", str(warning)]) == 0
    assert ": valid" in capsys.readouterr().out


def test_lint_says_no_to_a_bad_alert_and_why(warning: Path, tmp_path: Path, capsys: Capture) -> None:
    bad = tmp_path / "bad.xml"
    bad.write_text(warning.read_text(encoding="utf-8").replace("Extreme", "Enormous"), encoding="utf-8")
    assert main(["alert", "lint", str(warning), str(bad)]) == 1
    said = capsys.readouterr().out
    assert f"{warning}: valid" in said
    assert f"{bad}: NOT valid" in said
    assert "Enormous" in said


def test_lint_gives_json_for_programs(warning: Path, tmp_path: Path, capsys: Capture) -> None:
    bad = tmp_path / "bad.xml"
    bad.write_text("<alert", encoding="utf-8")
    assert main(["alert", "lint", "--json", str(warning), str(bad)]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert first["alerts"][0]["valid"] is True
    assert first["alerts"][0]["identifier"] == "T1"
    assert second["alerts"][0]["valid"] is False
    assert second["alerts"][0]["findings"]


def test_lint_of_a_file_that_is_not_there_is_misuse(tmp_path: Path, capsys: Capture) -> None:
    assert main(["alert", "lint", str(tmp_path / "none.xml")]) == 2
    assert "No such file" in capsys.readouterr().err


# ── submit ────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[tuple[str, str | None, bytes]]]]:
    """A server that gives one answer, and what it was asked."""
    asked: list[tuple[str, str | None, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers["Authorization"], data))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_submit_posts_the_file_as_it_is_with_the_token(
    warning: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("FENGHUO_TOKEN", "fh_abc")
    with answering(202, b'{"id": "A1"}') as (url, asked):
        assert main(["alert", "submit", str(warning), "--url", url]) == 0
    assert asked == [("/v1/alerts", "Bearer fh_abc", warning.read_bytes())]
    assert json.loads(capsys.readouterr().out) == {"id": "A1"}


@pytest.mark.parametrize("body", [b'{"title": "refused"}', b"<html>"])
def test_submit_says_no_when_the_broker_refuses(
    warning: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, body: bytes
) -> None:
    monkeypatch.setenv("FENGHUO_TOKEN", "fh_abc")
    with answering(422, body) as (url, _):
        assert main(["alert", "submit", str(warning), "--url", url]) == 1
    captured = capsys.readouterr()
    assert "refused" in captured.out or "422" in captured.err


def test_submit_says_no_when_nobody_answers(
    warning: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("FENGHUO_TOKEN", "fh_abc")
    with answering(200, b"{}") as (url, _):
        pass  # now its port is free again
    assert main(["alert", "submit", str(warning), "--url", url]) == 1
    assert "no answer" in capsys.readouterr().err


def test_submit_without_a_token_or_a_file_is_misuse(
    warning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.delenv("FENGHUO_TOKEN", raising=False)
    assert main(["alert", "submit", str(warning)]) == 2
    monkeypatch.setenv("FENGHUO_TOKEN", "fh_abc")
    assert main(["alert", "submit", str(tmp_path / "none.xml")]) == 2
    assert "none.xml: No such file" in capsys.readouterr().err


# ── tokens, keys, registry ────────────────────────────────────────────────────────────────────────────


def test_a_token_is_shown_once_listed_by_id_and_can_be_revoked(config: Path, capsys: Capture) -> None:
    where = ["--config", str(config)]
    assert main(["department", "token", "meteorology", "--release", *where]) == 0
    made = capsys.readouterr()
    token, name = made.out.strip(), made.err.split(":")[0]
    assert token.startswith("fh_")
    assert main(["department", "tokens", *where]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith(f"{name}\tmeteorology\t")
    assert "alerts:release" in listed
    assert listed.strip().endswith("valid")
    assert token not in listed
    assert main(["department", "revoke", name, *where]) == 0
    assert main(["department", "tokens", *where]) == 0
    assert "ended" in capsys.readouterr().out
    assert main(["department", "revoke", "nobody", *where]) == 1


@pytest.mark.parametrize(
    ("options", "realm", "scopes"),
    [
        ([], "live", "alerts:post,alerts:read"),
        (["--drill"], "drill", "alerts:post,alerts:read"),
        (["--drill", "--release"], "drill", "alerts:post,alerts:read,alerts:release"),
        (["--machine"], "live", "alerts:post,alerts:read,alerts:machine"),
    ],
)
def test_a_token_is_of_one_realm_and_has_the_scopes_that_were_asked_for(
    config: Path, capsys: Capture, options: list[str], realm: str, scopes: str
) -> None:
    assert main(["department", "token", "meteorology", *options, "--config", str(config)]) == 0
    capsys.readouterr()
    assert main(["department", "tokens", "--config", str(config)]) == 0
    assert capsys.readouterr().out.strip().split("\t")[1:] == ["meteorology", realm, scopes, "valid"]


def test_a_machine_that_releases_is_misuse(config: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["department", "token", "meteorology", "--machine", "--release", "--config", str(config)])
    assert caught.value.code == 2


def test_a_token_that_is_over_before_it_begins_is_misuse(config: Path) -> None:
    for days in ("0", "-1", "soon"):
        with pytest.raises(SystemExit) as refused:
            main(["department", "token", "meteorology", "--days", days, "--config", str(config)])
        assert refused.value.code == 2


def test_what_a_shell_caught_along_with_a_token_is_said_to_be_no_token(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("FENGHUO_TOKEN", "a warning\nfh_abc")
    assert main(["alert", "status", "abc"]) == 2
    assert "FENGHUO_TOKEN" in capsys.readouterr().err


def test_a_token_for_an_unknown_department_is_refused(config: Path, capsys: Capture) -> None:
    assert main(["department", "token", "astrology", "--config", str(config)]) == 1
    assert "no department 'astrology'" in capsys.readouterr().err


def test_a_new_key_seals_and_the_old_one_still_opens(config: Path) -> None:
    path = config.parent / "address.keys"
    sealed = Keyring.load(path).seal(pack(["1"]), "c")
    assert main(["keys", "new", "--config", str(config)]) == 0
    assert len(path.read_text().splitlines()) == 2
    assert Keyring.load(path).open(sealed, "c").tolist() == [b"1"]
    assert path.stat().st_mode & 0o077 == 0, "for its owner only"


HEADER = "id,channel,address,holder,kind,region,lon,lat,groups,language\n"
ROW = "{id},sms,8613800{id:06d},{id},public,500117001005,,,,zh-CN\n"


def test_importing_says_no_when_a_row_is_wrong_and_names_its_line(
    config: Path, tmp_path: Path, capsys: Capture
) -> None:
    where = ["--config", str(config)]
    file = tmp_path / "people.csv"
    file.write_text(HEADER + ROW.format(id=1) + ROW.format(id=2), encoding="utf-8")
    assert main(["registry", "import", str(file), *where]) == 0
    assert "2 added" in capsys.readouterr().out
    file.write_text(HEADER + ROW.format(id=3) + ROW.format(id=4).replace("sms", "pigeon"), encoding="utf-8")
    assert main(["registry", "import", str(file), *where]) == 1
    captured = capsys.readouterr()
    assert ":3: " in captured.err
    assert "1 added" in captured.out
    assert "8613800" not in captured.err + captured.out
    assert main(["registry", "stats", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["sms"]["recipients"] == 3
    assert main(["registry", "export", *where]) == 0
    assert "8613800000001" not in capsys.readouterr().out
    assert main(["registry", "export", "--clear", *where]) == 0
    assert "8613800000001" in capsys.readouterr().out


def test_importing_a_file_that_is_not_there_is_misuse(config: Path, tmp_path: Path) -> None:
    assert main(["registry", "import", str(tmp_path / "none.csv"), "--config", str(config)]) == 2


# ── parked ────────────────────────────────────────────────────────────────────────────────────────────


def park(config: Path) -> int:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    headers: dict[str, object] = {"batch": 7, "odd": b"\x00\xff", "when": at, "list": [1]}
    ms = int(1000 * at.timestamp())
    found: int = in_store(config, lambda store: store.park("sms.urgent", "unreadable", ms, headers, b"x"))
    return found


def parked(config: Path) -> list[int]:
    found = in_store(config, lambda store: store.parked())
    return [entry.id for entry in found]


def test_what_is_parked_is_listed_whatever_its_headers_hold(config: Path, capsys: Capture) -> None:
    where = ["--config", str(config)]
    assert main(["parked", "list", *where]) == 0
    assert "nothing is parked" in capsys.readouterr().err
    number = park(config)
    assert main(["parked", "list", *where]) == 0
    assert f"{number}\t2026-01-02 00:00:00Z\tsms.urgent\tbatch 7\tunreadable" in capsys.readouterr().out
    assert main(["parked", "list", "--json", *where]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["id"], entry["queue"], entry["headers"]["batch"]) == (number, "sms.urgent", 7)
    assert entry["headers"]["odd"] == "00ff"


def test_what_is_dropped_is_gone_and_cannot_be_dropped_again(config: Path) -> None:
    number = park(config)
    assert main(["parked", "drop", str(number), "--config", str(config)]) == 0
    assert parked(config) == []
    assert main(["parked", "drop", str(number), "--config", str(config)]) == 1


def test_retrying_in_the_embedded_form_is_misuse_and_loses_nothing(config: Path) -> None:
    number = park(config)
    assert main(["parked", "retry", str(number), "--config", str(config)]) == 2
    assert parked(config) == [number]


class _Server(EmbeddedTransport):
    """Queues that stand in for a server's; may refuse."""

    refuses = False

    def __init__(self, published: list[tuple[str, Message]]) -> None:
        super().__init__()
        self._seen = published

    async def publish(self, queue: str, message: Message, *, delay: float = 0.0) -> None:
        if self.refuses:
            raise TransportError("no confirm")
        await super().publish(queue, message, delay=delay)
        self._seen.append((queue, message))


def test_a_parked_message_is_forgotten_only_when_its_queue_has_it(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    published: list[tuple[str, Message]] = []
    server = _Server(published)
    monkeypatch.setattr("broker.commands.parked.open_transport", lambda *_args, **_kwargs: server)
    config.write_text(config.read_text(encoding="utf-8").replace('"embedded:"', "amqp://x"), encoding="utf-8")
    number = park(config)
    server.refuses = True
    assert main(["parked", "retry", str(number), "--config", str(config)]) == 1
    assert "no confirm" in capsys.readouterr().err
    assert parked(config) == [number], "it is still there"
    server.refuses = False
    assert main(["parked", "retry", str(number), "--config", str(config)]) == 0
    assert parked(config) == []
    ((queue, message),) = published
    assert (queue, message.body, message.headers["batch"]) == ("sms.urgent", b"x", 7)
    assert main(["parked", "retry", str(number), "--config", str(config)]) == 1
