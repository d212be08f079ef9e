"""Pulls every configured feed at its time; several processes share the work."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from prometheus_client import CollectorRegistry

from broker import logs
from broker.clock import now_ms
from broker.errors import StoreError
from broker.feeds.health import FeedMetrics
from broker.feeds.pull import Pull
from broker.feeds.settings import FeedsFile, FeedSource
from broker.intake.foreign import ForeignIntake
from broker.store.contract import Store

_TOGETHER: Final = 8
_LONGEST_SLEEP_S: Final = 15.0
"""So that a feed that a person has pulled by hand, or another process, is seen in the gauges soon."""


class FeedPuller:
    """The task of a role: `run` until cancelled."""

    def __init__(
        self,
        store: Store,
        foreign: ForeignIntake,
        feeds: FeedsFile,
        registry: CollectorRegistry,
        *,
        owner: str | None = None,
        shortest_sleep_s: float = 1.0,
    ) -> None:
        """Raises ConfigError if a feed's certificates cannot be read."""
        self._store = store
        self._owner = f"{owner or 'feeds'}-{secrets.token_hex(4)}"
        self._pulls = [(feed, Pull(store, foreign, feed)) for feed in feeds.feeds]
        self._metrics = FeedMetrics(registry, (feed.name for feed in feeds.feeds))
        self._turns = asyncio.Semaphore(_TOGETHER)
        self._shortest = shortest_sleep_s
        self._log = logs.get(role="feeds")

    async def run(self) -> None:
        """Every feed by itself, so that a slow one delays no other; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for feed, pull in self._pulls:
                tasks.create_task(self._watch(feed, pull), name=f"feed:{feed.name}")
            # A role does not end, with no feed either.
            await asyncio.Event().wait()

    async def _watch(self, feed: FeedSource, pull: Pull) -> None:
        while True:
            pause = self._shortest
            try:
                known = await self._store.feed(feed.name)
                due_in = 0.0 if known is None else (known.next_try - now_ms()) / 1000
                if due_in > 0:
                    pause = min(max(due_in, self._shortest), _LONGEST_SLEEP_S)
                else:
                    async with self._turns:
                        report = await pull.run(self._owner)
                    if report is not None:
                        self._metrics.count(report)
                    known = await self._store.feed(feed.name)
                if known is not None:
                    self._metrics.show(known)
            except StoreError as error:
                self._log.warning("feed_postponed", feed=feed.name, reason=str(error))
                pause = max(pause, 1.0)
            except Exception:  # noqa: BLE001 - the last fence
                # A fault of ours with one feed must not end the role, and the others with it.
                self._log.exception("feed_fault", feed=feed.name)
                pause = _LONGEST_SLEEP_S
            await asyncio.sleep(pause)
