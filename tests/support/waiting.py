"""Waiting for something to become true, for a while and no longer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

PATIENCE_S = 20.0
"""Far more than anything here takes: who waits this long waits for what never comes."""


async def eventually(check: Callable[[], Any | Awaitable[Any]], what: str = "") -> Any:
    """What `check` gives as soon as it is true; fails when it never becomes so."""
    found: Any = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = check()
                if inspect.isawaitable(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"never came true: {what or inspect.getsource(check).strip()}") from None


async def soon(work: Awaitable[Any]) -> Any:
    """The result of something that must end by itself."""
    async with asyncio.timeout(PATIENCE_S):
        return await work
