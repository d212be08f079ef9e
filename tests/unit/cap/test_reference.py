"""The page about lint lists the rules as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from broker.cap import RULES
from broker.cap.findings import Rule
from broker.cap.wrapping import RULES as WRAPPING_RULES

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "lint.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("rules", "prefix"), [(RULES, "| `cap."), (WRAPPING_RULES, "| `wrap.")])
def test_the_tables_are_the_catalogues_rule_by_rule(rules: Mapping[str, Rule], prefix: str) -> None:
    wanted = []
    for rule in rules.values():
        clause = f"CAP 1.2, {rule.clause}" if rule.clause[:1].isdigit() else rule.clause
        wanted.append(f"| `{rule.id}` | {rule.sentence} | {clause} | {rule.strict} | {rule.lenient} |")
    assert [line for line in PAGE.splitlines() if line.startswith(prefix)] == wanted


def test_clauses_are_sections_that_cap_1_2_has_or_name_another_standard() -> None:
    sections = {"3.2", "3.2.1", "3.2.2", "3.2.3", "3.2.4", "3.3.1", "3.3.2", "3.4"}
    for rule in RULES.values():
        assert rule.clause in sections or rule.clause == "house rule" or rule.clause[:1].isalpha(), rule.id
