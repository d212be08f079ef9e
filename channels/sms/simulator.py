"""`fenghuo simulate smsc`: a simulated SMSC as a process of its own."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import uvloop

from channels.simulating import EventLog, add_common_arguments, run_until_stopped
from channels.sms.handsets import RECEIPT_FORMS, Handsets
from channels.sms.smsc import Smsc, SmscOptions

PASSWORD_VARIABLE: Final = "FENGHUO_SMSC_PASSWORD"  # noqa: S105 - the variable's name, not a password


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the simulated SMSC."""
    add_common_arguments(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--system-id", default="fenghuo", help="the system_id that may bind")
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help=f"its first line is the password of the bind; without it, ${PASSWORD_VARIABLE}; there is no default",
    )
    parser.add_argument("--rate", type=_positive, default=0.0, help="submits a second taken; default: no limit")
    parser.add_argument(
        "--throttle",
        action="store_true",
        help="beyond --rate refuse with ESME_RTHROTTLED instead of answering late",
    )
    parser.add_argument(
        "--latency-ms", type=_positive, default=0.0, help="milliseconds from a submit to its answer"
    )
    parser.add_argument(
        "--undeliverable",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="share of addresses, 0 to 1, that get an UNDELIV receipt; which ones depends on --seed only",
    )
    parser.add_argument(
        "--receipt-delay-ms", type=_positive, default=0.0, help="milliseconds from a submit to its receipt"
    )
    parser.add_argument(
        "--receipt-form", choices=RECEIPT_FORMS, default="both", help="how receipts name message and state"
    )


async def run(args: argparse.Namespace) -> int:
    """Run until stopped; returns the exit code (2 if there is no password or the log is not readable)."""
    try:
        password = _password(args.password_file)
        log = EventLog(args.log)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    handsets = Handsets(
        log, seed=args.seed, undeliverable=args.undeliverable, receipt_delay=args.receipt_delay_ms / 1000
    )
    if args.log is not None:
        try:
            handsets.recover(EventLog.read(args.log))
        except (ValueError, KeyError) as error:
            sys.stderr.write(f"{args.log} is not the log of a simulated SMSC: {error}\n")
            return 2
    options = SmscOptions(
        system_id=args.system_id,
        password=password,
        rate=args.rate,
        throttle=args.throttle,
        latency=args.latency_ms / 1000,
        receipt_form=args.receipt_form,
    )
    smsc = Smsc(options, log, handsets)
    try:
        port = await smsc.start(args.host, args.port)
        await run_until_stopped(args, {"port": port})
    except OSError as error:
        sys.stderr.write(f"cannot listen on {args.host}:{args.port}: {error.strerror}\n")
        return 2
    finally:
        await smsc.close()
        log.close()
    return 0


def main() -> None:
    """`python -m channels.sms.simulator`."""
    parser = argparse.ArgumentParser(prog="fenghuo simulate smsc", description=__doc__)
    add_arguments(parser)
    sys.exit(uvloop.run(run(parser.parse_args())))


def _password(path: Path | None) -> str:
    if path is not None:
        lines = path.read_text().splitlines()
        password = lines[0].strip() if lines else ""
    else:
        password = os.environ.get(PASSWORD_VARIABLE, "")
    if not 1 <= len(password) <= 8 or not password.isascii():
        raise ValueError(f"--password-file or ${PASSWORD_VARIABLE} must give a password of 1 to 8 ASCII characters")
    return password


def _positive(value: str) -> float:
    number = float(value)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is not a number from 0 up")
    return number


def _share(value: str) -> float:
    number = float(value)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 1")
    return number


if __name__ == "__main__":
    main()
