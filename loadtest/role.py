"""Some roles of a broker as a process, whose only channel is one that answers at once.

python -m loadtest.role --config FILE ROLE…
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import uvloop

from broker import logs
from broker.app import WORKER, App, all_roles, settle
from broker.sealing import Keyring
from broker.settings import Settings
from broker.store.contract import Store
from broker.transport.contract import Transport
from broker.types import ChannelName
from channels.worker import Worker, WorkerSettings
from loadtest.instant import InstantChannel


@dataclass(slots=True)
class InstantApp(App):
    """The broker as it is, but for the last mile."""

    async def _start_worker(
        self, name: ChannelName, store: Store, transport: Transport, keyring: Keyring, owner: str
    ) -> None:
        worker = Worker(
            InstantChannel(),
            store,
            transport,
            keyring,
            self.metrics,
            owner=f"{owner}-{name}",
            settings=self.settings.workers.get(name, WorkerSettings()),
            shards=self.settings.shards,
        )
        await worker.start()
        self._stack.push_async_callback(worker.close)
        self._watch(worker.run(), f"{WORKER}{name}")
        self.workers[name] = worker


async def serve(settings: Settings, roles: tuple[str, ...]) -> None:
    """Run until SIGTERM; says on standard output where it listens."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = InstantApp(settings, roles)
    await app.start()
    settle()
    sys.stdout.write(json.dumps({"ready": True, "url": app.server.url if app.server else None}) + "\n")
    sys.stdout.flush()
    try:
        await app.run(stop)
    finally:
        await app.close()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--profile", type=Path, help="write a profile (cProfile) of this process to FILE")
    parser.add_argument("--log-level", default="warning", choices=("info", "warning"))
    parser.add_argument("roles", nargs="*", help="default: all, in one process")
    args = parser.parse_args()
    logs.configure(args.log_level)
    settings = Settings.load(args.config)
    roles = tuple(args.roles) or all_roles(settings)
    profile = cProfile.Profile() if args.profile else None
    if profile is not None:
        profile.enable()
    try:
        uvloop.run(serve(settings, roles))
    finally:
        if profile is not None:
            profile.disable()
            profile.dump_stats(args.profile)


if __name__ == "__main__":
    main()
