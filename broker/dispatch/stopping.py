"""Stops what has not gone out yet of an alert that is over."""

from __future__ import annotations

import numpy as np

from broker.clock import now_ms
from broker.ledger.arrays import Ordinals, Receipts
from broker.ledger.state import Rank, Reason, word
from broker.store.contract import Store
from broker.store.records import OpenWork


async def stop(store: Store, alert: str) -> frozenset[int]:
    """Close the alert's work that no worker holds; the batches whose work is still held.

    Whoever was not sent it is withheld; the window that a dead worker left in doubt is unknown, which counts as
    possibly reached. That is written before the work is closed: if this process dies between the two, it is
    written again, and a worker that takes the work meanwhile only adds to it.
    """
    works = await store.open_works(alert)
    free = [work for work in works if not work.held]
    if free:
        rows = await store.batches(sorted({work.batch for work in free}))
        sizes = {row.id: len(row) for row in rows}
        receipts = [part for work in free for part in _settled(work, sizes[work.batch], now_ms())]
        await store.merge(receipts)
        if await store.stop_work(free) < len(free):
            works = await store.open_works(alert)  # some were claimed meanwhile, so they are held now
        else:
            works = [work for work in works if work.held]
    return frozenset(work.batch for work in works)


def _settled(work: OpenWork, size: int, at: int) -> list[Receipts]:
    ordinals: Ordinals = np.arange(size, dtype=np.uint16) if work.ordinals is None else work.ordinals
    doubtful, left = ordinals[work.low : work.high], ordinals[work.high :]
    found = (
        (doubtful, word(Rank.UNKNOWN, attempt=work.attempt)),
        (left, word(Rank.WITHHELD, attempt=work.attempt, reason=Reason.STOPPED)),
    )
    return [Receipts.uniform(work.batch, some, state, at) for some, state in found if len(some)]
