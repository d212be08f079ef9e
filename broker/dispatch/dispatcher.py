"""Takes released alerts, plans them in one transaction each, and wakes the relay."""

from __future__ import annotations

import asyncio

from broker import logs
from broker.audience.index import LiveIndex
from broker.cap.model import MsgType
from broker.clock import now_ms
from broker.dispatch.chain import Chain, chain_of
from broker.dispatch.following import Following
from broker.dispatch.planner import Planner
from broker.dispatch.previews import Previews
from broker.dispatch.proposal import Proposal, Proposer, Unreadable
from broker.dispatch.relay import Relay
from broker.errors import Conflict, StoreError
from broker.metrics import Metrics
from broker.release.states import allowed_from
from broker.sealing import Keyring, SealError
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord
from broker.types import AlertState

_PAUSE_S = 0.5
_SEALED_TRIES = 3
_PLANNED = (AlertState.PLANNED, AlertState.SENDING, AlertState.COMPLETED)
_IN_FORCE = (AlertState.RELEASED, *_PLANNED)
_AS_MEANT = (AlertState.COMPLETED, AlertState.CANCELLED, AlertState.SUPERSEDED)
"""Ends that are no failure of ours nor of the message."""


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
        index: LiveIndex | None = None,
    ) -> None:
        self._store = store
        self._relay = relay
        self._metrics = metrics
        self._index = index or LiveIndex(store)
        self._proposer = Proposer(store, planner, keyring, self._index)
        self._previews = Previews(store, self._proposer, self._index)
        self._following = Following(store, self._proposer)
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
                if await self._following.sweep():
                    self._relay.wake()
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
        """Released alerts, Cancels first, then the highest level, then the oldest."""
        rank = {"Red": 0, "Orange": 1, "Yellow": 2, "Blue": 3}
        found = await self._store.alerts(states=(AlertState.RELEASED,), limit=1000)
        return sorted(
            found,
            key=lambda alert: (alert.msg_type != MsgType.CANCEL, rank.get(alert.level or "", 4), alert.id),
        )

    async def _plan(self, brief: AlertRecord) -> None:
        record = await self._store.alert(brief.id)
        log = self._log.bind(alert=record.id)
        began = now_ms()
        if record.msg_type in (MsgType.ACK, MsgType.ERROR):
            await self._note_answer(record)
            return
        chain = await chain_of(self._store, record)
        if await self._is_over(record, chain):
            return
        try:
            for attempt in range(1, _SEALED_TRIES + 1):
                try:
                    proposal = await self._proposal(record, chain)
                    won = proposal is not None and await self._commit(proposal)
                except Conflict:
                    continue  # the registry changed while planning: plan with what it is now
                except SealError as error:
                    log.error("addresses_cannot_be_opened", reason=str(error), attempt=attempt)
                    reason = f"the recipients' addresses cannot be opened: {error}"
                    await self._end(record, AlertState.STOPPED, reason)
                    return
                if proposal is not None and not won:
                    log.info("planned_elsewhere")
                elif proposal is not None:
                    for note in proposal.notes:
                        log.warning("plan_note", note=str(note))
                    counts = {str(channel): n for channel, n in proposal.counts().items()}
                    log.info("alert_planned", batches=proposal.batch_count, ms=now_ms() - began, **counts)
                return
            log.warning("planning_postponed", reason="the registry keeps changing")
        except Unreadable as error:
            await self._end(record, AlertState.STOPPED, str(error))

    async def _is_over(self, record: AlertRecord, chain: Chain) -> bool:
        """Whether a newer message of the chain has ended it already, or it must still wait for its alert."""
        if record.msg_type == MsgType.CANCEL:
            if not chain.warnings and record.expires <= now_ms():
                await self._end(record, AlertState.EXPIRED, "what it cancels was never posted")
            return not chain.warnings  # it may come still, and is cancelled then before anybody is sent it
        for cancel in chain.cancels:
            if chain.is_older(record, cancel) and cancel.state in _IN_FORCE:
                reason = f"cancelled by {cancel.identifier} before it was planned"
                await self._end(record, AlertState.CANCELLED, reason)
                return True
        for newer in chain.after(record):
            if newer.state in _PLANNED:
                reason = f"updated by {newer.identifier} before it was planned"
                await self._end(record, AlertState.SUPERSEDED, reason)
                return True
        return False

    async def _proposal(self, record: AlertRecord, chain: Chain) -> Proposal | None:
        """What is to be sent, after the older messages of the chain were ended; None if nothing can be."""
        before = chain.before(record)
        if before and record.msg_type == MsgType.UPDATE:
            # An Update that cannot be planned must leave the warning before it in force.
            proposal = await self._propose(record)
            if await self._refused(record, proposal):
                return None
        held = await self._following.end_before(record, chain) if before else frozenset()
        proposal = await self._propose(record, held)
        return None if await self._refused(record, proposal) else proposal

    async def _propose(self, record: AlertRecord, held: frozenset[int] = frozenset()) -> Proposal:
        if record.preview is not None:
            return await self._previews.frozen(record, held=held)
        return await self._proposer.propose(record, held=held)

    async def _refused(self, record: AlertRecord, proposal: Proposal) -> bool:
        if proposal.stopped:
            await self._end(record, AlertState.STOPPED, proposal.reason or "a person must look")
        elif proposal.expired:
            await self._end(record, AlertState.EXPIRED, proposal.reason or "expired before it was planned")
        else:
            return False
        return True

    async def _note_answer(self, record: AlertRecord) -> None:
        """An Ack or an Error is written into the history of what it answers, and reaches nobody."""
        alert = self._proposer.alert_of(record)
        answer = "acknowledged" if record.msg_type == MsgType.ACK else "refused"
        for reference in await self._store.references(record.id):
            if reference.target is not None:
                answered = await self._store.alert(reference.target)
                why = f"{answer} by {record.sender}" + (f": {alert.note}" if alert.note else "")
                await self._store.note_alert(AlertEvent(answered.id, now_ms(), answered.state, record.author, why))
        await self._end(
            record, AlertState.COMPLETED, f"recorded: a message of type {record.msg_type} reaches nobody"
        )

    async def _commit(self, proposal: Proposal) -> bool:
        """Write the plan; False if another dispatcher has planned the alert before."""
        plan = await self._proposer.freeze(proposal)
        why = proposal.reason or _summary(proposal)
        event = AlertEvent(plan.alert, now_ms(), AlertState.PLANNED, "fenghuo", why)
        if not await self._store.commit_plan(plan, event):
            return False
        for channel, n in proposal.counts().items():
            self._metrics.planned.labels(channel).inc(n)
        self._relay.wake()
        return True

    async def _end(self, record: AlertRecord, state: AlertState, reason: str) -> None:
        event = AlertEvent(record.id, now_ms(), state, "fenghuo", reason)
        if await self._store.move_alert(record.id, allowed_from(state), event, reason=reason):
            log = self._log.info if state in _AS_MEANT else self._log.error
            log("alert_not_sent", alert=record.id, state=str(state), reason=reason)


def _summary(proposal: Proposal) -> str:
    told = []
    if proposal.draft is not None and proposal.draft.cuts:
        n = proposal.draft.batch_count
        told.append(f"{n} batches for {proposal.draft.holders()} people, households and places")
    if proposal.follow.cuts:
        word = "cancelled" if proposal.draft is None else "no longer concerned"
        told.append(f"{len(proposal.follow)} who were told before: {word}")
    return "; ".join(told)
