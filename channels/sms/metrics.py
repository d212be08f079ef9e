"""Counters of the SMS channel."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

RECEIPTS: Final = Counter(
    "fenghuo_sms_receipts",
    "Delivery receipts by what became of them: matched, early (held), unknown (never matched), "
    "intermediate (no final state), other (not a receipt).",
    ["outcome"],
)
MATCHED: Final = RECEIPTS.labels("matched")
EARLY: Final = RECEIPTS.labels("early")
UNKNOWN: Final = RECEIPTS.labels("unknown")
INTERMEDIATE: Final = RECEIPTS.labels("intermediate")
OTHER: Final = RECEIPTS.labels("other")
