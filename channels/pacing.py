"""Keeping to a provider's pace, with the urgent lane first."""

from __future__ import annotations

import asyncio

from broker.types import Lane

_YIELD_S = 0.005


class Pacer:
    """Hands out recipients per second to both lanes; routine waits while urgent work is waiting."""

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._free_at = 0.0
        self._urgent_waiting = 0

    @property
    def paced(self) -> bool:
        """Whether there is any limit."""
        return self._per_second is not None

    async def take(self, lane: Lane, n: int) -> None:
        """Wait until `n` more recipients may be sent."""
        if self._per_second is None:
            return
        urgent = lane is Lane.URGENT
        self._urgent_waiting += urgent
        try:
            while True:
                now = asyncio.get_running_loop().time()
                if not urgent and self._urgent_waiting:
                    await asyncio.sleep(_YIELD_S)
                elif self._free_at > now:
                    await asyncio.sleep(self._free_at - now)
                else:
                    self._free_at = now + n / self._per_second
                    return
        finally:
            self._urgent_waiting -= urgent
