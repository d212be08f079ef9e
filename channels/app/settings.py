"""Settings of the app channel."""

from __future__ import annotations

from channels.mailbox.settings import MailboxSettings


class AppSettings(MailboxSettings):
    """Where installations reach the channel; every setting is described in MailboxSettings."""
