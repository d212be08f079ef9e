"""Lays out a demo: keys, secrets, accounts of the far ends, the configuration file, the recipients.

Everything secret is made anew for each demo folder and is good for nothing else.
"""

from __future__ import annotations

import csv
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from broker.audience.recipients import RecipientColumns, write_recipients
from broker.demo.servers import Corner
from broker.demo.world import DUTY_GROUP, PUBLIC_GROUP, SEED, Names, Size, build
from broker.geo.regions import Regions
from broker.mqtt.access import Account, Accounts, Login
from broker.ports import free_port
from broker.privately import write_private
from broker.sealing import Keyring
from broker.settings import Settings
from broker.signing.generate import new_pair
from broker.store.contract import Store
from broker.types import ChannelName, Kind
from channels.broadcast.keys import SigningKey
from channels.broadcast.provision import broadcaster_login, load_terminals, new_terminals, save_terminals
from channels.mailbox.tokens import device_token

ROOT = Path(__file__).resolve().parent.parent.parent
"""Where config/, policies/ and templates/ are."""
_BROADCASTER = "fenghuo-broadcast"
_KEY_ID = "demo-1"


@dataclass(frozen=True, slots=True)
class Where:
    """How the demo runs: embedded, or against servers."""

    store: str | None = None
    """postgresql://… in the production form."""
    transport: str | None = None
    """amqp://… in the production form."""
    port: int = 8080

    @property
    def production(self) -> bool:
        """Whether each role is a process of its own."""
        return self.store is not None


class Layout:
    """The files of a demo, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.config = self.folder / "fenghuo.yaml"
        self.keys = self.folder / "keys"
        self.accounts = self.folder / "accounts"
        self.logs = self.folder / "far-ends"
        self.alerts = self.folder / "alerts"
        self.finished = self.folder / "finished"
        self.mosquitto = self.folder / "mosquitto"
        self.mosquitto_pid = self.folder / "mosquitto.pid"
        self.corner = self.folder / "corner.json"

    def secret(self, name: str) -> Path:
        """A secret's file; made at random if it is not there."""
        path = self.keys / name
        if not path.exists():
            write_private(path, secrets.token_hex(32) + "\n")
        return path


def lay_out(layout: Layout, where: Where, corner: Corner | None) -> Settings:
    """Write keys, secrets and the configuration file where they are missing; ports are chosen anew each time.

    `corner` is the demo's own on the servers of the production form.
    """
    for folder in (
        layout.folder,
        layout.keys,
        layout.accounts,
        layout.logs,
        layout.alerts,
        layout.folder / "broker",
    ):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    address_keys = layout.keys / "address.keys"
    if not address_keys.exists():
        write_private(address_keys, Keyring.new_line() + "\n")
    signing = layout.keys / "broadcast.pem"
    if not signing.exists():
        key = SigningKey.generate(_KEY_ID)
        key.save(signing)
        write_private(layout.accounts / "trusted-keys", key.public_line() + "\n")
    smpp = layout.keys / "smpp.password"
    if not smpp.exists():
        write_private(smpp, secrets.token_hex(4) + "\n")  # SMPP passwords have at most eight characters
    publisher = layout.keys / "publisher.key"
    if not publisher.exists():
        certificate, private = new_pair("Fenghuo demo")
        write_private(publisher.with_suffix(".pem"), certificate)
        write_private(publisher, private)
    mqtt_port = free_port()
    files = {
        "divisions": ROOT / "config/regions/divisions.csv",
        "expiry": ROOT / "config/expiry.yaml",
        "districts": ROOT / "config/regions/districts.geojson",
        "events": ROOT / "config/events.yaml",
        "departments": ROOT / "config/departments.yaml",
        "policies": ROOT / "policies",
        "templates": ROOT / "templates",
    }
    config: dict[str, Any] = {
        "data": str(layout.folder / "broker"),
        "store": f"sqlite:///{layout.folder / 'broker' / 'fenghuo.db'}",
        "transport": where.transport or "embedded:",
        "address_keys": str(address_keys),
        "listen": {"port": where.port or free_port()},
        "dashboard": {"port": free_port()},
        "signing": {"certificate": str(publisher.with_suffix(".pem")), "key": str(publisher)},
        "files": {name: str(path) for name, path in files.items()},
        "channels": {
            "sms": {"port": free_port(), "system_id": "fenghuo", "password_file": str(smpp)},
            "broadcast": {
                "url": f"mqtt://127.0.0.1:{mqtt_port}",
                "username": _BROADCASTER,
                "password_file": str(layout.secret("mqtt.password")),
                "signing_key": str(signing),
                "key_id": _KEY_ID,
            },
            "app": {"port": free_port(), "secret_file": str(layout.secret("app.secret"))},
            "signage": {"port": free_port(), "secret_file": str(layout.secret("signage.secret"))},
        },
    }
    if corner is not None and where.store is not None:
        config["store"] = corner.database(where.store)
        config["queue_prefix"] = corner.prefix
    else:
        config["embedded_mqtt"] = {
            "port": mqtt_port,
            "credentials": str(layout.accounts / "mqtt.jsonl"),
            "journal": str(layout.folder / "broker" / "mqtt"),
        }
    # The database's and the queues' addresses may hold passwords.
    write_private(layout.config, yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
    return Settings.load(layout.config)


def logins(layout: Layout) -> Iterable[Login]:
    """Every account of the MQTT server."""
    yield broadcaster_login(_BROADCASTER, layout.secret("mqtt.password").read_text().strip())
    for row in load_terminals(layout.accounts / "terminals.csv"):
        yield row.login


async def fill(layout: Layout, settings: Settings, store: Store, size: Size) -> None:
    """Put the recipients into the registry and hand out the far ends' accounts, unless that is done."""
    done = layout.accounts / "filled"
    if done.exists() and await store.registry_version():
        return
    keyring = Keyring.load(settings.address_keys)
    names = Names(
        groups=await store.add_names("group", [PUBLIC_GROUP, DUTY_GROUP]),
        languages=await store.add_names("language", ["zh-CN", "en"]),
    )
    for channel, columns in build(Regions.load(settings.files.divisions), size, names):
        _accounts(layout, channel, columns)
        await write_recipients(store, keyring, channel, columns)
    Accounts(Account.of(login) for login in logins(layout)).save(layout.accounts / "mqtt.jsonl")
    done.touch()


def _accounts(layout: Layout, channel: ChannelName, columns: RecipientColumns) -> None:
    names = [address.decode() for address in columns.addresses.tolist()]
    match channel:
        case ChannelName.BROADCAST:
            training = [name for name, kind in zip(names, columns.kinds, strict=True) if kind == Kind.TRAINING]
            save_terminals(layout.accounts / "terminals.csv", new_terminals(names, training))
        case ChannelName.APP | ChannelName.SIGNAGE:
            secret = layout.secret(f"{channel}.secret").read_bytes().strip()
            path = layout.accounts / f"{channel}.csv"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["id", "token"])
                # Shuffled: those that the simulator holds open should live everywhere, not in one corner.
                np.random.default_rng(SEED).shuffle(names)
                rows.writerows((name, device_token(secret, channel, name)) for name in names)
        case ChannelName.SMS:
            pass  # phones need no account
