"""`fenghuo feed`: alerts of others, pulled for our people to look at."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from broker.clock import from_ms, now_ms
from broker.commands.common import Subparsers, add_config, run, store_of

if TYPE_CHECKING:
    from broker.feeds.pull import PullReport
    from broker.feeds.settings import FeedSource
    from broker.intake.foreign import ForeignIntake
    from broker.settings import Settings
    from broker.store.contract import Store
    from broker.store.outside_records import FeedItem


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("feed", help="alerts of others: pull them, see how their feeds do")
    inner = parser.add_subparsers(required=True, metavar="ACTION")
    pull = inner.add_parser(
        "pull", help="pull a feed now; what it brings waits for release; 1 if it cannot be read"
    )
    pull.add_argument("url", metavar="URL|NAME", help="an address, or the name of a feed in feeds.yaml")
    pull.add_argument("--department", help="whose people release what comes (with an address)")
    pull.add_argument("--name", help="names an address that is in no file (default: its host)")
    pull.add_argument("--profile", help="a profile whose rules hold too; `national` reads the national format")
    pull.add_argument("--allow-private", action="store_true", help="may lead to addresses of our own network")
    pull.add_argument("--dry-run", action="store_true", help="keep nothing, only say what would come of it")
    pull.add_argument("--json", action="store_true")
    listing = inner.add_parser("list", help="how every feed is doing")
    listing.add_argument("--json", action="store_true")
    show = inner.add_parser("show", help="what a feed brought and what was refused, with the findings")
    show.add_argument("name")
    show.add_argument("--outcome", choices=("imported", "known", "refused", "waiting"))
    show.add_argument("--limit", type=int, default=100)
    show.add_argument("--json", action="store_true")
    for action, work in ((pull, _pull), (listing, _list), (show, _show)):
        add_config(action)
        action.add_argument(
            "--feeds", type=Path, metavar="FILE", help="the feeds (default: feeds.yaml beside the configuration)"
        )
        action.set_defaults(command=lambda args, work=work: run(work(args)))


def _file(args: argparse.Namespace) -> Path:
    given: Path | None = args.feeds
    beside: Path = args.config.parent / "feeds.yaml"
    return given or beside


async def _pull(args: argparse.Namespace) -> int:
    from broker.feeds.pull import Pull

    source = _source(args)
    if source is None:
        return 2
    async with store_of(args) as (settings, store):
        pull = Pull(store, _foreign(settings, store, source), source)
        report = await pull.dry_run() if args.dry_run else await pull.run("command", due=False)
    if report is None:
        print(f"another process is pulling {source.name}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(_report(report), ensure_ascii=False))
    else:
        _print(report, dry=args.dry_run)
    return 0 if report.error is None else 1


def _source(args: argparse.Namespace) -> FeedSource | None:
    """The feed that the command line names; None, and said why, when it cannot be told."""
    from pydantic import ValidationError

    from broker.feeds.settings import FeedSource, load_feeds

    known = load_feeds(_file(args))
    if "://" not in args.url:
        found = known.get(args.url)
        if found is None:
            names = ", ".join(feed.name for feed in known.feeds) or "none"
            print(f"no feed {args.url!r} in {_file(args)}; there are: {names}", file=sys.stderr)
        return found
    if args.department is None:
        print("--department says whose people release what comes from this address", file=sys.stderr)
        return None
    name = args.name or re.sub(r"[^a-z0-9]+", "-", (urlsplit(args.url).hostname or "feed").lower()).strip("-")[:63]
    try:
        return FeedSource(
            name=name,
            url=args.url,
            department=args.department,
            profile=args.profile,
            allow_private=args.allow_private,
        )
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            print(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}", file=sys.stderr)
        return None


def _foreign(settings: Settings, store: Store, source: FeedSource) -> ForeignIntake:
    from broker.geo.districts import Districts
    from broker.geo.events import EventCatalogue
    from broker.geo.regions import Regions
    from broker.intake.authority import Authority
    from broker.intake.departments import Departments
    from broker.intake.foreign import ForeignIntake

    files = settings.files
    departments = Departments.load(files.departments)
    departments.get(source.department)
    authority = Authority(
        Regions.load(files.divisions), Districts.load(files.districts), EventCatalogue.load(files.events)
    )
    return ForeignIntake(store, departments, authority)


def _report(report: PullReport) -> dict[str, Any]:
    return {
        "feed": report.feed,
        "url": report.shown,
        "error": report.error,
        "unchanged": report.unchanged,
        "listed": report.listed,
        "items": [_item(item) for item in report.items],
        "findings": list(report.findings),
    }


def _item(item: FeedItem) -> dict[str, Any]:
    return {
        "place": item.place,
        "outcome": str(item.outcome),
        "identifier": item.identifier,
        "sender": item.sender,
        "alert": item.alert,
        "tries": item.tries,
        "first_seen": from_ms(item.first_seen).isoformat(),
        "findings": list(item.findings),
    }


def _print(report: PullReport, *, dry: bool) -> None:
    if report.error is not None:
        print(f"{report.feed}: {report.error}", file=sys.stderr)
    for item in report.items:
        _print_item(item)
    counts: dict[str, int] = {}
    for item in report.items:
        counts[str(item.outcome)] = counts.get(str(item.outcome), 0) + 1
    told = ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())) or "nothing new"
    kept = "; nothing was kept" if dry else ""
    print(f"{report.feed}: {report.listed} entries, {told}{kept}", file=sys.stderr)


def _print_item(item: FeedItem) -> None:
    print(f"{item.outcome}\t{item.identifier or item.place}\t{item.alert or ''}".rstrip())
    for finding in item.findings:
        print(f"\t{finding['severity']}\t{finding['place']}: {finding['message']} [{finding['rule']}]")


async def _list(args: argparse.Namespace) -> int:
    from broker.feeds.settings import load_feeds

    configured = {feed.name for feed in load_feeds(_file(args)).feeds}
    async with store_of(args) as (_, store):
        found = {feed.name: feed for feed in await store.feeds()}
    if args.json:
        shown = [
            {
                "name": name,
                "configured": name in configured,
                "url": feed.shown if feed else None,
                "tried": from_ms(feed.tried).isoformat() if feed and feed.tried else None,
                "succeeded": from_ms(feed.succeeded).isoformat() if feed and feed.succeeded else None,
                "failures": feed.failures if feed else 0,
                "listed": feed.listed if feed else 0,
                "seen": feed.seen if feed else 0,
                "imported": feed.imported if feed else 0,
                "refused": feed.refused if feed else 0,
                "error": feed.error if feed else None,
                "next_try": from_ms(feed.next_try).isoformat() if feed and feed.next_try else None,
            }
            for name in sorted({*configured, *found})
            for feed in (found.get(name),)
        ]
        print(json.dumps(shown, ensure_ascii=False))
        return 0
    for name in sorted({*configured, *found}):
        feed = found.get(name)
        if feed is None:
            print(f"{name}\tnever tried")
            continue
        ago = f"{(now_ms() - feed.succeeded) // 1000} s ago" if feed.succeeded else "never"
        counts = f"{feed.seen} seen, {feed.imported} imported, {feed.refused} refused"
        trouble = f"{feed.failures} failures: {feed.error}" if feed.failures else "good"
        print(f"{name}\t{feed.shown}\tlast success {ago}\t{counts}\t{trouble}")
    if not configured and not found:
        print("no feeds", file=sys.stderr)
    return 0


async def _show(args: argparse.Namespace) -> int:
    from broker.store.outside_records import ItemOutcome

    outcomes = () if args.outcome is None else (ItemOutcome(args.outcome),)
    async with store_of(args) as (_, store):
        feed = await store.feed(args.name)
        found = await store.items(args.name, outcomes=outcomes, limit=args.limit)
    if feed is None:
        print(f"no feed {args.name!r} was ever pulled", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps([_item(item) for item in found], ensure_ascii=False))
        return 0
    for item in found:
        _print_item(item)
    if feed.error is not None:
        print(f"{feed.name}: {feed.error}", file=sys.stderr)
    return 0
