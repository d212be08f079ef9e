"""`fenghuo feed` and `fenghuo callback` from the command line, on a store and servers of their own."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import structlog

from broker.cli import main
from broker.sealing import KEYS_VARIABLE, Keyring
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.types import AlertState
from tests.support.pulling import atom, message

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
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    (tmp_path / "address.keys").write_text(Keyring.new_line() + "\n")
    path = tmp_path / "fenghuo.yaml"
    path.write_text(
        f"""\
data: data
store: sqlite:///fenghuo.db
address_keys: address.keys
files:
  divisions: {ROOT}/config/regions/divisions.csv
  districts: {ROOT}/config/regions/districts.geojson
  events: {ROOT}/config/events.yaml
  departments: {ROOT}/config/departments.yaml
  policies: {ROOT}/policies
  templates: {ROOT}/templates
""",
        encoding="utf-8",
    )
    return path


class _Handler(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, bytes]] = {}
    posted: ClassVar[list[tuple[dict[str, str], bytes]]] = []

    def do_GET(self) -> None:
        body = self.answers.get(self.path.partition("?")[0])
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append((dict(self.headers), body))
        self.send_response(200 if self.path.startswith("/hook") else 500)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


@pytest.fixture
def far() -> Iterator[str]:
    """Address of a server in a thread of its own, for the commands bring their own loop."""
    _Handler.answers, _Handler.posted = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fenghuo(config: Path, *words: str) -> int:
    return main([*words, "--config", str(config)])


def alerts(config: Path) -> list[tuple[str, AlertState, str]]:
    async def read() -> list[tuple[str, AlertState, str]]:
        store: Store = open_store(f"sqlite:///{config.parent / 'fenghuo.db'}")
        await store.start()
        try:
            return [(alert.identifier, alert.state, alert.author) for alert in await store.alerts()]
        finally:
            await store.close()

    return asyncio.run(read())


def test_a_feed_is_pulled_listed_and_shown(config: Path, far: str, capsys: Capture) -> None:
    _Handler.answers = {"/feed": atom(("a", "2026-06-18T01:30:00Z", "one"), ("b", "2026-06-18T01:30:00Z", "two"))}
    _Handler.answers |= {"/one": message(identifier="one"), "/two": b"<nothing/>"}
    pull = ("feed", "pull", f"{far}/feed?key=secret", "--department", "met-hechuan", "--allow-private")
    assert fenghuo(config, *pull, "--dry-run", "--json") == 0
    tried = json.loads(capsys.readouterr().out)
    assert {item["outcome"] for item in tried["items"]} == {"imported", "refused"}
    assert alerts(config) == []
    assert fenghuo(config, *pull, "--name", "neighbour") == 0
    assert "2 entries, 1 imported, 1 refused" in capsys.readouterr().err
    assert alerts(config) == [("one", AlertState.AWAITING_RELEASE, "feed:neighbour")]
    assert fenghuo(config, "feed", "list", "--json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["name"], listed["imported"], listed["refused"], listed["failures"]) == ("neighbour", 1, 1, 0)
    assert listed["url"] == f"{far}/feed"
    assert fenghuo(config, "feed", "show", "neighbour", "--outcome", "refused") == 0
    shown = capsys.readouterr().out
    assert "cap.root" in shown
    assert "secret" not in shown + json.dumps(listed)


def test_a_feed_that_cannot_be_read_is_the_answer_no(config: Path, far: str, capsys: Capture) -> None:
    pull = ("feed", "pull", f"{far}/gone", "--department", "met-hechuan", "--allow-private", "--name", "gone")
    assert fenghuo(config, *pull) == 1
    assert "404" in capsys.readouterr().err
    assert fenghuo(config, "feed", "list") == 0
    assert "1 failures" in capsys.readouterr().out


def test_a_feed_of_the_file_is_pulled_by_its_name(config: Path, far: str, capsys: Capture) -> None:
    _Handler.answers = {"/feed": message(identifier="one")}
    (config.parent / "feeds.yaml").write_text(
        f"feeds:\n  - {{name: city, url: '{far}/feed', department: met-hechuan, allow_private: true}}\n"
    )
    assert fenghuo(config, "feed", "list") == 0
    assert "city\tnever tried" in capsys.readouterr().out
    assert fenghuo(config, "feed", "pull", "city") == 0
    assert alerts(config) == [("one", AlertState.AWAITING_RELEASE, "feed:city")]
    assert fenghuo(config, "feed", "pull", "town") == 2
    assert "there are: city" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("https://a.example/",),
        ("https://a.example/", "--department", "meteorology", "--profile", "nonsense"),
        ("ftp://a.example/", "--department", "meteorology"),
    ],
)
def test_a_pull_that_makes_no_sense_is_misuse(config: Path, words: tuple[str, ...], capsys: Capture) -> None:
    assert fenghuo(config, "feed", "pull", *words) == 2
    assert capsys.readouterr().err


def test_an_unknown_department_or_feed_is_the_answer_no(config: Path, far: str, capsys: Capture) -> None:
    assert fenghuo(config, "feed", "pull", f"{far}/feed", "--department", "navy") == 1
    assert "no department 'navy'" in capsys.readouterr().err
    assert fenghuo(config, "feed", "show", "nothing") == 1


def test_a_callback_is_added_tested_listed_and_removed(config: Path, far: str, capsys: Capture) -> None:
    assert (
        fenghuo(config, "callback", "add", "geology", f"{far}/hook?key=topsecret", "--states", "planned, stopped")
        == 0
    )
    said = capsys.readouterr()
    secret, callback = said.out.strip(), said.err.partition(":")[0]
    assert secret.startswith("fhs_")
    assert fenghuo(config, "callback", "test", callback) == 0
    ((headers, body),) = _Handler.posted
    assert json.loads(body) == {"delivery": f"{callback}-test", "test": True}
    assert headers["Fenghuo-Signature"].startswith("v1=")
    assert fenghuo(config, "callback", "list", "--json") == 0
    (listed,) = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (listed["url"], listed["states"]) == (f"{far}/hook", ["planned", "stopped"])
    assert fenghuo(config, "callback", "deliveries", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert fenghuo(config, "callback", "remove", callback) == 0
    assert fenghuo(config, "callback", "remove", callback) == 1
    assert fenghuo(config, "callback", "list") == 0
    said = capsys.readouterr()
    assert secret not in said.out + said.err
    assert "topsecret" not in said.out + said.err


def test_a_callback_that_does_not_answer_well_is_the_answer_no(config: Path, far: str, capsys: Capture) -> None:
    assert fenghuo(config, "callback", "add", "geology", f"{far}/broken") == 0
    callback = capsys.readouterr().err.partition(":")[0]
    assert fenghuo(config, "callback", "test", callback) == 1
    assert "answered 500" in capsys.readouterr().err


def test_a_callback_that_must_not_be_is_misuse(config: Path, capsys: Capture) -> None:
    assert fenghuo(config, "callback", "add", "geology", "http://a.example/", "--states", "sent") == 2
    told = capsys.readouterr().err
    assert "callback.https" in told
    assert "callback.state" in told
    assert fenghuo(config, "callback", "add", "navy", "https://a.example/") == 1
