"""Follows alerts to their end: sending, completed, settled at expiry, addresses erased."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np

from broker import logs
from broker.clock import now_ms
from broker.errors import StoreError
from broker.ledger.arrays import COUNT_NAMES, Counts, LedgerRow, Receipts, final_mask
from broker.ledger.state import ATTEMPT_MASK, ATTEMPT_SHIFT, RANK_MASK, RANK_SHIFT, Rank, Reason, word
from broker.release.states import allowed_from
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord
from broker.types import AlertState

_PAGE = 1000
_PLANNED, _SENT, _FINAL = (COUNT_NAMES.index(name) for name in ("planned", "sent", "final"))


class Closer:
    """Looks at open alerts a few times a second; any number may run, the moves are compare-and-set."""

    def __init__(self, store: Store, *, grace_ms: int = 600_000, interval: float = 0.3) -> None:
        self._store = store
        self._grace_ms = grace_ms
        self._interval = interval
        self._erased: set[str] = set()
        self._log = logs.get(role="closer")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.once()
            except StoreError as error:
                self._log.warning("closer_postponed", reason=str(error))
            await asyncio.sleep(self._interval)

    async def once(self) -> None:
        """Look at every open alert once."""
        async for alert in self._alerts(AlertState.PLANNED, AlertState.SENDING):
            await self._follow(alert)
        async for alert in self._alerts(AlertState.AWAITING_RELEASE):
            if alert.expires <= now_ms():
                await self._move(alert, AlertState.EXPIRED, "nobody released it before it expired")
        async for alert in self._alerts(AlertState.COMPLETED, AlertState.CANCELLED):
            if alert.id not in self._erased and self._over(alert):
                await self._erase(alert)

    async def _alerts(self, *states: AlertState) -> AsyncIterator[AlertRecord]:
        """All of them, page by page: an old one must not be overlooked because there are many newer ones."""
        before = None
        while True:
            found = await self._store.alerts(states=states, limit=_PAGE, before=before)
            for alert in found:
                yield alert
            if len(found) < _PAGE:
                return
            before = found[-1].id

    def _over(self, alert: AlertRecord) -> bool:
        """Whether its time and the grace have run out."""
        return alert.expires + self._grace_ms <= now_ms()

    async def _erase(self, alert: AlertRecord) -> None:
        """Until now evidence could still come in and needed the addresses to be believed."""
        totals = await self._totals(alert)
        if totals[_FINAL] != totals[_PLANNED]:
            # A later attempt may have been reported after the earlier one had made everybody final.
            await self._settle(alert)
        await self._store.erase_addresses(alert.id)
        self._erased.add(alert.id)
        self._log.info("addresses_erased", alert=alert.id)

    async def _totals(self, alert: AlertRecord) -> Counts:
        totals: Counts = np.zeros(len(COUNT_NAMES), np.int64)
        for row in await self._store.counters(alert.id):
            totals += np.array(row.counts, np.int64)
        return totals

    async def _follow(self, alert: AlertRecord) -> None:
        totals = await self._totals(alert)
        if alert.state is AlertState.PLANNED and (totals[_SENT] or totals[_FINAL]):
            await self._move(alert, AlertState.SENDING, "the first recipients were sent the warning")
        if self._over(alert):
            await self._settle(alert)
            await self._move(alert, AlertState.COMPLETED, "the alert's time and the grace for receipts are over")
        elif totals[_FINAL] == totals[_PLANNED] and not await self._store.open_work(alert.id):
            await self._move(alert, AlertState.COMPLETED, "every recipient is final")

    async def _settle(self, alert: AlertRecord) -> None:
        """The alert's time and the grace are over: what is not proved is unconfirmed, what never left expired."""
        receipts = []
        for batch in await self._store.batch_ids(alert=alert.id):
            settled = unconfirmed(await self._store.ledger_row(batch), now_ms())
            if len(settled):
                receipts.append(settled)
        if receipts:
            await self._store.merge(receipts)

    async def _move(self, alert: AlertRecord, state: AlertState, why: str) -> None:
        event = AlertEvent(alert.id, now_ms(), state, "fenghuo", why)
        if await self._store.move_alert(alert.id, allowed_from(state), event):
            self._log.info("alert_moved", alert=alert.id, state=str(state))


def unconfirmed(row: LedgerRow, at: int) -> Receipts:
    """Receipts that settle every recipient of `row` that is not final.

    Sent or perhaps sent becomes failed with reason UNCONFIRMED at the same attempt; never sent becomes expired.
    """
    (ordinals,) = np.nonzero(~final_mask(row.states))
    states = row.states[ordinals]
    rank = states >> RANK_SHIFT & RANK_MASK
    attempt = states >> ATTEMPT_SHIFT & ATTEMPT_MASK
    left = (rank == Rank.SENT) | (rank == Rank.UNKNOWN) | (rank == Rank.SENDING)
    settled = np.where(
        left,
        attempt << ATTEMPT_SHIFT | word(Rank.FAILED, reason=Reason.UNCONFIRMED),
        attempt << ATTEMPT_SHIFT | word(Rank.EXPIRED, reason=Reason.EXPIRED),
    ).astype(np.uint16)
    return Receipts(row.batch, ordinals.astype(np.uint16), settled, np.full(len(ordinals), at, np.int64))
