"""`python -m loadtest SCENARIO [--json]` measures; `python -m loadtest report` runs all and writes the report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import uvloop

from broker.errors import FenghuoError
from loadtest import fanout, intake, report
from loadtest.scenario import Result, Scenario, say

SCENARIOS: Final = (fanout.SCENARIO, intake.SCENARIO)


def main() -> int:
    """Exit code 0 if it was measured, 1 if a round did not end as it must, 2 for misuse."""
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="SCENARIO")
    for scenario in SCENARIOS:
        command = commands.add_parser(scenario.name, help=scenario.help)
        scenario.add_arguments(command)
        command.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
        command.set_defaults(run=lambda args, scenario=scenario: _measure(scenario, args))
    everything = commands.add_parser("report", help="run all scenarios and write docs/benchmarks.md")
    everything.add_argument("--docs", type=Path, default=Path("docs"), metavar="FOLDER")
    everything.add_argument("--only", action="append", metavar="NAME", help="measure only these anew")
    everything.set_defaults(run=lambda args: report.write(SCENARIOS, args.docs, only=args.only))
    args = parser.parse_args()
    try:
        return int(args.run(args))
    except FenghuoError as error:
        say(str(error))
        return 1


def _measure(scenario: Scenario, args: argparse.Namespace) -> int:
    async def work() -> Result:
        return await scenario.run(args)

    result = uvloop.run(work())
    if args.json:
        print(result.json(), flush=True)
    else:
        print("\n".join(report.lines(result)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
