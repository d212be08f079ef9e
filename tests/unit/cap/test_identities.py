"""Several messages at once: the same one again, and another one that says it is the same."""

from __future__ import annotations

from broker.cap import Posture, read
from broker.cap.identities import Identities
from tests.unit.cap.samples import ALERT, NOW, swap


def _judge(seen: Identities, data: bytes, where: str) -> tuple[str, str] | None:
    finding = seen.judge(read(data, "xml", posture=Posture.STRICT, now=NOW), data, where)
    return None if finding is None else (finding.rule, finding.severity.value)


def test_the_same_bytes_again_are_a_note_and_other_bytes_an_error() -> None:
    seen = Identities()
    assert _judge(seen, ALERT.encode(), "a.xml") is None
    assert _judge(seen, ALERT.encode(), "b.xml") == ("cap.identity.repeated", "info")
    assert _judge(seen, swap("forecast desk", "desk"), "c.xml") == ("cap.identity.conflict", "error")


def test_times_are_compared_as_instants_and_another_time_is_another_message() -> None:
    seen = Identities()
    assert _judge(seen, ALERT.encode(), "a.xml") is None
    utc = swap("<sent>2026-06-18T09:30:00+08:00", "<sent>2026-06-18T01:30:00-00:00")
    assert _judge(seen, utc, "b.xml") == ("cap.identity.conflict", "error")
    assert _judge(seen, swap("<sent>2026-06-18T09:30:00", "<sent>2026-06-18T09:30:01"), "c.xml") is None
    assert _judge(seen, swap("<sender>rain", "<sender>hail"), "d.xml") is None


def test_what_is_no_alert_has_no_identity() -> None:
    seen = Identities()
    assert _judge(seen, b"<alert", "a.xml") is None
    assert _judge(seen, b"<alert", "b.xml") is None
