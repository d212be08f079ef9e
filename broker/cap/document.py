"""Reads a message in one call: bytes in; alert, findings and the schema's verdict out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from broker.cap.build import alert_of
from broker.cap.findings import Finding, Grade, Posture
from broker.cap.jsonform import parse_json
from broker.cap.limits import Limits
from broker.cap.lint import judge
from broker.cap.model import Alert
from broker.cap.xml import parse_xml

ContentType = Literal["xml", "json"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a message's bytes hold.

    `alert` is there whenever it can be built without a guess, even if findings make the message invalid;
    ask `valid` before acting on it. `schema_valid` is what the OASIS schema of CAP 1.2 says of the XML (for
    JSON: of the XML of the same shape). `version` is the CAP version of the namespace, where known, and
    `signatures` counts the XML signatures, which are not checked here.
    """

    alert: Alert | None
    findings: tuple[Finding, ...]
    schema_valid: bool
    posture: Posture
    version: str | None = None
    signatures: int = 0

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make the message invalid."""
        return tuple(finding for finding in self.findings if finding.severity is Grade.ERROR)

    @property
    def valid(self) -> bool:
        """Whether the message may be acted on: an alert, and no error."""
        return self.alert is not None and not self.errors


def read(
    data: bytes,
    content_type: ContentType,
    *,
    limits: Limits | None = None,
    posture: Posture = Posture.STRICT,
    now: datetime | None = None,
) -> Reading:
    """Parse, check and build one message; whatever the bytes are, it returns a Reading and never raises.

    `now` is the time at which expiry is judged, aware, the present by default. The bytes themselves are the
    original: keep them, for a reading does not.
    """
    parsed = parse_json(data, limits=limits) if content_type == "json" else parse_xml(data, limits=limits)
    if parsed.root is None:
        return Reading(None, tuple(parsed.findings), False, posture, parsed.version, parsed.signatures)
    findings, schema_valid = judge(parsed.root, posture, now, limits)
    alert = alert_of(parsed.root) if parsed.faithful else None
    return Reading(
        alert,
        (*parsed.findings, *findings),
        schema_valid and parsed.faithful,
        posture,
        parsed.version,
        parsed.signatures,
    )
