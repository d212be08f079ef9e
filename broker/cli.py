"""`fenghuo`: every command, its options and its exit code (0 good, 1 the answer is no, 2 misuse)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from broker.errors import ConfigError, FenghuoError


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from broker.commands import alert, check, demo, department, keys, parked, registry, serve, simulate, user

    top = argparse.ArgumentParser(prog="fenghuo", description="Early-warning dissemination broker 烽火")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for module in (demo, serve, check, alert, department, user, registry, keys, parked, simulate):
        module.add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    args = parser().parse_args(argv)
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
