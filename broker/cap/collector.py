"""Gathers findings, up to a limit, each graded by its rule and the posture."""

from __future__ import annotations

from collections.abc import Mapping

from broker.cap.catalogue import RULES
from broker.cap.findings import Finding, Posture, Rule, clip
from broker.cap.tree import Node


class Collector:
    """The growing report on one message; `rules` are those that may be reported, CAP 1.2's own by default."""

    def __init__(self, posture: Posture, limit: int, rules: Mapping[str, Rule] = RULES) -> None:
        self._posture = posture
        self._limit = limit
        self._rules = rules
        self._findings: list[Finding] = []
        self._left_out = 0

    def at(self, node: Node, rule: str, message: str, value: str | None = None) -> None:
        """Report on a node; its own text is the value unless another is given."""
        if len(self._findings) >= self._limit:
            self._left_out += 1
            return
        self.add(rule, node.place, message, node.text if value is None else value, node.line)

    def add(self, rule: str, place: str, message: str, value: str = "", line: int | None = None) -> None:
        """Report on a place that is no node."""
        if len(self._findings) >= self._limit:
            self._left_out += 1
            return
        known = self._rules[rule]
        grade = known.grade(self._posture)
        self._findings.append(Finding(rule, grade, place, clip(value), message, known.clause, line))

    def result(self) -> list[Finding]:
        """Everything reported, in order; the last entry tells how many did not fit."""
        if not self._left_out:
            return list(self._findings)
        rule = RULES["cap.findings.more"]
        message = f"{self._left_out} more findings are not listed"
        more = Finding(rule.id, rule.grade(self._posture), "", "", message, rule.clause)
        return [*self._findings, more]
