"""`fenghuo serve` and `fenghuo run`: the broker itself."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal

from broker import logs
from broker.commands.common import Subparsers, add_config, run
from broker.settings import Listen, Settings

_WATCH_S = 1.0


def add(commands: Subparsers) -> None:
    """Register the commands."""
    serve = commands.add_parser("serve", help="run every role in this process")
    serve.set_defaults(health_port=None, command=lambda args: run(_serve(args, None)))
    roles = commands.add_parser("run", help="run some roles: api dispatcher tracker worker:CHANNEL dashboard")
    roles.add_argument("roles", nargs="+", metavar="ROLE")
    roles.add_argument(
        "--health-port", type=int, metavar="N", help="metrics and readiness of roles that have no port of their own"
    )
    roles.set_defaults(command=lambda args: run(_serve(args, tuple(args.roles))))
    for parser in (serve, roles):
        add_config(parser)
        parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
        parser.add_argument("--parent", type=int, metavar="PID", help="end when the process PID has ended")


async def _serve(args: argparse.Namespace, roles: tuple[str, ...] | None) -> int:
    from broker.app import all_roles, serve

    logs.configure(args.log_level)
    settings = Settings.load(args.config)
    health = None if args.health_port is None else Listen(port=args.health_port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    watch = None if args.parent is None else asyncio.create_task(_orphaned(args.parent, stop))
    try:
        await serve(settings, roles or all_roles(settings), stop, health)
    finally:
        if watch is not None:
            watch.cancel()
    return 0


async def _orphaned(parent: int, stop: asyncio.Event) -> None:
    while True:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            stop.set()
            return
        await asyncio.sleep(_WATCH_S)
