"""Takes released alerts, plans them in one transaction each, and wakes the relay."""

from __future__ import annotations

import asyncio

from broker import logs
from broker.audience.index import LiveIndex
from broker.cap.document import read
from broker.clock import from_ms, now_ms
from broker.dispatch.draft import Draft, Verdict
from broker.dispatch.planner import Planner
from broker.dispatch.relay import Relay
from broker.errors import Conflict, StoreError
from broker.intake.accept import form_of
from broker.metrics import Metrics
from broker.release.states import allowed_from
from broker.sealing import Keyring, SealError
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord
from broker.types import AlertState

_PAUSE_S = 0.5
_SEALED_TRIES = 3


class Dispatcher:
    """Plans; several may run side by side, the store lets one of them win each alert."""

    def __init__(
        self,
        store: Store,
        relay: Relay,
        metrics: Metrics,
        planner: Planner,
        keyring: Keyring,
        *,
        interval: float = 0.2,
    ) -> None:
        self._store = store
        self._relay = relay
        self._metrics = metrics
        self._planner = planner
        self._keyring = keyring
        self._index = LiveIndex(store)
        self._interval = interval
        self._wake = asyncio.Event()
        self._log = logs.get(role="dispatcher")

    def wake(self) -> None:
        """An alert has just been released in this process."""
        self._wake.set()

    async def start(self) -> None:
        """Load the registry, so that the first red alert does not wait for it."""
        index = await self._index.current()
        self._log.info("registry_loaded", recipients=len(index), version=index.version)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._plan_all()
                await self._index.current()
            except StoreError as error:
                self._log.warning("planning_postponed", reason=str(error))
                await asyncio.sleep(_PAUSE_S)
            try:
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _plan_all(self) -> None:
        """Plan what is released, asking anew after each: a red alert does not wait for the blue ones before it."""
        tried: set[str] = set()
        while True:
            alert = next((alert for alert in await self._released() if alert.id not in tried), None)
            if alert is None:
                return
            tried.add(alert.id)
            try:
                await self._plan(alert)
            except StoreError:
                raise
            except Exception:
                # A fault of ours with one alert must not keep the next one from going out.
                log = self._log.bind(alert=alert.id)
                log.exception("planning_failed")
                await self._end(alert, AlertState.STOPPED, "planning failed by a fault of ours; the log tells more")

    async def _released(self) -> list[AlertRecord]:
        """Released alerts, the highest level first, then the oldest."""
        rank = {"Red": 0, "Orange": 1, "Yellow": 2, "Blue": 3}
        found = await self._store.alerts(states=(AlertState.RELEASED,), limit=1000)
        return sorted(found, key=lambda alert: (rank.get(alert.level or "", 4), alert.id))

    async def _plan(self, brief: AlertRecord) -> None:
        record = await self._store.alert(brief.id)
        log = self._log.bind(alert=record.id)
        began = now_ms()
        reading = read(record.body, form_of(record.content_type), now=from_ms(record.received))
        if reading.alert is None:
            await self._end(record, AlertState.STOPPED, "the accepted bytes can no longer be read")
            return
        for attempt in range(1, _SEALED_TRIES + 1):
            index = await self._index.current()
            draft = await asyncio.to_thread(self._planner.plan, record, reading.alert, index, at=now_ms())
            if draft.stopped:
                await self._end(record, AlertState.STOPPED, draft.reason or "a person must look")
                return
            if draft.outcomes and all(outcome.verdict is Verdict.EXPIRED for outcome in draft.outcomes):
                await self._end(record, AlertState.EXPIRED, draft.reason or "expired before it was planned")
                return
            try:
                won = await self._commit(record, draft)
            except Conflict:
                continue  # the registry changed while planning: plan with what it is now
            except SealError as error:
                log.error("addresses_cannot_be_opened", reason=str(error), attempt=attempt)
                await self._end(record, AlertState.STOPPED, f"the recipients' addresses cannot be opened: {error}")
                return
            if not won:
                log.info("planned_elsewhere")
                return
            for note in draft.notes:
                log.warning("plan_note", note=str(note))
            counts = {str(channel): n for channel, n in draft.counts().items()}
            log.info("alert_planned", batches=draft.batch_count, ms=now_ms() - began, **counts)
            return
        log.warning("planning_postponed", reason="the registry keeps changing")

    async def _commit(self, record: AlertRecord, draft: Draft) -> bool:
        """Write the plan; False if another dispatcher has planned the alert before."""
        first_batch = await self._store.reserve_batches(draft.batch_count) if draft.batch_count else 0
        first_rendition = (
            await self._store.reserve_renditions(draft.rendition_count) if draft.rendition_count else 0
        )
        plan = await draft.freeze(first_batch, first_rendition, self._store.page, self._keyring)
        why = draft.reason or f"{draft.batch_count} batches for {draft.holders()} people, households and places"
        event = AlertEvent(record.id, now_ms(), AlertState.PLANNED, "fenghuo", why)
        if not await self._store.commit_plan(plan, event):
            return False
        for channel, n in draft.counts().items():
            self._metrics.planned.labels(channel).inc(n)
        self._relay.wake()
        return True

    async def _end(self, record: AlertRecord, state: AlertState, reason: str) -> None:
        event = AlertEvent(record.id, now_ms(), state, "fenghuo", reason)
        if await self._store.move_alert(record.id, allowed_from(state), event, reason=reason):
            self._log.error("alert_not_sent", alert=record.id, state=str(state), reason=reason)
