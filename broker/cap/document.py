"""Reads a message in one call: bytes in; alert, findings and the schema's verdict out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from broker.cap.build import alert_of
from broker.cap.findings import Finding, Grade, Posture
from broker.cap.jsonform import parse_json
from broker.cap.limits import Limits
from broker.cap.lint import judge, unread
from broker.cap.model import Alert
from broker.cap.xml import parse_xml

if TYPE_CHECKING:
    from broker.cap.profiles.profile import Profile

ContentType = Literal["xml", "json"]

NATIONAL: Final = "national"
"""The name of the national format among the profiles."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a message's bytes hold.

    `alert` is there whenever it can be built without a guess, even if findings make the message invalid;
    ask `valid` before acting on it. `schema_valid` is what the OASIS schema of CAP 1.2 says of the XML (for
    JSON: of the XML of the same shape); it is False for older versions. `version` is the CAP version of the
    namespace, where known, and `signatures` counts the XML signatures, which are not checked here.
    `identifier`, `sender` and `sent` are as they stand in the message, so that a report can name it even
    where there is no alert.
    """

    alert: Alert | None
    findings: tuple[Finding, ...]
    schema_valid: bool
    posture: Posture
    version: str | None = None
    signatures: int = 0
    identifier: str | None = None
    sender: str | None = None
    sent: str | None = None

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
    profile: str | None = None,
) -> Reading:
    """Parse, check and build one message; whatever the bytes are, it returns a Reading and never raises.

    `now` is the time at which expiry is judged, aware, the present by default. `profile` names a profile of
    `broker.cap.profiles` whose rules hold as well; `national` reads the national format instead of CAP. The
    bytes themselves are the original: keep them, for a reading does not. Raises ValueError for a profile
    that there is none of.
    """
    if profile == NATIONAL:
        return _national(data, posture, limits, now)
    over = None if profile is None else _profile(profile)
    parsed = parse_json(data, limits=limits) if content_type == "json" else parse_xml(data, limits=limits)
    if parsed.root is None:
        findings = (*parsed.findings, unread(posture))
        return Reading(None, findings, False, posture, parsed.version, parsed.signatures)
    judgement = judge(parsed, posture, now, limits, over)
    reading = Reading(
        alert=alert_of(judgement.root) if parsed.faithful else None,
        findings=(*parsed.findings, *judgement.findings),
        schema_valid=judgement.schema_valid and parsed.faithful,
        posture=posture,
        version=parsed.version,
        signatures=parsed.signatures,
        identifier=parsed.root.value("identifier"),
        sender=parsed.root.value("sender"),
        sent=parsed.root.value("sent"),
    )
    parsed.root.dissolve()
    return reading


# Profiles are imported when one is asked for: intake never does, and they import this module.


def _profile(name: str) -> Profile:
    from broker.cap.profiles import PROFILES

    found = PROFILES.get(name)
    if found is None:
        raise ValueError(f"there is no profile {name}; there are {', '.join(sorted({*PROFILES, NATIONAL}))}")
    return found


def _national(data: bytes, posture: Posture, limits: Limits | None, now: datetime | None) -> Reading:
    from broker.cap.profiles.national.reading import read_national

    return read_national(data, posture=posture, limits=limits, now=now)
