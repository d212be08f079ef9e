"""Lint: everything that is wrong with a message, each with rule, place and value, not the first only."""

from __future__ import annotations

from datetime import UTC, datetime

from broker.cap import structure
from broker.cap.build import tree_of
from broker.cap.collector import Collector
from broker.cap.context import Context, time_at
from broker.cap.findings import Finding, Posture
from broker.cap.limits import Limits
from broker.cap.model import Alert
from broker.cap.rules_alert import check_alert
from broker.cap.rules_info import check_info
from broker.cap.tree import Node, Parsed


def lint(
    document: Parsed | Alert,
    *,
    posture: Posture = Posture.STRICT,
    now: datetime | None = None,
    limits: Limits | None = None,
) -> list[Finding]:
    """List every finding on a parsed message or an alert; never raises, whatever was parsed.

    `now` is the time at which expiry is judged, aware, the present by default. What the codec found comes
    first, then the structure, then the values. The message is valid when no finding is an error.
    """
    if isinstance(document, Alert):
        document = Parsed(tree_of(document))
    if document.root is None:
        return list(document.findings)
    findings, _ = judge(document.root, posture, now, limits)
    return [*document.findings, *findings]


def judge(
    root: Node, posture: Posture, now: datetime | None = None, limits: Limits | None = None
) -> tuple[list[Finding], bool]:
    """The findings on a tree, and whether the OASIS schema would accept it."""
    limits = limits or Limits()
    collector = Collector(posture, limits.max_findings)
    schema_valid = structure.check(root, collector)
    now = now or datetime.now(UTC)
    context = Context(collector, now, time_at(root, "sent"), root.value("msgType"), limits)
    check_alert(root, context)
    for info in root.all("info"):
        check_info(info, context)
    return collector.result(), schema_valid
