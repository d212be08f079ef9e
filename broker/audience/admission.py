"""Which kinds of recipients a message may reach at all, by its CAP status and scope: one table, before any policy.

A drill that looked like the real thing, and a test that reached the public, are the classic accidents of
warning systems; so this is code and no policy can widen it.
"""

from __future__ import annotations

from typing import Final

from broker.cap.model import Scope, Status
from broker.types import Kind

_NOBODY: Final[frozenset[Kind]] = frozenset()
_DRILL: Final = frozenset({Kind.DUTY, Kind.TRAINING})
_TEST: Final = frozenset({Kind.TRAINING})

ADMITTED: Final[dict[tuple[Status, Scope], frozenset[Kind]]] = {
    (Status.ACTUAL, Scope.PUBLIC): frozenset({Kind.PUBLIC, Kind.DUTY}),
    (Status.ACTUAL, Scope.RESTRICTED): frozenset({Kind.DUTY}),
    (Status.ACTUAL, Scope.PRIVATE): _NOBODY,
    (Status.EXERCISE, Scope.PUBLIC): _DRILL,
    (Status.EXERCISE, Scope.RESTRICTED): _DRILL,
    (Status.EXERCISE, Scope.PRIVATE): _NOBODY,
    (Status.TEST, Scope.PUBLIC): _TEST,
    (Status.TEST, Scope.RESTRICTED): _TEST,
    (Status.TEST, Scope.PRIVATE): _NOBODY,
    (Status.SYSTEM, Scope.PUBLIC): _NOBODY,
    (Status.SYSTEM, Scope.RESTRICTED): _NOBODY,
    (Status.SYSTEM, Scope.PRIVATE): _NOBODY,
    (Status.DRAFT, Scope.PUBLIC): _NOBODY,
    (Status.DRAFT, Scope.RESTRICTED): _NOBODY,
    (Status.DRAFT, Scope.PRIVATE): _NOBODY,
}
"""CAP 1.2, 3.2.1 `status` and `scope` → whom a message may reach. Only Actual and Public reaches the public.

What is Private is for its `addresses`, which no channel knows: they are read through the API.
"""


def admitted(status: Status, scope: Scope) -> frozenset[Kind]:
    """The kinds of recipients that a message of this status and scope may reach."""
    return ADMITTED[status, scope]
