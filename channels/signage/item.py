"""One item of a screen's playlist."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, computed_field

from broker.store.records import RenditionRecord
from channels.mailbox.boxes import LEVEL_ORDER, Words

COLOURS: Final = {"Red": "#c8102e", "Orange": "#f07800", "Yellow": "#ffd500", "Blue": "#0057b8"}
"""The block of the level as screens without a style of their own paint it (sRGB)."""


class SignageContent(BaseModel):
    """The members of a signage rendition, in the order in which a screen reads them after `id`."""

    model_config = ConfigDict(extra="ignore", strict=True)

    alert: str
    """CAP identifier."""
    level: Literal["Red", "Orange", "Yellow", "Blue"]
    headline: str
    line: str
    """One sentence: what to do."""
    crawl: str
    """The details, to run along the lower edge."""
    event: str
    """Event code, e.g. 11B03."""
    event_name: str
    language: str
    """BCP 47 tag."""
    sender_name: str
    expires: int
    """UTC milliseconds; not to be shown later."""
    exercise: bool
    """A drill: must be marked as one as long as it is shown."""

    @computed_field
    def colour(self) -> str:
        """The level's colour, #rrggbb."""
        return COLOURS[self.level]


def signage_words(rendition: RenditionRecord) -> Words:
    """A rendition as screens read it. Raises ValidationError."""
    content = SignageContent.model_validate(rendition.content)
    tail = content.model_dump_json().encode()[1:]
    return Words(content.alert, tail, (content.exercise, LEVEL_ORDER[content.level]))
