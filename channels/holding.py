"""Holding on to a claim for as long as the work on it takes, however long the far end or the pace may need."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from broker.errors import ClaimLost, StoreError
from broker.ledger.arrays import Ordinals
from broker.store.contract import Claims
from broker.store.records import Claim, FarIds, Work


class Hold:
    """A claim whose lease is renewed in the background from entering to leaving.

    Renewals and marks take turns: a renewal that reached the store after a mark would put the window in doubt
    back to where it was before. For the same reason leaving waits for a renewal that is on its way instead of
    cancelling it, since the store finishes a write that was begun.
    """

    def __init__(self, store: Claims, claim: Claim, lease_ms: int, log: Any) -> None:
        self._store = store
        self._claim = claim
        self._lease_ms = lease_ms
        self._log = log
        self._low, self._high = claim.low, claim.high
        self._turn = asyncio.Lock()
        self._over = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep(), name=f"lease:{self._claim.batch}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._keeper is not None:
            await asyncio.gather(self._keeper, return_exceptions=True)

    @property
    def lost(self) -> bool:
        """Whether another worker has the claim, so that nothing more may be sent under it."""
        return self._keeper is not None and self._keeper.done() and not self._over.is_set()

    def check(self) -> None:
        """Raises ClaimLost if it is lost (or what else kept the lease from being renewed)."""
        if self.lost and self._keeper is not None:
            self._keeper.result()

    async def mark(self, low: int, high: int, far_ids: FarIds | None, retry: Ordinals) -> None:
        """Record that `low`–`high` is about to leave. Raises ClaimLost, StoreError."""
        async with self._turn:
            await self._store.mark(
                self._claim, low=low, high=high, lease_ms=self._lease_ms, far_ids=far_ids, retry=retry
            )
            self._low, self._high = low, high

    async def free(self, position: int, far_ids: FarIds | None, retry: Ordinals) -> None:
        """Let go at `position` with nothing in doubt: anybody may go on there at once."""
        async with self._turn:
            await self._store.mark(
                self._claim, low=position, high=position, lease_ms=0, far_ids=far_ids, retry=retry
            )
            self._over.set()

    async def close(self, far_ids: FarIds | None, retry: Work | None) -> None:
        """The attempt is done; `retry` opens the next one in the same commit. Raises ClaimLost, StoreError."""
        async with self._turn:
            await self._store.close_work(self._claim, far_ids=far_ids, retry=retry)
            self._over.set()

    async def _keep(self) -> None:
        while not await self._ended(within=self._lease_ms / 3000):
            async with self._turn:
                if self._over.is_set():
                    return
                try:
                    await self._store.mark(self._claim, low=self._low, high=self._high, lease_ms=self._lease_ms)
                except ClaimLost:
                    raise
                except StoreError as error:
                    self._log.warning("lease_not_renewed", reason=str(error))

    async def _ended(self, *, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                return await self._over.wait()
        except TimeoutError:
            return False
