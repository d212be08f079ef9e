"""`fenghuo keys`: keys that seal addresses."""

from __future__ import annotations

import argparse
import os
import sys

from broker.commands.common import Subparsers, add_config
from broker.sealing import Keyring
from broker.settings import Settings


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("keys", help="keys that seal the recipients' addresses")
    inner = parser.add_subparsers(required=True, metavar="ACTION")
    new = inner.add_parser("new", help="put a new key in front: it seals from now on, the older ones still open")
    add_config(new)
    new.set_defaults(command=_new)


def _new(args: argparse.Namespace) -> int:
    path = Settings.load(args.config).address_keys
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    former = path.read_text() if path.exists() else ""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(Keyring.new_line() + "\n" + former)
    fresh.replace(path)
    print(f"a new address key is in {path}; keep a copy, without it the addresses cannot be read", file=sys.stderr)
    return 0
