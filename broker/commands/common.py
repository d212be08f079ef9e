"""What the commands share: the configuration file, an event loop, a store to work on."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import uvloop

if TYPE_CHECKING:
    from broker.settings import Settings
    from broker.store.contract import Store

DEFAULT_CONFIG = Path("config/fenghuo.yaml")


class Subparsers(Protocol):
    """What argparse's add_subparsers gives."""

    def add_parser(self, name: str, **kwargs: Any) -> argparse.ArgumentParser:
        """A parser for a subcommand."""
        ...


def add_config(parser: argparse.ArgumentParser) -> None:
    """The --config option."""
    parser.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"configuration (default {DEFAULT_CONFIG})",
    )


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run a command on uvloop and return its exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@asynccontextmanager
async def store_of(args: argparse.Namespace) -> AsyncIterator[tuple[Settings, Store]]:
    """The settings that --config names and their store, started."""
    # Here, so that commands which need no store start quickly.
    from broker.settings import Settings
    from broker.store.sql import open_store

    settings = Settings.load(args.config)
    store = open_store(settings.store)
    await store.start()
    try:
        yield settings, store
    finally:
        await store.close()
