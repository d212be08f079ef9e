"""What a profile is: rules that a community lays over CAP 1.2, and the function that applies them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from broker.cap.collector import Collector
from broker.cap.findings import Finding, Posture, Rule
from broker.cap.limits import Limits
from broker.cap.tree import Node


def catalogue(*rules: Rule) -> Mapping[str, Rule]:
    """Rule id → rule."""
    return MappingProxyType({rule.id: rule for rule in rules})


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile: its name on the command line, its title, its rules by id, and its check.

    `check` reports on the tree of a CAP 1.2 message to a collector that knows `rules`, and nothing of what
    CAP 1.2 itself demands: run lint as well. Rule ids begin with the name of the profile.
    """

    name: str
    title: str
    rules: Mapping[str, Rule]
    check: Callable[[Node, Collector], None]

    def collector(self, posture: Posture, limit: int) -> Collector:
        """A report that knows this profile's rules and holds up to `limit` findings."""
        return Collector(posture, limit, self.rules)

    def judge(
        self, root: Node, *, posture: Posture = Posture.STRICT, limits: Limits | None = None
    ) -> list[Finding]:
        """Every finding of this profile on the tree of a message, whatever the tree holds; never raises."""
        report = self.collector(posture, (limits or Limits()).max_findings)
        self.check(root, report)
        return report.result()
