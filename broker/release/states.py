"""The states of an alert and every move that is allowed; nothing else in the code decides this."""

from __future__ import annotations

from typing import Final

from broker.types import AlertState

S = AlertState

MOVES: Final[dict[AlertState, tuple[AlertState, ...]]] = {
    S.RECEIVED: (S.AWAITING_RELEASE, S.RELEASED, S.REJECTED, S.STOPPED, S.CANCELLED, S.SUPERSEDED, S.EXPIRED),
    S.AWAITING_RELEASE: (S.RELEASED, S.REJECTED, S.CANCELLED, S.SUPERSEDED, S.EXPIRED),
    S.RELEASED: (S.PLANNED, S.COMPLETED, S.STOPPED, S.CANCELLED, S.SUPERSEDED, S.EXPIRED),
    S.PLANNED: (S.SENDING, S.COMPLETED, S.CANCELLED, S.SUPERSEDED),
    S.SENDING: (S.COMPLETED, S.CANCELLED, S.SUPERSEDED),
    S.COMPLETED: (S.SENDING, S.CANCELLED, S.SUPERSEDED),
    S.SUPERSEDED: (S.CANCELLED,),
    S.REJECTED: (),
    S.CANCELLED: (),
    S.EXPIRED: (),
    S.STOPPED: (),
}
"""From each state, where an alert may go.

`released → completed` is for messages that reach nobody by their nature (Ack, Error, System); `completed → sending`
is for a later round; `superseded → cancelled` because a Cancel ends the whole chain. `stopped` is an end: the
department posts a mended alert.
"""


def allowed_from(state: AlertState) -> tuple[AlertState, ...]:
    """The states from which an alert may move to `state`."""
    return tuple(origin for origin, targets in MOVES.items() if state in targets)
