"""The message that an installation receives."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from broker.store.records import RenditionRecord
from channels.mailbox.boxes import LEVEL_ORDER, Words


class AppContent(BaseModel):
    """The members of an app rendition, in the order in which an installation reads them after `id`."""

    model_config = ConfigDict(extra="ignore", strict=True)

    alert: str
    """CAP identifier."""
    level: Literal["Red", "Orange", "Yellow", "Blue"]
    title: str
    body: str
    instruction: str | None = None
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
    link: str | None = None


def app_words(rendition: RenditionRecord) -> Words:
    """A rendition as installations read it. Raises ValidationError."""
    content = AppContent.model_validate(rendition.content)
    tail = content.model_dump_json().encode()[1:]
    return Words(content.alert, tail, (content.exercise, LEVEL_ORDER[content.level]))
