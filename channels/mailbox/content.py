"""What the messages of app and signage have in common."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from broker.store.records import RenditionRecord
from channels.mailbox.boxes import LEVEL_ORDER, Words

CLEARING = ("clear", "cancel")
"""Phases that tell of an end rather than of a danger."""


class MessageContent(BaseModel):
    """The members that every message has, in the order in which a device reads them after `id`."""

    model_config = ConfigDict(extra="ignore", strict=True)

    alert: str
    """CAP identifier."""
    alert_id: str
    """The broker's own id of the alert, the one that `replaces` names."""
    phase: Literal["warning", "update", "clear", "cancel"] = "warning"
    """What it tells: a new warning, one that replaces an earlier one, or that an earlier one is over."""
    replaces: list[str] = Field(default_factory=list)
    """Ids (`alert_id`) of alerts whose messages are no longer to be displayed."""
    level: Literal["Red", "Orange", "Yellow", "Blue"]
    event: str
    """Event code, e.g. 11B03."""
    event_name: str
    language: str
    """BCP 47 tag."""
    sender_name: str
    expires: int
    """UTC milliseconds; not to be displayed later."""
    exercise: bool
    """A drill: must be marked as one wherever it is displayed."""

    @property
    def order(self) -> tuple[bool, int]:
        """Warnings before exercises, dangers before all-clears, then the gravest level."""
        return self.exercise, LEVEL_ORDER[self.level] + len(LEVEL_ORDER) * (self.phase in CLEARING)


def words_of(kind: type[MessageContent], rendition: RenditionRecord) -> Words:
    """A rendition as devices read it. Raises pydantic's ValidationError if it lacks what they need."""
    content = kind.model_validate({**rendition.content, "alert_id": rendition.alert})
    tail = content.model_dump_json().encode()[1:]
    return Words(rendition.alert, tail, content.order, frozenset(content.replaces), content.expires)
