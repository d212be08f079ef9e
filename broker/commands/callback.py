"""`fenghuo callback`: where departments are told of the states of their alerts."""

from __future__ import annotations

import argparse
import json
import sys

from broker.clock import from_ms
from broker.commands.common import Subparsers, add_config, run, store_of


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("callback", help="where departments are told of their alerts' states")
    inner = parser.add_subparsers(required=True, metavar="ACTION")
    adding = inner.add_parser("add", help="register an address and show its secret once")
    adding.add_argument("department", help="a department's id, as in departments.yaml")
    adding.add_argument("url", help="https address that takes POST; http only for this machine")
    adding.add_argument("--states", default="", help="states to tell of, with commas between (default: all)")
    listing = inner.add_parser("list", help="list callbacks, without queries and secrets")
    listing.add_argument("--json", action="store_true")
    remove = inner.add_parser("remove", help="remove a callback and what waits for it")
    remove.add_argument("id")
    test = inner.add_parser("test", help="send a signed test request; 1 if the answer is not 2xx")
    test.add_argument("id")
    told = inner.add_parser("deliveries", help="what was told, newest first, and what waits or was given up")
    told.add_argument("--callback", metavar="ID")
    told.add_argument("--outcome", choices=("waiting", "delivered", "given_up"))
    told.add_argument("--limit", type=int, default=100)
    told.add_argument("--json", action="store_true")
    for action, work in (
        (adding, _add),
        (listing, _list),
        (remove, _remove),
        (test, _test),
        (told, _deliveries),
    ):
        add_config(action)
        action.set_defaults(command=lambda args, work=work: run(work(args)))


async def _add(args: argparse.Namespace) -> int:
    from broker.callbacks import registration
    from broker.errors import InputRefused
    from broker.intake.departments import Departments
    from broker.sealing import Keyring

    async with store_of(args) as (settings, store):
        department = Departments.load(settings.files.departments).get(args.department)
        states = [state.strip() for state in args.states.split(",") if state.strip()]
        try:
            secret, record = registration.new(department.id, args.url, states, Keyring.load(settings.address_keys))
        except InputRefused as error:
            for problem in error.problems:
                print(problem, file=sys.stderr)
            return 2
        await store.add_callback(record)
    print(f"{record.id}: keep the secret well, it is not shown again", file=sys.stderr)
    print(secret)
    return 0


async def _list(args: argparse.Namespace) -> int:
    async with store_of(args) as (_, store):
        found = await store.callbacks()
    if args.json:
        shown = [
            {
                "id": each.id,
                "department": each.department,
                "url": each.shown,
                "states": [str(state) for state in each.states],
                "created": from_ms(each.created).isoformat(),
            }
            for each in found
        ]
        print(json.dumps(shown, ensure_ascii=False))
        return 0
    for each in found:
        states = ",".join(map(str, each.states)) or "all states"
        print(f"{each.id}\t{each.department}\t{each.shown}\t{states}\tsince {from_ms(each.created):%F}")
    if not found:
        print("no department is called back", file=sys.stderr)
    return 0


async def _remove(args: argparse.Namespace) -> int:
    async with store_of(args) as (_, store):
        if await store.remove_callback(args.id):
            return 0
    print(f"no callback {args.id}", file=sys.stderr)
    return 1


async def _test(args: argparse.Namespace) -> int:
    from broker.callbacks.registration import target
    from broker.callbacks.sending import post, session
    from broker.sealing import Keyring

    async with store_of(args) as (settings, store):
        record = await store.callback(args.id)
        to = target(record, Keyring.load(settings.address_keys))
        async with session(10.0) as client:
            body = json.dumps({"delivery": f"{record.id}-test", "test": True}).encode()
            answer = await post(client, to, f"{record.id}-test", body)
    if answer.error is None:
        print(f"{record.shown} answered {answer.status}")
        return 0
    print(f"{record.shown}: {answer.error}", file=sys.stderr)
    return 1


async def _deliveries(args: argparse.Namespace) -> int:
    from broker.store.outside_records import DeliveryOutcome

    outcomes = () if args.outcome is None else (DeliveryOutcome(args.outcome),)
    async with store_of(args) as (_, store):
        found = await store.deliveries(callback=args.callback, outcomes=outcomes, limit=args.limit)
    if args.json:
        shown = [
            {
                "delivery": each.public_id,
                "alert": each.alert,
                "state": str(each.state),
                "at": from_ms(each.at).isoformat(),
                "outcome": str(each.outcome),
                "attempts": each.attempts,
                "status": each.status,
                "error": each.error,
                "next_try": from_ms(each.next_try).isoformat() if each.closed is None else None,
            }
            for each in found
        ]
        print(json.dumps(shown, ensure_ascii=False))
        return 0
    for each in found:
        line = f"{each.public_id}\t{each.alert}\t{each.state}\t{each.outcome}\t{each.attempts} tries"
        print(f"{line}\t{each.error or ''}".rstrip())
    if not found:
        print("nothing was to be told", file=sys.stderr)
    return 0
