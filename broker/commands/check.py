"""`fenghuo check`: everything that the server reads, with the server's own loaders."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from broker.audience.policies import load_policies
from broker.commands.common import Subparsers, add_config
from broker.errors import ConfigError
from broker.geo.districts import Districts
from broker.geo.events import EventCatalogue
from broker.geo.regions import Regions
from broker.intake.departments import Departments
from broker.rendition.templates import TemplateSet
from broker.sealing import Keyring
from broker.settings import Settings


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
    loaders: tuple[tuple[str, Callable[[], object]], ...] = (
        ("divisions", lambda: f"{len(Regions.load(files.divisions)):,} divisions"),
        ("districts", lambda: f"{len(Districts.load(files.districts))} outlines"),
        ("events", lambda: f"{len(EventCatalogue.load(files.events))} event codes"),
        ("departments", lambda: f"{len(list(Departments.load(files.departments)))} departments"),
        ("policies", lambda: f"{len(load_policies(files.policies).rules)} rules"),
        ("templates", lambda: f"{len(list(TemplateSet.load(files.templates)))} templates"),
        ("address keys", lambda: Keyring.load(settings.address_keys) and "present"),
    )
    print(f"{args.config}: good, channels {', '.join(settings.channels.names()) or 'none'}")
    good = True
    for name, load in loaders:
        try:
            print(f"{name}: {load()}")
        except ConfigError as error:
            good = False
            print(f"{name}: NOT good")
            _say(error)
    return 0 if good else 1


def _say(error: ConfigError) -> None:
    for problem in error.problems:
        print(f"  {problem}")
