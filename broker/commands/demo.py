"""`fenghuo demo`: the main job, with everything it needs, in one command."""

from __future__ import annotations

import argparse
from pathlib import Path

from broker.commands.common import Subparsers
from broker.commands.common import run as run_loop
from broker.demo.setup import Where
from broker.demo.world import Size


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "demo", help="a Chongqing day: departments post, villages receive", description=__doc__
    )
    parser.add_argument("--once", action="store_true", help="end by itself; exit 0 only if everything agrees")
    parser.add_argument("--json", action="store_true", help="one JSON object, last on standard output")
    parser.add_argument("--data", type=Path, default=Path("data/demo"), metavar="DIR", help="default data/demo")
    parser.add_argument("--port", type=int, default=8080, help="of the API and the dashboard; 0 takes a free one")
    parser.add_argument("--amqp", metavar="URL", help="run each role as a process, on this RabbitMQ …")
    parser.add_argument("--database", metavar="URL", help="… this PostgreSQL, and a private Mosquitto")
    parser.add_argument("--timeout", type=float, default=240.0, metavar="S", help="give up after S seconds")
    size = Size()
    parser.add_argument("--phones", type=int, default=size.phones)
    parser.add_argument("--loudspeakers", type=int, default=size.loudspeakers)
    parser.add_argument("--installations", type=int, default=size.installations)
    parser.add_argument("--screens", type=int, default=size.screens)
    parser.set_defaults(command=lambda args: _demo(parser, args))


def _demo(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    if bool(args.amqp) != bool(args.database):
        parser.error("--amqp and --database go together")
    # Here, because a demo needs every part and the other commands should start quickly.
    from broker.demo.run import Options, run

    options = Options(
        folder=args.data,
        once=args.once,
        json=args.json,
        where=Where(store=args.database, transport=args.amqp, port=args.port),
        size=Size(args.phones, args.loudspeakers, args.installations, args.screens),
        timeout=args.timeout,
    )
    return run_loop(run(options))
