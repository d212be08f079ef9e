"""`fenghuo`: every command, its options and its exit code (0 good, 1 the answer is no, 2 misuse)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from broker.errors import ConfigError, FenghuoError

COMMANDS: Final = (
    "demo",
    "serve",
    "run",
    "check",
    "alert",
    "department",
    "certificate",
    "callback",
    "feed",
    "user",
    "registry",
    "keys",
    "device",
    "parked",
    "simulate",
)
"""In the order in which help lists them."""
_MODULES: Final = {"run": "serve"}
"""Commands that stand in the module of another."""


def parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The command line; of the command that `argv` names alone, for each brings its part of the broker along."""
    named = next((word for word in argv if not word.startswith("-")), None)
    wanted = (named,) if named in COMMANDS else COMMANDS
    top = argparse.ArgumentParser(prog="fenghuo", description="Early-warning dissemination broker 烽火")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for module in dict.fromkeys(_MODULES.get(name, name) for name in wanted):
        import_module(f"broker.commands.{module}").add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    args = parser(words).parse_args(words)
    try:
        code: int = args.command(args)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    except FenghuoError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
