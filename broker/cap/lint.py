"""Lint: everything that is wrong with a message, each with rule, place and value, not the first only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from broker.cap import structure
from broker.cap.build import tree_of
from broker.cap.catalogue import RULES
from broker.cap.collector import Collector
from broker.cap.context import Context, time_at
from broker.cap.findings import Finding, Posture
from broker.cap.limits import Limits
from broker.cap.model import Alert
from broker.cap.older import CONTENT, modernise
from broker.cap.rules_alert import check_alert
from broker.cap.rules_info import check_info
from broker.cap.tree import Node, Parsed

if TYPE_CHECKING:
    from broker.cap.profiles.profile import Profile  # profiles stand over this module


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
        return [*document.findings, unread(posture)]
    return [*document.findings, *judge(document, posture, now, limits).findings]


class Judgement(NamedTuple):
    """What lint says of a tree, what the OASIS schema of CAP 1.2 would say, and the tree in terms of CAP 1.2."""

    findings: list[Finding]
    schema_valid: bool
    root: Node


def judge(
    parsed: Parsed,
    posture: Posture,
    now: datetime | None = None,
    limits: Limits | None = None,
    profile: Profile | None = None,
) -> Judgement:
    """Check a tree; `parsed.root` must be there. An older version is mapped to CAP 1.2 first."""
    assert parsed.root is not None
    limits = limits or Limits()
    collector = Collector(posture, limits.max_findings)
    root, version = parsed.root, parsed.version
    if version is not None and version in CONTENT:
        root = modernise(root, version, collector)
        structure.check(root, collector, CONTENT[version])
        schema_valid = False
    else:
        schema_valid = structure.check(root, collector)
    schema_valid = structure.check_signed(parsed, collector) and schema_valid
    context = Context(collector, now or datetime.now(UTC), time_at(root, "sent"), root.value("msgType"), limits)
    check_alert(root, context)
    for info in root.all("info"):
        check_info(info, context)
    findings = collector.result()
    if profile is not None:
        findings += profile.judge(root, posture=posture, limits=limits)
    return Judgement(findings, schema_valid, root)


def unread(posture: Posture) -> Finding:
    """The finding that says that nothing but the encoding was looked at."""
    rule = RULES["cap.check.skipped"]
    message = "nothing else was checked: the document cannot be read as a message of CAP"
    return Finding(rule.id, rule.grade(posture), "", "", message, rule.clause)
