"""How many parts a short message takes, and how many it may take."""

from __future__ import annotations

from typing import Final

SINGLE_UNITS: Final = 70
"""UTF-16 code units in one UCS-2 message (3GPP TS 23.038)."""
PART_UNITS: Final = 67
"""The same in each part of a concatenated message with an 8-bit reference (3GPP TS 23.040)."""
BUDGET_PARTS: Final = 3
"""A warning that needs more is read too late; lint refuses templates that exceed it, plans report it."""


def parts(text: str) -> int:
    """How many UCS-2 messages `text` needs; a character outside the basic plane is never cut in two."""
    widths = [2 if ord(char) > 0xFFFF else 1 for char in text]
    if sum(widths) <= SINGLE_UNITS:
        return 1
    needed, used = 1, 0
    for width in widths:
        if used + width > PART_UNITS:
            needed, used = needed + 1, 0
        used += width
    return needed
