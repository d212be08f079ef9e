"""What is configured wrongly is said before anything runs, and never with the password."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.clock import from_ms, now_ms
from broker.errors import ChannelError
from channels.channel import ChannelContext
from channels.sms.channel import SmsChannel, absolute_time
from channels.sms.settings import SmsSettings


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"password": "a", "password_file": "b"},
        {"password": "a", "port": 0},
        {"password": "a", "system_id": "x" * 16},
        {"password": "a", "window": 3, "max_parts": 4},
        {"password": "a", "submit_id_form": "decimal"},
        {"password": "a", "passwort": "b"},
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SmsSettings.model_validate(values)


def test_the_password_is_read_from_the_first_line_of_its_file_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("geheim12\nsomething else\n")
    settings = SmsSettings(password_file=path)
    assert settings.read_password() == "geheim12"
    assert "geheim12" not in repr(SmsSettings.model_validate({"password": "geheim12"}))


@pytest.mark.parametrize("password", ["", "too-long-for-smpp", "不行"])
async def test_a_password_that_smpp_cannot_carry_ends_the_start_at_once(tmp_path: Path, password: str) -> None:
    path = tmp_path / "password"
    path.write_text(password)

    async def none(*_: object) -> list:
        return []

    channel = SmsChannel(SmsSettings(password_file=path))
    with pytest.raises(ChannelError, match="password") as error:
        await channel.start(ChannelContext(none, none, none, none))
    assert not channel.healthy
    assert not password or password not in str(error.value)


def test_an_expiry_is_an_absolute_time_in_utc() -> None:
    assert absolute_time(1_795_478_400_950) == "261124000000900+"


def _simulate(*options: str, password: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "FENGHUO_SMSC_PASSWORD"}
    if password is not None:
        environment["FENGHUO_SMSC_PASSWORD"] = password
    command = [sys.executable, "-m", "channels.sms.simulator", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_a_simulator_without_a_password_does_not_start() -> None:
    done = _simulate(password=None)
    assert done.returncode == 2
    assert "--password-file" in done.stderr
    assert done.stdout == ""


def test_a_simulator_does_not_add_to_a_file_that_is_not_its_log(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n")
    done = _simulate("--log", str(path), password="geheim12")
    assert done.returncode == 2
    assert "notes.txt" in done.stderr
    assert path.read_text() == "my notes\n"


@pytest.mark.parametrize("option", [("--undeliverable", "1.5"), ("--rate", "-1"), ("--receipt-form", "fax")])
def test_a_simulator_refuses_options_that_make_no_sense(option: tuple[str, str]) -> None:
    assert _simulate(*option, password="geheim12").returncode == 2


def test_an_expiry_whose_year_two_digits_cannot_tell_is_cut_to_what_message_centres_keep() -> None:
    thirty_days = now_ms() + 30 * 86_400_000
    assert absolute_time(3_944_678_400_000)[:6] == f"{from_ms(thirty_days):%y%m%d}"
