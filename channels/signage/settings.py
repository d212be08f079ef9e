"""Settings of the signage channel."""

from __future__ import annotations

from channels.mailbox.settings import MailboxSettings


class SignageSettings(MailboxSettings):
    """Where screens reach the channel; every setting is described in MailboxSettings."""
