"""`fenghuo parked`: messages that nobody could handle."""

from __future__ import annotations

import argparse
import json
import sys

from broker.clock import from_ms
from broker.commands.common import Subparsers, add_config, run, store_of
from broker.errors import NotFound
from broker.transport.contract import Message
from broker.transport.factory import open_transport

_ALL = 1_000_000


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("parked", help="messages that nobody could handle")
    inner = parser.add_subparsers(required=True, metavar="ACTION")
    listing = inner.add_parser("list", help="list them with their reasons")
    listing.add_argument("--json", action="store_true")
    add_config(listing)
    listing.set_defaults(command=lambda args: run(_list(args)))
    for name, text, work in (
        ("retry", "publish one again (RabbitMQ only: the embedded form retries open work when it starts)", _retry),
        ("drop", "forget one", _drop),
    ):
        action = inner.add_parser(name, help=text)
        action.add_argument("id", type=int)
        add_config(action)
        action.set_defaults(command=lambda args, work=work: run(work(args)))


async def _list(args: argparse.Namespace) -> int:
    async with store_of(args) as (_, store):
        entries = await store.parked(limit=1000)
    if args.json:
        keys = ("id", "queue", "reason", "parked", "headers")
        shown = [{key: getattr(entry, key) for key in keys} for entry in entries]
        print(json.dumps(shown, ensure_ascii=False, default=_as_text))
    else:
        for entry in entries:
            batch = entry.headers.get("batch", "?")
            print(f"{entry.id}\t{from_ms(entry.parked):%F %T}Z\t{entry.queue}\tbatch {batch}\t{entry.reason}")
        if not entries:
            print("nothing is parked", file=sys.stderr)
    return 0


def _as_text(value: object) -> str:
    """Headers hold bytes and times too, which JSON does not know."""
    return value.hex() if isinstance(value, bytes) else str(value)


async def _retry(args: argparse.Namespace) -> int:
    async with store_of(args) as (settings, store):
        if settings.embedded:
            print("the embedded form publishes open work anew whenever it starts", file=sys.stderr)
            return 2
        transport = open_transport(settings.transport, settings.shards, prefix=settings.queue_prefix)
        await transport.start()
        try:
            entry = next((each for each in await store.parked(limit=_ALL) if each.id == args.id), None)
            if entry is None:
                print(f"no parked message {args.id}", file=sys.stderr)
                return 1
            headers = {key: value for key, value in entry.headers.items() if isinstance(value, str | int | bytes)}
            # Taken out only when the queue has it: sent twice does no harm, lost would.
            await transport.publish(entry.queue, Message(headers, entry.body, f"parked-{entry.id}"))
            await store.unpark(args.id)
        finally:
            await transport.close()
    return 0


async def _drop(args: argparse.Namespace) -> int:
    async with store_of(args) as (_, store):
        try:
            await store.unpark(args.id)
        except NotFound as error:
            print(error, file=sys.stderr)
            return 1
    return 0
