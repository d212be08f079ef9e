"""One poller for all who watch: reads what changed in the ledger and tells every open page the same bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from broker import logs
from broker.clock import now_ms
from broker.dashboard.views import Names, View, difference, facts, history, original, reach
from broker.errors import FenghuoError
from broker.metrics import Metrics
from broker.store.contract import Store
from broker.store.records import AlertRecord
from broker.types import AlertState

_NEWEST: Final = 60
"""So many alerts are shown; those still under way are shown beyond that."""
_UNDER_WAY: Final = (
    AlertState.AWAITING_RELEASE,
    AlertState.RELEASED,
    AlertState.PLANNED,
    AlertState.SENDING,
)
_MOVING: Final = (AlertState.PLANNED, AlertState.SENDING)
_FINISHED_EVERY: Final = 2.0
"""Seconds between two looks at the counters of a finished alert, whose receipts may still come late."""
_KEPT: Final = 16
"""Changes kept for viewers that lag; who lags farther gets the whole picture, which is less to send."""
_log = logs.get(role="dashboard")


@dataclass(slots=True)
class _Known:
    record: AlertRecord
    view: View
    version: int
    """Ledger version before the counters were read; later changes are in none of these numbers yet."""
    looked: float


class Live:
    """The live picture of all alerts, and the streams that follow it.

    The store is asked only while somebody watches, at most once per `interval` seconds, and less often when
    its answers take long. `beat` is the number of seconds after which a silent stream says that it lives.
    """

    def __init__(
        self, store: Store, names: Names, metrics: Metrics, *, interval: float = 0.25, beat: float = 15.0
    ) -> None:
        self._store = store
        self._names = names
        self._metrics = metrics
        self._interval = interval
        self._beat = beat
        self._known: dict[str, _Known] = {}
        self._version = 0
        self._revision = 0
        self._trouble = False
        self._changes: deque[bytes] = deque(maxlen=_KEPT)
        self._snapshot: bytes | None = None
        self._news = asyncio.Event()
        self._ready = asyncio.Event()
        self._viewers = 0
        self._poller: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def viewers(self) -> int:
        """How many streams are open."""
        return self._viewers

    async def close(self) -> None:
        """End every stream and the poller."""
        self._closed = True
        self._wake()
        self._ready.set()
        await self._rest()

    async def follow(self, lasts: Callable[[], bool] = lambda: True) -> AsyncGenerator[bytes, None]:
        """Frames for one viewer: the whole picture, then changes, with a beat where nothing happens.

        A viewer that takes its frames slowly is given the newest picture instead of all that it missed. Ends
        when `lasts`, asked before every frame, says no, or when the dashboard closes.
        """
        await self._join()
        try:
            await self._ready.wait()
            seen: int | None = None
            while not self._closed and lasts():
                if seen is None or self._revision - seen > len(self._changes):
                    seen = self._revision
                    yield self._whole()
                elif seen < self._revision:
                    missed = self._revision - seen
                    seen = self._revision
                    yield b"".join(list(self._changes)[-missed:])
                elif not await self._wait_for_news():
                    yield _frame("beat", {"now": now_ms()})
        finally:
            await self._leave()

    async def _wait_for_news(self) -> bool:
        news = self._news
        try:
            async with asyncio.timeout(self._beat):
                await news.wait()
        except TimeoutError:
            return False
        return True

    async def _join(self) -> None:
        self._viewers += 1
        self._metrics.viewers.set(self._viewers)
        if self._poller is None and not self._closed:
            self._ready.clear()
            self._poller = asyncio.create_task(self._run(), name="dashboard-poller")

    async def _leave(self) -> None:
        self._viewers -= 1
        self._metrics.viewers.set(self._viewers)
        if not self._viewers:
            await self._rest()

    async def _rest(self) -> None:
        poller, self._poller = self._poller, None
        if poller is not None:
            poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await poller

    async def _run(self) -> None:
        while True:
            began = monotonic()
            try:
                change = await self._look()
            except FenghuoError as error:
                self._trouble_is(True, str(error))
            except Exception:  # noqa: BLE001 - whatever one look runs into, the next may succeed, and pages say so
                _log.exception("dashboard_look_failed")
                self._trouble_is(True, "see the log")
            else:
                self._trouble_is(False, "")
                if change is not None:
                    self._publish("change", change)
            self._ready.set()
            took = monotonic() - began
            await asyncio.sleep(max(self._interval - took, took, 1.0 if self._trouble else 0.0))

    async def _look(self) -> View | None:
        """Read what may have changed; the change to tell, if any."""
        version = await self._store.ledger_version()
        records = await self._store.alerts(limit=_NEWEST)
        if len(records) == _NEWEST:
            shown = {record.id for record in records}
            older = await self._store.alerts(states=_UNDER_WAY, limit=_NEWEST)
            records += [record for record in older if record.id not in shown]
        fresh: dict[str, _Known] = {}
        for record in records:
            known = self._known.get(record.id)
            if known is None or self._is_due(known, record, version):
                fresh[record.id] = await self._read(record, known, version)
        # From here on nothing can fail, so what is remembered and what is told stay one.
        patches: list[View] = []
        for alert, now in fresh.items():
            patch = difference(self._known[alert].view if alert in self._known else {}, now.view)
            if patch is not None:
                patches.append(patch)
        self._known.update(fresh)
        gone = sorted(self._known.keys() - {record.id for record in records})
        for alert in gone:
            del self._known[alert]
        self._version = version
        return {"alerts": patches, "gone": gone} if patches or gone else None

    def _is_due(self, known: _Known, record: AlertRecord, version: int) -> bool:
        if known.record != record:
            return True
        if known.version == version:
            return False
        return record.state in _MOVING or monotonic() - known.looked >= _FINISHED_EVERY

    async def _read(self, record: AlertRecord, known: _Known | None, version: int) -> _Known:
        if known is None:
            full = await self._store.alert(record.id)
            view = await asyncio.to_thread(original, full)
        else:
            view = dict(known.view)
        view |= facts(record, self._names)
        if known is None or known.record != record:
            view["history"] = history(await self._store.alert_events(record.id))
        counters = await self._store.counters(record.id)
        curve = await self._store.curve(record.id)
        view |= reach(counters, curve)
        return _Known(record, view, version, monotonic())

    def _trouble_is(self, trouble: bool, why: str) -> None:
        if trouble and not self._trouble:
            _log.warning("dashboard_store_unreachable", error=why)
        if trouble != self._trouble:
            self._trouble = trouble
            self._publish("trouble", {"trouble": trouble})

    def _publish(self, event: str, data: View) -> None:
        self._revision += 1
        self._snapshot = None
        self._changes.append(_frame(event, {"now": now_ms()} | data, self._id()))
        self._wake()

    def _wake(self) -> None:
        # Everybody who waits holds the old event; who comes now waits for the next news.
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _whole(self) -> bytes:
        """The time and the snapshot, which is put into bytes once for all who need it at this revision."""
        if self._snapshot is None:
            alerts = [self._known[alert].view for alert in sorted(self._known, reverse=True)]
            self._snapshot = _frame("snapshot", {"trouble": self._trouble, "alerts": alerts}, self._id())
        return _frame("beat", {"now": now_ms()}) + self._snapshot

    def _id(self) -> str:
        return f"{self._version}-{self._revision}"


def _frame(event: str, data: dict[str, Any], event_id: str | None = None) -> bytes:
    """One event of a stream; JSON has no raw line ends, so one data line holds it."""
    name = "" if event_id is None else f"id: {event_id}\n"
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"{name}event: {event}\ndata: {text}\n\n".encode("utf-8", "replace")
