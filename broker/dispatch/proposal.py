"""What a released message would become now, follow-ups included; the same for planning, preview and explain."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from broker.audience.index import LiveIndex
from broker.cap.document import read
from broker.cap.model import Alert, MsgType
from broker.clock import from_ms, now_ms
from broker.dispatch.chain import chain_of
from broker.dispatch.draft import Draft, Verdict
from broker.dispatch.followup import FollowUp, FollowUps
from broker.dispatch.planner import Planner
from broker.dispatch.reached import told, union
from broker.errors import FenghuoError, Problem
from broker.geo.regions import Regions
from broker.intake.accept import form_of
from broker.ledger.arrays import Recipients
from broker.sealing import Keyring
from broker.store.contract import Store
from broker.store.records import AlertRecord, Plan
from broker.types import ChannelName, Phase


class Unreadable(FenghuoError):
    """The accepted bytes can no longer be read."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan before it has ids: those who are warned (`draft`) and those who are told that it is over."""

    record: AlertRecord
    draft: Draft | None
    """None for a Cancel, which warns nobody."""
    follow: FollowUp

    @property
    def batch_count(self) -> int:
        """How many batch ids it needs."""
        return (self.draft.batch_count if self.draft else 0) + len(self.follow.cuts)

    @property
    def rendition_count(self) -> int:
        """How many rendition ids it needs."""
        return (self.draft.rendition_count if self.draft else 0) + len(self.follow.renditions)

    @property
    def stopped(self) -> bool:
        """Whether a person must look before anything is sent."""
        return bool(self.follow.problems) or (self.draft is not None and self.draft.stopped)

    @property
    def expired(self) -> bool:
        """Whether it was over before it could be planned."""
        outcomes = self.draft.outcomes if self.draft else ()
        return bool(outcomes) and all(outcome.verdict is Verdict.EXPIRED for outcome in outcomes)

    @property
    def reason(self) -> str | None:
        """Why it is stopped or reaches nobody; None if something is sent."""
        if self.follow.problems:
            return "; ".join(problem.message for problem in self.follow.problems)
        if self.follow.cuts:
            return None
        return self.draft.reason if self.draft else "nobody had been sent what this takes back"

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What is odd although something is sent."""
        return self.draft.notes if self.draft else ()

    def counts(self) -> dict[ChannelName, int]:
        """Recipients by channel."""
        found = self.draft.counts() if self.draft else {}
        for channel, n in self.follow.counts().items():
            found[channel] = found.get(channel, 0) + n
        return found


class Proposer:
    """Makes proposals and freezes them."""

    def __init__(self, store: Store, planner: Planner, keyring: Keyring, index: LiveIndex) -> None:
        self._store = store
        self._planner = planner
        self._keyring = keyring
        self._index = index
        self._follow_ups = FollowUps(store, planner, keyring, index)

    async def propose(
        self,
        record: AlertRecord,
        *,
        held: frozenset[int] = frozenset(),
        done: dict[ChannelName, Recipients] | None = None,
    ) -> Proposal:
        """What `record` (with its body) becomes now. Raises Unreadable and StoreError.

        `held` are batches whose work still runs. With `done` (who had a message of this alert already) it is a
        later round: nobody is warned anew, only those who were found to be reached since are told.
        """
        alert = self.alert_of(record)
        chain = await chain_of(self._store, record)
        before = chain.before(record)
        cancels = [each for each in chain.cancels if chain.is_older(each, record)]
        if record.msg_type == MsgType.CANCEL:
            follow = await self._follow_ups.propose(
                record, alert, Phase.CANCEL, before, cancels=cancels, done=done or {}, held=held
            )
            return Proposal(record, None, follow)
        draft = None
        if done is None:
            draft = await self._draft(record, alert, before)
            done = {cut.channel: union([]) for cut in draft.cuts}
            for channel in done:
                columns = draft.index.channels[channel]
                done[channel] = union([columns.ids[cut.positions] for cut in draft.cuts if cut.channel is channel])
        follow = FollowUp()
        if before and not (draft and draft.stopped):
            follow = await self._follow_ups.propose(
                record, alert, Phase.CLEAR, before, cancels=cancels, done=done, held=held
            )
        return Proposal(record, draft, follow)

    async def _draft(self, record: AlertRecord, alert: Alert, before: tuple[AlertRecord, ...]) -> Draft:
        knows = await told(self._store, before)
        index = await self._index.current()
        return await asyncio.to_thread(
            self._planner.plan,
            record,
            alert,
            index,
            at=now_ms(),
            told=knows,
            replaces=[warning.id for warning in before],
        )

    @property
    def version(self) -> str:
        """Names the policies and templates that proposals are made with."""
        return self._planner.version

    @property
    def regions(self) -> Regions:
        """The divisions that areas are resolved with."""
        return self._planner.regions

    def alert_of(self, record: AlertRecord) -> Alert:
        """The message behind a record. Raises Unreadable."""
        alert = read(record.body, form_of(record.content_type), now=from_ms(record.received)).alert
        if alert is None:
            raise Unreadable("the accepted bytes can no longer be read")
        return alert

    async def freeze(self, proposal: Proposal, *, round_: int = 1) -> Plan:
        """The plan with ids and sealed addresses.

        Raises Conflict when the registry has changed under it (propose anew then), SealError when a page does not
        open.
        """
        record, draft, follow = proposal.record, proposal.draft, proposal.follow
        store = self._store
        batch = await store.reserve_batches(proposal.batch_count) if proposal.batch_count else 0
        rendition = await store.reserve_renditions(proposal.rendition_count) if proposal.rendition_count else 0
        plan = Plan(record.id, now_ms(), (), (), round_)
        if draft is not None:
            plan = await draft.freeze(batch, rendition, store.page, self._keyring)
        renditions, batches = await self._follow_ups.freeze(
            follow,
            record,
            round_=round_,
            first_batch=batch + (draft.batch_count if draft else 0),
            first_rendition=rendition + (draft.rendition_count if draft else 0),
        )
        return replace(
            plan, renditions=(*plan.renditions, *renditions), batches=(*plan.batches, *batches), round=round_
        )
