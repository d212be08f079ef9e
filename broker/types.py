"""The words that every part shares: channels, lanes, kinds of recipients, states of an alert."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final


class ChannelName(StrEnum):
    """The ways to reach people."""

    SMS = "sms"
    BROADCAST = "broadcast"
    APP = "app"
    SIGNAGE = "signage"


CHANNELS: Final = tuple(ChannelName)


class Lane(StrEnum):
    """Own queues all the way, so that a red warning never waits behind a blue one."""

    URGENT = "urgent"
    ROUTINE = "routine"


class Kind(IntEnum):
    """Whom a recipient stands for."""

    PUBLIC = 0
    DUTY = 1
    """Someone who must act: a village head, an information officer."""
    TRAINING = 2
    """Exists for drills and tests only."""


class AlertState(StrEnum):
    """States of an alert; the allowed moves are the table in broker.release.states."""

    RECEIVED = "received"
    AWAITING_RELEASE = "awaiting_release"
    RELEASED = "released"
    PLANNED = "planned"
    SENDING = "sending"
    COMPLETED = "completed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    """An Update took its place: what had not gone out yet does not go out any more."""
    STOPPED = "stopped"
    """Its area or policy could not be resolved: nothing was sent, a person must look."""


OVER: Final = (AlertState.CANCELLED, AlertState.SUPERSEDED)
"""States in which workers send nothing more of an alert."""


class Realm(StrEnum):
    """Which world a credential belongs to: never both, so that a drill cannot be posted live by a slip."""

    LIVE = "live"
    DRILL = "drill"


class Phase(StrEnum):
    """What a rendition says to its readers."""

    WARNING = "warning"
    """A warning that is new to them."""
    UPDATE = "update"
    """They were told before; this replaces it."""
    CLEAR = "clear"
    """They were told before, and the updated warning no longer concerns them."""
    CANCEL = "cancel"
    """They were told before, and the warning is taken back."""
