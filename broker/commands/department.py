"""`fenghuo department`: tokens for the departments."""

from __future__ import annotations

import argparse
import sys

from broker.clock import from_ms, now_ms
from broker.commands.common import Subparsers, add_config, run, store_of
from broker.intake import tokens
from broker.intake.departments import Departments
from broker.types import Realm


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("department", help="tokens for the departments")
    inner = parser.add_subparsers(required=True, metavar="ACTION")
    token = inner.add_parser("token", help="make a token and show it once")
    token.add_argument("department", help="a department's id, as in departments.yaml")
    token.add_argument("--days", type=_days, help="valid for so many days (default: until revoked)")
    token.add_argument(
        "--drill", action="store_true", help="posts and releases Exercise and Test, and nothing live"
    )
    role = token.add_mutually_exclusive_group()
    role.add_argument("--release", action="store_true", help="may also release alerts of others in the department")
    role.add_argument("--machine", action="store_true", help="a sensor's: held to the department's machine limits")
    add_config(token)
    token.set_defaults(command=lambda args: run(_token(args)))
    listing = inner.add_parser("tokens", help="list tokens")
    add_config(listing)
    listing.set_defaults(command=lambda args: run(_list(args)))
    revoke = inner.add_parser("revoke", help="revoke a token")
    revoke.add_argument("token", help="the token's id, as in the list")
    add_config(revoke)
    revoke.set_defaults(command=lambda args: run(_revoke(args)))


def _days(text: str) -> int:
    days = int(text)
    if days < 1:
        raise argparse.ArgumentTypeError("a token is valid for a day at least")
    return days


async def _token(args: argparse.Namespace) -> int:
    async with store_of(args) as (settings, store):
        department = Departments.load(settings.files.departments).get(args.department)
        scopes = [tokens.Scope.POST, tokens.Scope.READ]
        if args.release:
            scopes.append(tokens.Scope.RELEASE)
        if args.machine:
            scopes.append(tokens.Scope.MACHINE)
        realm = Realm.DRILL if args.drill else Realm.LIVE
        token, record = tokens.new(department.id, scopes, days=args.days, realm=realm)
        await store.add_token(record)
        print(f"{record.id}: keep it well, it is not shown again", file=sys.stderr)
        print(token)
    return 0


async def _list(args: argparse.Namespace) -> int:
    async with store_of(args) as (_, store):
        for token in await store.tokens():
            ended = token.revoked or (token.expires if (token.expires or now_ms()) < now_ms() else None)
            until = f"ended {from_ms(ended):%Y-%m-%d}" if ended else "valid"
            print(f"{token.id}\t{token.department}\t{token.realm}\t{','.join(token.scopes)}\t{until}")
    return 0


async def _revoke(args: argparse.Namespace) -> int:
    async with store_of(args) as (_, store):
        if await store.revoke_token(args.token, now_ms()):
            return 0
        print(f"no token {args.token}", file=sys.stderr)
        return 1
