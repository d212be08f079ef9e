"""The limit of open files, which is the limit of held connections."""

from __future__ import annotations

import resource
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """What this process may hold open."""

    found: int
    """Soft limit when asked."""
    used: int
    """Soft limit now."""
    hard: int

    def room(self, wanted: int, spare: int) -> int:
        """How many of `wanted` connections fit beside `spare` other files; at least 0."""
        return max(0, min(wanted, self.used - spare))


def raise_open_files() -> OpenFiles:
    """Raise the soft limit of open files to the hard one; the limit stays as it is where that is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    if soft != resource.RLIM_INFINITY and soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        except (OSError, ValueError):
            return OpenFiles(soft, soft, hard)
    return OpenFiles(soft, hard, hard)
