"""Which Updates are pure corrections: the same words, to some of those who have them, at no higher level.

Such an Update only takes back what was said to some, so it needs no new authority, as a Cancel needs none. The
officer who sees the mistake must not have to find a second person first.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.cap.followup import same_words
from broker.cap.model import MsgType
from broker.clock import from_ms
from broker.dispatch.chain import Chain, age, chain_of
from broker.dispatch.proposal import Proposer, Unreadable
from broker.store.contract import Store
from broker.store.records import AlertRecord
from broker.types import AlertState, Phase

_OUT = (AlertState.PLANNED, AlertState.SENDING, AlertState.COMPLETED)


@dataclass(frozen=True, slots=True)
class Corrections:
    """Judges Updates by what the ledger says was reached."""

    store: Store
    proposer: Proposer

    async def __call__(self, record: AlertRecord) -> str | None:
        """Why `record` (with its body) is a pure correction, in a sentence; None if it is none.

        Raises StoreError.
        """
        if record.msg_type != MsgType.UPDATE:
            return None
        newest = _newest(record, await chain_of(self.store, record))
        if newest is None:
            return None
        original = await self.store.alert(newest.id)
        try:
            update, corrected = self.proposer.alert_of(record), self.proposer.alert_of(original)
            if same_words(update, corrected, expires=from_ms(original.expires)):
                return None
            proposal = await self.proposer.propose(record)
        except Unreadable:
            return None
        if proposal.draft is None or proposal.stopped or proposal.expired:
            return None
        if any(rendition.phase is not Phase.UPDATE for rendition in proposal.draft.renditions):
            return None
        return f"a correction of {original.identifier}: the same words, to some of those who have them"


def _newest(record: AlertRecord, chain: Chain) -> AlertRecord | None:
    """The warning that the Update corrects: the newest that is out, if it is older than the Update."""
    out = [warning for warning in chain.before(record) if warning.state in _OUT]
    return max(out, key=age) if out else None
