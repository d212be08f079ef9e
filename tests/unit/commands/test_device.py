"""`fenghuo device`: tokens and accounts that really let devices in."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from broker.cli import main
from broker.mqtt.access import Accounts
from broker.sealing import KEYS_VARIABLE
from broker.settings import Settings
from broker.signing.sign import Signer
from channels.mailbox.tokens import Gate, load_secret

ROOT = Path(__file__).parents[3]
SPEAKERS = ("65001170010050314010401", "65001170010050314010402")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of the project in a folder of its own, with every key made."""
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    folder = tmp_path / "config"
    folder.mkdir()
    path = folder / "fenghuo.yaml"
    text = (ROOT / "config" / "fenghuo.yaml").read_text()
    for name in ("regions/divisions.csv", "regions/districts.geojson"):
        text = text.replace(f" {name}", f" {ROOT}/config/{name}")
    path.write_text(text)
    assert main(["keys", "init", "--config", str(path)]) == 0
    assert Signer.of(Settings.load(path).signing) is not None
    return path


def _import(config: Path, *speakers: str) -> None:
    header = "id,channel,address,holder,kind,region,lon,lat,groups,language"
    kind = {"1": "public", "2": "training"}
    rows = [
        ",".join([str(number), "broadcast", ebrid, str(number), kind[ebrid[-1]], ebrid[1:13], ",,,zh-CN"])
        for number, ebrid in enumerate(speakers, 1)
    ]
    table = config.parent / "speakers.csv"
    table.write_text("\n".join([header, *rows]) + "\n")
    assert main(["registry", "import", str(table), "--config", str(config)]) == 0


def test_a_token_is_what_the_channel_lets_in(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["device", "token", "signage", "townhall-1", "--config", str(config)]) == 0
    header, row = csv.reader(capsys.readouterr().out.splitlines())
    assert header == ["id", "token"]
    gate = Gate(load_secret(config.parent.parent / "data/keys/signage.secret"), "signage")
    assert gate.admits(row[0], f"Bearer {row[1]}")
    assert not gate.admits("townhall-2", f"Bearer {row[1]}")


def test_what_names_no_device_gets_no_token(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["device", "token", "app", "no device", "--config", str(config)]) == 2
    assert capsys.readouterr().out == ""


def test_every_loudspeaker_gets_an_account_and_keeps_it(config: Path, tmp_path: Path) -> None:
    table = tmp_path / "terminals.csv"
    _import(config, SPEAKERS[0])
    assert main(["device", "terminals", str(table), "--config", str(config)]) == 0
    before = table.read_text().splitlines()
    _import(config, *SPEAKERS)
    assert main(["device", "terminals", str(table), "--config", str(config)]) == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert table.read_text().splitlines()[:2] == before, "who has an account keeps its password"
    assert [(row["ebrid"], row["training"]) for row in rows] == [(SPEAKERS[0], "0"), (SPEAKERS[1], "1")]
    assert table.stat().st_mode & 0o077 == 0
    accounts = Accounts.load(tmp_path / "data/keys/mqtt.jsonl")
    for row in rows:
        assert accounts.find(row["ebrid"], row["password"].encode()) is not None
    assert (
        accounts.find("fenghuo-broadcast", (tmp_path / "data/keys/mqtt.password").read_bytes().strip()) is not None
    )


def test_mosquitto_gets_the_same_accounts(config: Path, tmp_path: Path) -> None:
    _import(config, *SPEAKERS)
    folder = tmp_path / "mosquitto"
    words = ["device", "terminals", str(tmp_path / "t.csv"), "--mosquitto", str(folder), "--config", str(config)]
    assert main(words) == 0
    named = {line.partition(":")[0] for line in (folder / "passwords").read_text().splitlines()}
    assert named == {*SPEAKERS, "fenghuo-broadcast"}
