"""`fenghuo registry`: the recipients."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from broker.audience.export import export_csv, stats
from broker.audience.importer import import_csv
from broker.audience.index import AudienceIndex
from broker.commands.common import Subparsers, add_config, run, store_of
from broker.geo.regions import Regions
from broker.sealing import Keyring

_SHOWN = 200


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("registry", help="the recipients: import, export, stats")
    inner = parser.add_subparsers(required=True, metavar="ACTION")
    importing = inner.add_parser("import", help="add or replace the recipients of a CSV file")
    importing.add_argument("file", type=Path, metavar="FILE")
    importing.add_argument("--strict", action="store_true", help="import nothing if any row is wrong")
    add_config(importing)
    importing.set_defaults(command=lambda args: run(_import(args)))
    exporting = inner.add_parser("export", help="write all recipients as CSV to standard output")
    exporting.add_argument("--clear", action="store_true", help="with addresses in the clear, not masked")
    add_config(exporting)
    exporting.set_defaults(command=lambda args: run(_export(args)))
    counting = inner.add_parser("stats", help="how many, by channel, kind and district")
    counting.add_argument("--json", action="store_true")
    add_config(counting)
    counting.set_defaults(command=lambda args: run(_stats(args)))


async def _import(args: argparse.Namespace) -> int:
    if not args.file.is_file():
        print(f"{args.file}: no such file", file=sys.stderr)
        return 2
    async with store_of(args) as (settings, store):
        keyring = Keyring.load(settings.address_keys)
        regions = Regions.load(settings.files.divisions)
        report = await import_csv(args.file, store, keyring, regions, strict=args.strict)
    for problem in report.problems[:_SHOWN]:
        print(problem, file=sys.stderr)
    if len(report.problems) > _SHOWN:
        print(f"… and {len(report.problems) - _SHOWN} more problems", file=sys.stderr)
    print(
        f"{report.rows} rows read, {report.added} added, {report.replaced} replaced, "
        f"{len(report.problems)} problems"
    )
    return 1 if report.problems else 0


async def _export(args: argparse.Namespace) -> int:
    async with store_of(args) as (settings, store):
        await export_csv(store, Keyring.load(settings.address_keys), sys.stdout, mask=not args.clear)
    return 0


async def _stats(args: argparse.Namespace) -> int:
    async with store_of(args) as (settings, store):
        found = stats(await AudienceIndex.load(store), Regions.load(settings.files.divisions))
    if args.json:
        print(json.dumps({str(name): numbers.as_dict() for name, numbers in found.items()}, ensure_ascii=False))
        return 0
    for name, numbers in found.items():
        print(f"{name}: {numbers.recipients:,} recipients")
        for key, value in numbers.as_dict().items():
            if key != "recipients":
                print(f"  {key}: {value}")
    return 0
