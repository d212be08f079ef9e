"""`fenghuo alert` against a running API: a day's work without curl."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.cap import read
from broker.cap.model import MsgType
from broker.cli import main
from broker.commands.alert import TOKEN_VARIABLE
from broker.intake.tokens import Scope
from tests.support.broker import CAREFUL, Api, alert_xml

Command = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def command(api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `fenghuo alert …` as whoever has `token`; its exit code and what it printed."""

    async def run(token: str, *words: str) -> tuple[int, str]:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
        capsys.readouterr()
        code = await asyncio.to_thread(main, ["alert", *words, "--url", api.server.url + "/"])
        # The server logs into the same stream; what the command says begins with a bracket of JSON or XML.
        said = capsys.readouterr().out
        return code, said[min((at for at in (said.find("\n{"), said.find("<?xml")) if at >= 0), default=0) :]

    return run


async def test_submit_preview_release_and_cancel_by_command(api: Api, command: Command, tmp_path: Path) -> None:
    author = await api.token(CAREFUL)
    second = await api.token(CAREFUL, scopes=(Scope.READ, Scope.RELEASE))
    file = tmp_path / "alert.xml"
    file.write_text(alert_xml(sender=f"{CAREFUL}@warning.example"))

    async def told(token: str, *words: str) -> Any:
        code, said = await command(token, *words)
        assert code == 0, said
        return json.loads(said)

    alert = (await told(author, "submit", str(file)))["id"]
    preview = (await told(second, "preview", alert))["preview"]
    assert (await command(author, "release", alert, "--preview", preview))[0] == 1
    assert (await told(second, "release", alert, "--preview", preview))["state"] == "released"
    code, prepared = await command(author, "cancel", alert, "--show")
    message = read(prepared.strip().encode(), "xml").alert
    assert message is not None
    assert (code, message.msg_type) == (0, MsgType.CANCEL)
    cancel = await told(author, "cancel", alert, "--reason", "发布有误", "--key", "k")
    assert (await told(author, "cancel", alert, "--reason", "发布有误", "--key", "k")) == cancel
    shown = await told(author, "status", alert)
    assert [each["id"] for each in shown["referred_by"]] == [cancel["id"]]


async def test_reject_by_command_says_why(api: Api, command: Command, tmp_path: Path) -> None:
    author = await api.token(CAREFUL)
    posted = await api.post(
        alert_xml(sender=f"{CAREFUL}@warning.example"), headers={"Authorization": f"Bearer {author}"}
    )

    code, said = await command(author, "reject", posted.json()["id"], "--reason", "wrong river")

    assert (code, json.loads(said)["state"]) == (0, "rejected")
    assert (await command(author, "reject", posted.json()["id"], "--reason", "again"))[0] == 1
    assert (await command("", "status", posted.json()["id"]))[0] == 2


@pytest.mark.parametrize(
    "words", [("cancel", "x"), ("release", "x"), ("reject", "x"), ("cancel", "x", "--show", "--reason", "r")]
)
def test_what_must_be_said_is_asked_for(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["alert", *words])
    assert end.value.code == 2


@pytest.mark.parametrize("given", ["../../metrics", "a/b", "", "%2e%2e", "x?y=z#"])
async def test_an_id_cannot_lead_the_command_elsewhere(api: Api, command: Command, given: str) -> None:
    code, said = await command(await api.token(CAREFUL), "status", given)

    assert code == 1
    assert json.loads(said)["code"] == "not-found"
