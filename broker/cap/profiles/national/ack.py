"""Reads the Ack file by which the national system answers: taken, or why not."""

from __future__ import annotations

from dataclasses import dataclass

from broker.cap import values
from broker.cap.collector import Collector
from broker.cap.findings import Finding, Grade, Posture, Rule
from broker.cap.limits import Limits
from broker.cap.profiles.common import plain, text_of
from broker.cap.profiles.national.document import plain_tree
from broker.cap.profiles.profile import catalogue
from broker.cap.xml import safe_root

_FORMAT = "12379 Ack file"

RULES = catalogue(
    Rule("national.ack.root", "The outermost element is msg.", _FORMAT),
    Rule("national.ack.rows", "/msg/data holds rows.", _FORMAT),
    Rule("national.ack.status", "A row has one status, a whole number.", _FORMAT),
)


@dataclass(frozen=True, slots=True)
class AckRow:
    """One answer: `status` 0 is taken, None could not be read; code and note say why not, where sent."""

    status: int | None
    error_code: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class AckReading:
    """What an Ack file holds."""

    rows: tuple[AckRow, ...]
    findings: tuple[Finding, ...]

    @property
    def accepted(self) -> bool:
        """Whether everything was taken beyond doubt: at least one row, all of status 0, and no error."""
        clean = all(found.severity is not Grade.ERROR for found in self.findings)
        return clean and bool(self.rows) and all(row.status == 0 for row in self.rows)


def read_ack(data: bytes, *, limits: Limits | None = None) -> AckReading:
    """Read `/msg/data/rows/{status, error_code, note}`; whatever the bytes are, it never raises."""
    limits = limits or Limits()
    element, findings = safe_root(data, limits)
    if element is None:
        return AckReading((), tuple(findings))
    report = Collector(Posture.STRICT, limits.max_findings, RULES)
    root = plain_tree(element)
    if root.name != "msg":
        report.at(root, "national.ack.root", "the outermost element must be msg", root.name)
        return AckReading((), tuple(report.result()))
    found = [row for group in root.all("data") for row in group.all("rows")]
    if not found:
        report.at(root, "national.ack.rows", "there is no /msg/data/rows", "")
    rows = []
    for row in found:
        statuses = row.all("status")
        status = values.parse_integer(plain(statuses[0])) if len(statuses) == 1 else None
        if status is None:
            node = statuses[0] if statuses else row
            report.at(
                node, "national.ack.status", "status must be one whole number", plain(node) if statuses else ""
            )
        rows.append(AckRow(status, text_of(row, "error_code") or None, row.value("note")))
    return AckReading(tuple(rows), tuple(report.result()))
