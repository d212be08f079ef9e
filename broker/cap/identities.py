"""Which messages were seen already: one identity names one message, however often it comes (CAP 1.2, 3.2.1)."""

from __future__ import annotations

import hashlib
from datetime import datetime

from broker.cap.catalogue import RULES
from broker.cap.document import Reading
from broker.cap.findings import Finding, clip


class Identities:
    """The identities among several messages, and where each was seen first."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, datetime], tuple[bytes, str]] = {}

    def judge(self, reading: Reading, data: bytes, where: str) -> Finding | None:
        """The finding on a message whose identity an earlier one had; None for a new one, and for no alert."""
        if reading.alert is None:
            return None
        digest = hashlib.sha256(data).digest()
        known, first = self._seen.setdefault(reading.alert.identity, (digest, where))
        if first == where:
            return None
        same = known == digest
        rule = RULES["cap.identity.repeated" if same else "cap.identity.conflict"]
        what = "the same message" if same else "another message of the same sender, identifier and sent"
        place = "/alert/identifier"
        value = clip(reading.alert.identifier)
        return Finding(rule.id, rule.grade(reading.posture), place, value, f"{first} is {what}", rule.clause)
