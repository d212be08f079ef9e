"""The states of an alert and every move that is allowed; nothing else in the code decides this."""

from __future__ import annotations

from typing import Final

from broker.types import AlertState

S = AlertState

MOVES: Final[dict[AlertState, tuple[AlertState, ...]]] = {
    S.RECEIVED: (S.AWAITING_RELEASE, S.RELEASED, S.REJECTED, S.STOPPED, S.EXPIRED),
    S.AWAITING_RELEASE: (S.RELEASED, S.REJECTED, S.CANCELLED, S.EXPIRED),
    S.RELEASED: (S.PLANNED, S.STOPPED, S.CANCELLED, S.EXPIRED),
    S.PLANNED: (S.SENDING, S.COMPLETED, S.CANCELLED),
    S.SENDING: (S.COMPLETED, S.CANCELLED),
    S.COMPLETED: (),
    S.REJECTED: (),
    S.CANCELLED: (),
    S.EXPIRED: (),
    S.STOPPED: (),
}
"""From each state, where an alert may go. `stopped` is an end: the department posts a mended alert."""


def allowed_from(state: AlertState) -> tuple[AlertState, ...]:
    """The states from which an alert may move to `state`."""
    return tuple(origin for origin, targets in MOVES.items() if state in targets)
