"""`fenghuo device`: what devices need to be let in."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from broker.commands.common import Subparsers, add_config, run, store_of

if TYPE_CHECKING:
    from broker.mqtt.access import Login
    from broker.settings import Settings


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("device", help="what devices need to be let in: tokens, terminals' accounts")
    inner = parser.add_subparsers(required=True, metavar="ACTION")
    token = inner.add_parser("token", help="tokens of app installations or screens, as CSV on standard output")
    token.add_argument("channel", choices=("app", "signage"))
    token.add_argument("ids", nargs="+", metavar="ID", help="ids as they stand in the registry")
    add_config(token)
    token.set_defaults(command=_token)
    terminals = inner.add_parser(
        "terminals", help="an MQTT account for every loudspeaker of the registry; those that have one keep it"
    )
    terminals.add_argument(
        "file", type=Path, metavar="FILE", help="CSV for the installers: ebrid,password,training"
    )
    terminals.add_argument("--mosquitto", type=Path, metavar="DIR", help="write Mosquitto's configuration there")
    terminals.add_argument("--host", default="127.0.0.1", help="where Mosquitto listens (default %(default)s)")
    add_config(terminals)
    terminals.set_defaults(command=lambda args: run(_terminals(args)))


def _token(args: argparse.Namespace) -> int:
    from broker.settings import Settings
    from channels.mailbox.tokens import device_token, is_device_id, load_secret

    settings = Settings.load(args.config)
    mailbox = settings.channels.app if args.channel == "app" else settings.channels.signage
    if mailbox is None:
        print(f"the channel {args.channel} is not configured", file=sys.stderr)
        return 2
    if wrong := [device for device in args.ids if not is_device_id(device)]:
        print(f"no ids of devices: {', '.join(map(repr, wrong))}", file=sys.stderr)
        return 2
    secret = load_secret(mailbox.secret_file)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(("id", "token"))
    rows.writerows((device, device_token(secret, args.channel, device)) for device in args.ids)
    return 0


async def _terminals(args: argparse.Namespace) -> int:
    from broker.sealing import Keyring, page_context
    from broker.types import ChannelName, Kind
    from channels.broadcast.provision import load_terminals, new_terminals, save_terminals

    known = {row.ebrid: row for row in load_terminals(args.file)} if args.file.exists() else {}
    drilling: dict[str, bool] = {}
    async with store_of(args) as (settings, store):
        if settings.channels.broadcast is None:
            print("the channel broadcast is not configured", file=sys.stderr)
            return 2
        keyring = Keyring.load(settings.address_keys)
        async for page in store.pages(ChannelName.BROADCAST):
            opened = keyring.open(page.addresses, page_context(page.channel, page.number))
            kinds = (page.kinds == Kind.TRAINING).tolist()
            drilling |= dict(zip((address.decode() for address in opened.tolist()), kinds, strict=True))
    training = [ebrid for ebrid, drills in drilling.items() if drills]
    fresh = new_terminals(drilling.keys() - known.keys(), training)
    rows = sorted([*(known[ebrid] for ebrid in drilling if ebrid in known), *fresh], key=lambda row: row.ebrid)
    save_terminals(args.file, rows)
    print(f"{args.file}: {len(rows)} terminals, {len(fresh)} of them new", file=sys.stderr)
    _hand_over(settings, args.mosquitto, args.host, [row.login for row in rows])
    return 0


def _hand_over(settings: Settings, mosquitto: Path | None, host: str, terminals: list[Login]) -> None:
    """Give the accounts to the MQTT server."""
    from broker.mqtt.access import Account, Accounts
    from broker.mqtt.mosquitto import write_configuration
    from channels.broadcast.provision import broadcaster_login

    broadcast = settings.channels.broadcast
    assert broadcast is not None
    broadcaster = broadcaster_login(broadcast.username, broadcast.password_file.read_text().strip())
    if settings.embedded_mqtt is not None:
        credentials = settings.embedded_mqtt.credentials
        Accounts(map(Account.of, (broadcaster, *terminals))).save(credentials)
        print(f"{credentials}: written; the broker reads it when it starts", file=sys.stderr)
    if mosquitto is not None:
        port = int(broadcast.url.rpartition(":")[2])
        path = write_configuration(mosquitto.resolve(), (broadcaster, *terminals), port=port, host=host)
        print(f"{path}: written; start with mosquitto -c {path}, or send a running one SIGHUP", file=sys.stderr)
