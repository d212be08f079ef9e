"""The message that an installation receives."""

from __future__ import annotations

from broker.store.records import RenditionRecord
from channels.mailbox.boxes import Words
from channels.mailbox.content import MessageContent, words_of


class AppContent(MessageContent):
    """The members of an app rendition."""

    title: str
    body: str
    instruction: str | None = None
    link: str | None = None


def app_words(rendition: RenditionRecord) -> Words:
    """A rendition as installations read it. Raises ValidationError."""
    return words_of(AppContent, rendition)
