"""`fenghuo check`: everything that the server reads, with the server's own loaders."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from broker.audience.policies import load_policies
from broker.clock import now_ms
from broker.commands.common import Subparsers, add_config
from broker.errors import ConfigError, Problem
from broker.feeds.settings import FeedsFile, load_feeds
from broker.geo.districts import Districts
from broker.geo.events import EventCatalogue
from broker.geo.regions import Regions
from broker.intake.departments import Departments
from broker.intake.expiry import Expiry, unreachable
from broker.intake.signatures import SignatureCheck
from broker.rendition.lint import lint, missing
from broker.rendition.templates import TemplateSet
from broker.sealing import Keyring
from broker.settings import Settings
from broker.signing.sign import Signer
from broker.store.sql import open_store
from broker.transport.factory import open_transport

Found = TypeVar("Found")


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("check", help="check configuration, policies, templates")
    add_config(parser)
    parser.set_defaults(command=_check)


def _check(args: argparse.Namespace) -> int:
    try:
        settings = Settings.load(args.config)
    except ConfigError as error:
        _say(error)
        return 1
    files = settings.files
    print(f"{args.config}: good, channels {', '.join(settings.channels.names()) or 'none'}")
    loading = _Loading()
    regions = loading("divisions", lambda: Regions.load(files.divisions), lambda found: f"{len(found):,}")
    loading("districts", lambda: Districts.load(files.districts), lambda found: f"{len(found)} outlines")
    events = loading("events", lambda: EventCatalogue.load(files.events), lambda found: f"{len(found)} codes")
    departments = loading(
        "departments", lambda: Departments.load(files.departments), lambda found: str(len([*found]))
    )
    expiry_file, feeds_file = files.expiry, files.feeds
    if expiry_file is not None:
        expiry = loading("expiry", lambda: Expiry.load(expiry_file), lambda found: f"{len(found.warnings)} lines")
        loading.problems("expiry", unreachable(expiry, str(expiry_file)) if expiry else [])
    if departments:
        signatures = loading(
            "certificates",
            lambda: SignatureCheck.load(departments),
            lambda found: f"{len(found.certificates.expiries())} of departments",
        )
        loading.problems("certificates", signatures.certificates.untimely(now_ms()) if signatures else [])
    loading("signing", lambda: Signer.of(settings.signing), lambda found: "ours" if found else "none of ours")
    if feeds_file is not None and departments:
        feeds = loading("feeds", lambda: load_feeds(feeds_file), lambda found: f"{len(found.feeds)} pulled")
        loading.problems("feeds", unknown_departments(feeds, departments, feeds_file) if feeds else [])
    policies = loading("policies", lambda: load_policies(files.policies), lambda found: f"{len(found.rules)} rules")
    templates = loading("templates", lambda: TemplateSet.load(files.templates), lambda found: str(len([*found])))
    if policies and departments and events and regions:
        ids = [department.id for department in departments]
        loading.problems("policies", policies.check(departments=ids, events=events, regions=regions))
    if templates and policies:
        loading.problems("templates", [*lint(templates), *missing(templates, policies.templates())])
    loading("store", lambda: open_store(settings.store), lambda _: "a good address")
    loading("transport", lambda: open_transport(settings.transport, settings.shards), lambda _: "a good address")
    loading("address keys", lambda: Keyring.load(settings.address_keys), lambda _: "present")
    return 0 if loading.good else 1


class _Loading:
    """Loads one thing after the other and says what it found."""

    def __init__(self) -> None:
        self.good = True

    def __call__(self, name: str, load: Callable[[], Found], tell: Callable[[Found], str]) -> Found | None:
        try:
            found = load()
        except ConfigError as error:
            self.problems(name, error.problems)
            return None
        print(f"{name}: {tell(found)}")
        return found

    def problems(self, name: str, problems: list[Problem]) -> None:
        if problems:
            self.good = False
            print(f"{name}: NOT good")
            for problem in problems:
                print(f"  {problem}")


def unknown_departments(feeds: FeedsFile, departments: Departments, path: Path) -> list[Problem]:
    """Feeds that belong to no department, whose alerts nobody could release."""
    known = {department.id for department in departments}
    return [
        Problem(str(path), "feeds.department", f"feed {feed.name}: no such department", feed.department)
        for feed in feeds.feeds
        if feed.department not in known
    ]


def _say(error: ConfigError) -> None:
    for problem in error.problems:
        print(f"  {problem}")
