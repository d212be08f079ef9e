"""`fenghuo user`: people who sign in to the pages."""

from __future__ import annotations

import argparse
import sys

from broker.commands.common import Subparsers, add_config, run, store_of
from broker.dashboard.accounts import new_person


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("user", help="people who sign in to the pages")
    inner = parser.add_subparsers(required=True, metavar="ACTION")
    new = inner.add_parser("add", help="add a person and show the password once")
    new.add_argument("name")
    new.add_argument("--replace", action="store_true", help="give an existing person a new password")
    new.add_argument("--role", default="operator", choices=("operator",))
    add_config(new)
    new.set_defaults(command=lambda args: run(_add(args)))


async def _add(args: argparse.Namespace) -> int:
    async with store_of(args) as (_, store):
        password = await new_person(store, args.name, args.role, replace=args.replace)
    print(f"{args.name}: keep this password well, it is not shown again", file=sys.stderr)
    print(password)
    return 0
