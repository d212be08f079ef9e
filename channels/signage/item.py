"""One item of a screen's playlist."""

from __future__ import annotations

from typing import Final

from pydantic import computed_field

from broker.store.records import RenditionRecord
from channels.mailbox.boxes import Words
from channels.mailbox.content import CLEARING, MessageContent, words_of

COLOURS: Final = {"Red": "#c8102e", "Orange": "#f07800", "Yellow": "#ffd500", "Blue": "#0057b8"}
"""The block of the level as screens without a style of their own paint it (sRGB)."""
ALL_CLEAR: Final = "#2e7d32"
"""The block of an item that tells of an end: none of the four levels' colours."""


class SignageContent(MessageContent):
    """The members of a signage rendition."""

    headline: str
    line: str
    """One sentence: what to do."""
    crawl: str
    """The details, to run along the lower edge."""

    @computed_field
    def colour(self) -> str:
        """The level's colour, or that of an all-clear, #rrggbb."""
        return ALL_CLEAR if self.phase in CLEARING else COLOURS[self.level]


def signage_words(rendition: RenditionRecord) -> Words:
    """A rendition as screens read it. Raises ValidationError."""
    return words_of(SignageContent, rendition)
