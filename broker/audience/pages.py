"""The size of the registry's pages, and how an id leads to its page."""

from __future__ import annotations

from typing import Final

PAGE_IDS: Final = 4096
"""Ids per registry page: recipient `id` stands in page `id // PAGE_IDS` of its channel."""

MAX_ID: Final = 0xFFFF_FFFF
"""Ids of recipients and of holders are unsigned 32-bit integers."""

MAX_GROUPS: Final = 64
MAX_LANGUAGES: Final = 256
