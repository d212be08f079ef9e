"""`fenghuo keys`: keys and secrets that the configuration names."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from broker.commands.common import Subparsers, add_config
from broker.mqtt.access import Account, Accounts
from broker.privately import write_private
from broker.sealing import Keyring
from broker.settings import Settings
from broker.signing.generate import new_pair
from channels.broadcast.keys import SigningKey
from channels.broadcast.provision import broadcaster_login

_PUBLISHER: Final = "Fenghuo"
"""The name in our own certificate, where nobody made one with another."""


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("keys", help="keys and secrets that the configuration names")
    inner = parser.add_subparsers(required=True, metavar="ACTION")
    init = inner.add_parser("init", help="make every key and secret that is missing; existing ones stay")
    add_config(init)
    init.set_defaults(command=_init)
    new = inner.add_parser(
        "new", help="put a new address key in front: it seals from now on, older ones still open"
    )
    add_config(new)
    new.set_defaults(command=_new)


def _init(args: argparse.Namespace) -> int:
    made = list(_missing(Settings.load(args.config)))
    for path, what in made:
        print(f"{path}: {what}")
    if not made:
        print("nothing is missing", file=sys.stderr)
    return 0


def _missing(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Make what is missing and tell of each."""
    channels = settings.channels
    if not settings.address_keys.exists():
        write_private(settings.address_keys, Keyring.new_line() + "\n")
        yield settings.address_keys, "address key; keep a copy, without it the recipients cannot be reached"
    certificate, own = settings.signing.certificate, settings.signing.key
    if certificate is not None and own is not None and not certificate.exists() and not own.exists():
        public, private = new_pair(_PUBLISHER)
        write_private(own, private)
        write_private(certificate, public)
        yield own, "private key that signs what the public feeds carry"
        yield certificate, "its certificate, valid for two years; give it to whoever reads the feeds"
    if (
        channels.sms is not None
        and channels.sms.password_file is not None
        and not channels.sms.password_file.exists()
    ):
        # SMPP passwords have at most eight characters (SMPP 3.4, 5.2.2).
        write_private(channels.sms.password_file, secrets.token_hex(4) + "\n")
        yield channels.sms.password_file, "SMPP password; replace it by the one that the operator gave you"
    for mailbox in (channels.app, channels.signage):
        if mailbox is not None and not mailbox.secret_file.exists():
            write_private(mailbox.secret_file, secrets.token_hex(32) + "\n")
            yield mailbox.secret_file, "secret from which the devices' tokens are derived"
    if (broadcast := channels.broadcast) is None:
        return
    if not broadcast.password_file.exists():
        write_private(broadcast.password_file, secrets.token_urlsafe(32) + "\n")
        yield broadcast.password_file, "password of the broadcaster at the MQTT server"
    if not broadcast.signing_key.exists():
        key = SigningKey.generate(broadcast.key_id)
        broadcast.signing_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key.save(broadcast.signing_key)
        yield broadcast.signing_key, f"signing key; terminals must trust: {key.public_line()}"
    if settings.embedded_mqtt is not None and not settings.embedded_mqtt.credentials.exists():
        login = broadcaster_login(broadcast.username, broadcast.password_file.read_text().strip())
        settings.embedded_mqtt.credentials.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        Accounts([Account.of(login)]).save(settings.embedded_mqtt.credentials)
        yield settings.embedded_mqtt.credentials, "accounts of the MQTT server: the broadcaster"


def _new(args: argparse.Namespace) -> int:
    path = Settings.load(args.config).address_keys
    former = path.read_text() if path.exists() else ""
    fresh = path.with_suffix(".new")
    write_private(fresh, Keyring.new_line() + "\n" + former)
    fresh.replace(path)
    print(f"a new address key is in {path}; keep a copy, without it the addresses cannot be read", file=sys.stderr)
    return 0
