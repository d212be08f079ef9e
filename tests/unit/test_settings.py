"""The configuration file: every key known, every problem with its line, every path from the file's own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.app import App, all_roles, channel_of
from broker.errors import ChannelError, ConfigError, Problem
from broker.settings import Settings
from broker.types import ChannelName

ROOT = Path(__file__).parents[2]

WHOLE = """\
data: ../data
store: sqlite:///../data/x.db
transport: "embedded:"
channels:
  sms:
    password_file: keys/smpp
    port: 2776
  app:
    secret_file: /etc/fenghuo/app.secret
workers:
  sms: {per_second: 100, max_attempts: 3}
embedded_mqtt:
  credentials: keys/mqtt
  journal: ../journal
"""


def loaded(folder: Path, text: str) -> Settings:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fenghuo.yaml"
    path.write_text(text, encoding="utf-8")
    return Settings.load(path)


def problems(folder: Path, text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return caught.value.problems


def test_relative_paths_are_taken_from_the_file_and_absolute_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    settings = loaded(tmp_path / "etc", WHOLE)
    assert settings.data == tmp_path / "data"
    assert settings.store == f"sqlite:///{tmp_path}/data/x.db"
    assert settings.channels.sms is not None
    assert settings.channels.sms.password_file == tmp_path / "etc/keys/smpp"
    assert settings.channels.app is not None
    assert settings.channels.app.secret_file == Path("/etc/fenghuo/app.secret")
    assert settings.embedded_mqtt is not None
    assert settings.embedded_mqtt.journal == tmp_path / "journal"
    assert settings.files.divisions == tmp_path / "etc/regions/divisions.csv", "defaults too"


@pytest.mark.parametrize(
    ("store", "resolved"),
    [
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
        ("postgresql://u@db/fenghuo", "postgresql://u@db/fenghuo"),
    ],
)
def test_a_store_that_is_no_relative_file_stays_as_it_is(tmp_path: Path, store: str, resolved: str) -> None:
    assert loaded(tmp_path, f'store: "{store}"\n').store == resolved


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "")
    assert settings.embedded
    assert settings.channels.names() == ()
    assert settings.listen.port != settings.dashboard.port


def test_an_unknown_key_is_refused_with_its_line_and_what_may_have_been_meant(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "data: ../data\nlisten:\n  host: 127.0.0.1\n  prot: 8080\n")
    assert problem.place == f"{tmp_path}/fenghuo.yaml:4"
    assert "unknown key 'prot' in listen" in problem.message
    assert "did you mean 'port'?" in problem.message


def test_every_problem_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    text = """\
shard: 2
shards: 0
channels:
  sms:
    port: 99999999
  broadcast:
    url: mqtt://x
workers:
  smss: {per_second: -1}
"""
    found = problems(tmp_path, text)
    lines = {int(problem.place.rpartition(":")[2]) for problem in found}
    assert {1, 2, 5, 6, 9} <= lines
    messages = "\n".join(problem.message for problem in found)
    assert "did you mean 'shards'?" in messages
    assert "'signing_key' is missing in channels.broadcast" in messages


def test_a_key_that_comes_twice_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "shards: 1\nshards: 2\n")
    assert problem.rule == "yaml.duplicate_key"


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        Settings.load(tmp_path / "nowhere.yaml")


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "channels: {sms: {password: s3cret}}\n")
    assert "s3cret" not in repr(settings)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = loaded(tmp_path, WHOLE)
    with pytest.raises(ValueError, match="frozen"):
        settings.shards = 3  # type: ignore[misc]


def test_the_configuration_that_is_shipped_is_good() -> None:
    settings = Settings.load(ROOT / "config/fenghuo.yaml")
    assert settings.channels.names() == tuple(ChannelName)
    for path in (settings.files.divisions, settings.files.events, settings.files.policies):
        assert path.exists()


# ── roles ─────────────────────────────────────────────────────────────────────────────────────────────


def test_there_is_a_worker_for_each_channel_that_is_configured(tmp_path: Path) -> None:
    settings = loaded(tmp_path, WHOLE)
    assert all_roles(settings) == ("api", "dispatcher", "tracker", "worker:sms", "worker:app", "dashboard")
    with pytest.raises(ChannelError, match="signage is not configured"):
        channel_of(ChannelName.SIGNAGE, settings)


def test_the_embedded_form_refuses_half_of_the_roles(tmp_path: Path) -> None:
    settings = loaded(tmp_path, WHOLE)
    App(settings, all_roles(settings))
    for role in all_roles(settings):
        with pytest.raises(ConfigError) as caught:
            App(settings, tuple(other for other in all_roles(settings) if other != role))
        assert [problem.rule for problem in caught.value.problems] == ["role.embedded"]


def test_with_a_server_for_the_queues_any_role_may_run_alone(tmp_path: Path) -> None:
    settings = loaded(tmp_path, WHOLE.replace('"embedded:"', "amqp://rabbit/"))
    for role in all_roles(settings):
        assert App(settings, (role,)).roles == (role,)


def test_a_role_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    settings = loaded(tmp_path, WHOLE)
    with pytest.raises(ConfigError) as caught:
        App(settings, ("api", "worker:pigeon", "manager"))
    messages = [problem.message for problem in caught.value.problems]
    assert len(messages) == 2
    assert "worker:pigeon" in messages[0]
    assert "worker:sms" in messages[0]


async def test_an_app_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = loaded(tmp_path, 'transport: "embedded:"\ndata: d\nstore: sqlite:///x.db\naddress_keys: none\n')
    first = App(settings, all_roles(settings))
    with pytest.raises(ConfigError):
        await first.start()
    assert first._tasks == []
    second = App(settings, all_roles(settings))
    with pytest.raises(ConfigError) as caught:
        await second.start()
    assert "data.locked" not in {problem.rule for problem in caught.value.problems}, "the lock was given back"
