"""Follows alerts to their end: sending, completed, settled at expiry, addresses erased."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

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
_ROWS = 256
"""Ledger rows that are settled at once: some 20 MB."""
_OPEN: Final = (AlertState.PLANNED, AlertState.SENDING)
_ENDED: Final = (AlertState.COMPLETED, AlertState.CANCELLED, AlertState.SUPERSEDED)
"""States of alerts whose batches still have addresses until the time and the grace are over."""
_PLANNED, _SENT, _FINAL = (COUNT_NAMES.index(name) for name in ("planned", "sent", "final"))


class Closer:
    """Looks at open alerts a few times a second; any number may run, the moves are compare-and-set.

    Those that have ended, which are ever more, are looked through only every `sweep` seconds.
    """

    def __init__(
        self, store: Store, *, grace_ms: int = 600_000, interval: float = 0.3, sweep: float = 15.0
    ) -> None:
        self._store = store
        self._grace_ms = grace_ms
        self._interval = interval
        self._sweep = sweep
        self._swept = -math.inf
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
        """Look at every open alert once, and at those that have ended if it is time to."""
        async for alert in self._alerts(*_OPEN):
            await self._follow(alert)
        async for alert in self._alerts(AlertState.AWAITING_RELEASE):
            if alert.expires <= now_ms():
                why = "nobody released it before it expired"
                await self._move(alert, AlertState.EXPIRED, why, (AlertState.AWAITING_RELEASE,))
        began = time.monotonic()
        if began - self._swept >= self._sweep:
            async for alert in self._alerts(*_ENDED):
                if alert.id not in self._erased and self._over(alert):
                    await self._erase(alert)
            self._swept = began

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
            # Only from planned: who has moved it on meanwhile must not be undone.
            why = "the first recipients were sent the warning"
            await self._move(alert, AlertState.SENDING, why, (AlertState.PLANNED,))
        if self._over(alert):
            await self._settle(alert)
            why = "the alert's time and the grace for receipts are over"
            await self._move(alert, AlertState.COMPLETED, why, _OPEN)
        elif await self._finished(alert, totals):
            await self._move(alert, AlertState.COMPLETED, "every recipient is final", _OPEN)
            if not await self._finished(alert, await self._totals(alert)):
                # A later round was committed between looking and moving: it is not completed after all.
                why = "a later round was planned at the same moment"
                await self._move(alert, AlertState.SENDING, why, (AlertState.COMPLETED,))

    async def _finished(self, alert: AlertRecord, totals: Counts) -> bool:
        """Whether every recipient is final and no attempt is left to be made."""
        return bool(totals[_FINAL] == totals[_PLANNED]) and not await self._store.open_work(alert.id)

    async def _settle(self, alert: AlertRecord) -> None:
        """The alert's time and the grace are over: what is not proved is unconfirmed, what never left expired."""
        batches = await self._store.batch_ids(alert=alert.id)
        for first in range(0, len(batches), _ROWS):
            rows = await self._store.ledger_rows(batches[first : first + _ROWS])
            receipts = [unconfirmed(row, now_ms()) for row in rows]
            await self._store.merge([each for each in receipts if len(each)])

    async def _move(self, alert: AlertRecord, state: AlertState, why: str, origins: Sequence[AlertState]) -> None:
        assert set(origins) <= set(allowed_from(state))
        event = AlertEvent(alert.id, now_ms(), state, "fenghuo", why)
        if await self._store.move_alert(alert.id, origins, event):
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
