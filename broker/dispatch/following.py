"""Ends what an Update or a Cancel takes the place of, and looks after those whose evidence comes later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker import logs
from broker.cap.model import MsgType
from broker.clock import now_ms
from broker.dispatch.chain import Chain, chain_of
from broker.dispatch.proposal import Proposer
from broker.dispatch.reached import planned_for
from broker.dispatch.stopping import stop
from broker.errors import Conflict, StoreError
from broker.ledger.arrays import COUNT_NAMES
from broker.release.states import allowed_from
from broker.sealing import SealError
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord
from broker.types import AlertState

_SOON_MS: Final = 250
_SELDOM_MS: Final = 30_000
_SENT: Final = COUNT_NAMES.index("sent")


@dataclass(slots=True)
class _Watch:
    """When a follower is looked at next, and what was known of its chain at the last look."""

    due: int = 0
    wait: int = _SOON_MS
    seen: tuple[int, frozenset[int]] | None = None


class Following:
    """The later life of Update and Cancel messages."""

    def __init__(self, store: Store, proposer: Proposer) -> None:
        self._store = store
        self._proposer = proposer
        self._watches: dict[str, _Watch] = {}
        self._log = logs.get(role="dispatcher")

    async def end_before(self, record: AlertRecord, chain: Chain) -> frozenset[int]:
        """Take the place of the older messages and stop their work; batches that a worker still holds.

        Safe to repeat: what is over stays over, and work that came open since is stopped too.
        """
        state = AlertState.CANCELLED if record.msg_type == MsgType.CANCEL else AlertState.SUPERSEDED
        verb = "cancelled" if state is AlertState.CANCELLED else "updated"
        why = f"{verb} by {record.identifier}"
        for warning in chain.before(record):
            event = AlertEvent(warning.id, now_ms(), state, record.author, why)
            if await self._store.move_alert(warning.id, allowed_from(state), event, reason=why):
                self._log.info("alert_moved", alert=warning.id, state=str(state), by=record.id)
        return await self._stop(chain.before(record))

    async def _stop(self, warnings: Iterable[AlertRecord]) -> frozenset[int]:
        held: frozenset[int] = frozenset()
        for warning in warnings:
            held |= await stop(self._store, warning.id)
        return held

    async def sweep(self) -> int:
        """Look at every Update and Cancel in force whose time has come; how many rounds were planned."""
        now = now_ms()
        rounds = 0
        followers = await self._store.followers(now)
        self._watches = {each.id: self._watches.get(each.id, _Watch()) for each in followers}
        for follower in followers:
            watch = self._watches[follower.id]
            if watch.due > now:
                continue
            try:
                rounds += await self._look(follower, watch)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - logged, and tried again
                # A fault of ours with one message must not keep the others from being looked after.
                self._log.exception("round_failed", alert=follower.id)
                watch.wait = _SELDOM_MS
            watch.due = now_ms() + watch.wait
        return rounds

    async def _look(self, follower: AlertRecord, watch: _Watch) -> bool:
        """Tell those who were found to be reached since the last round; whether there were any."""
        before = (await chain_of(self._store, follower)).before(follower)
        held = await self._stop(before)
        seen = (await self._sent(before), held)
        if seen == watch.seen:
            watch.wait = _SOON_MS if held else min(2 * watch.wait, _SELDOM_MS)
            return False
        watch.wait = _SOON_MS
        record = await self._store.alert(follower.id)
        try:
            planned = await self._round(record, held)
        except (Conflict, SealError) as error:
            self._log.warning("round_postponed", alert=record.id, reason=str(error))
            return False
        watch.seen = seen
        return planned

    async def _round(self, record: AlertRecord, held: frozenset[int]) -> bool:
        done = await planned_for(self._store, record.id)
        proposal = await self._proposer.propose(record, held=held, done=done)
        if proposal.stopped:
            self._log.error("round_without_words", alert=record.id, reason=proposal.reason)
            return False
        if not proposal.follow.cuts:
            return False
        plan = await self._proposer.freeze(proposal, round_=record.round + 1)
        n = len(proposal.follow)
        why = f"{n} more were found to have been reached before: round {plan.round}"
        event = AlertEvent(record.id, now_ms(), AlertState.SENDING, "fenghuo", why)
        if not await self._store.commit_round(plan, event):
            return False  # another dispatcher was first; the next look sees what it planned
        self._log.info("round_planned", alert=record.id, round=plan.round, recipients=n)
        return True

    async def _sent(self, warnings: Iterable[AlertRecord]) -> int:
        """How many recipients, over all of them, were sent something or possibly sent."""
        return sum([row.counts[_SENT] for each in warnings for row in await self._store.counters(each.id)])
