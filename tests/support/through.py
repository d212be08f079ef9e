"""Looking on, or stepping in, where one part calls another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Told = Callable[[str, tuple[Any, ...], dict[str, Any]], Awaitable[None]]
"""Called with `method:before` and `method:after` and the arguments; what it raises, the caller gets."""


class Through:
    """Passes everything on to `inner`, and tells of the calls to some of its methods."""

    def __init__(self, inner: Any, told: Told, *methods: str) -> None:
        self._inner = inner
        self._told = told
        self._methods = frozenset(methods)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._methods:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._told(f"{name}:before", args, kwargs)
            result = await found(*args, **kwargs)
            await self._told(f"{name}:after", args, kwargs)
            return result

        return call
