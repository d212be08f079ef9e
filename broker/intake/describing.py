"""What a record says of its message: level, event, headline, end; from its own infos, else what it refers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from broker.cap.level import Level
from broker.cap.model import Alert, MsgType
from broker.cap.segments import Segment, segments
from broker.clock import to_ms
from broker.intake.expiry import Expiry
from broker.store.records import AlertRecord

_HOUR_MS = 3_600_000
_LONGEST_HEADLINE = 160
"""Characters (CAP 1.2, 3.2.2 `headline`)."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a message is about."""

    level: str | None
    event: str
    headline: str
    expires: int = 0
    """When the last of what it takes back or answers expires, UTC milliseconds; 0 for warnings."""


def described(alert: Alert, targets: Sequence[AlertRecord]) -> Described:
    """Level, event and headline of the highest segment; of a message that says nothing of them, its targets'.

    Only Cancel, Ack and Error take anything over from what they refer to.
    """
    parts = segments(alert)
    top = highest(parts) if parts else None
    level = None if top is None or top.level is None else str(top.level)
    event = "" if top is None else top.event_code or ""
    headline = next((info.headline for info in (() if top is None else top.infos) if info.headline), "")
    if alert.msg_type in (MsgType.ALERT, MsgType.UPDATE):
        return Described(level, event, headline or next((info.event for info in alert.infos), ""))
    about = max(targets, key=_rank, default=None)
    if about is not None:
        level, event, headline = level or about.level, event or about.event, headline or about.headline
    headline = headline or (alert.note or "").strip()[:_LONGEST_HEADLINE]
    return Described(level, event, headline, max((target.expires for target in targets), default=0))


def expires_of(alert: Alert, expiry: Expiry, received: int, others: int) -> int:
    """When the message as a whole is over, UTC milliseconds: the latest end of its segments.

    What names no end gets it from the policy, counted from the latest of sent, effective and onset. A Cancel,
    Ack or Error lives at least as long as what it is about, for evidence of that may come until then.
    """
    sent = max(to_ms(alert.sent.instant), received)
    ends = [_end(part, alert, expiry, sent) for part in segments(alert)]
    if alert.msg_type in (MsgType.ALERT, MsgType.UPDATE) and ends:
        return max(ends)
    return max(sent + _ms(expiry.of("", None, alert.msg_type)), others)


def highest(parts: Sequence[Segment]) -> Segment:
    """The segment with the highest level; the first of equals."""
    return max(parts, key=lambda part: 0 if part.level is None else part.level.rank)


def _end(part: Segment, alert: Alert, expiry: Expiry, sent: int) -> int:
    if part.expires is not None:
        return to_ms(part.expires.instant)
    times = [time for info in part.infos for time in (info.effective, info.onset) if time is not None]
    begins = max([sent, *(to_ms(time.instant) for time in times)])
    return begins + _ms(expiry.of(part.event_code or "", part.level, alert.msg_type))


def _ms(hours: float) -> int:
    return round(hours * _HOUR_MS)


def _rank(record: AlertRecord) -> int:
    return next((level.rank for level in Level if level.value == record.level), 0)
