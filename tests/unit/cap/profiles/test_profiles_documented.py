"""The reference lists every rule of every profile, with its source and its grades."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.cap.profiles import PROFILES
from broker.cap.profiles.national import ack

PAGE = (Path(__file__).parents[4] / "docs" / "reference" / "profiles.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROFILES)
def test_every_rule_of_a_profile_stands_in_the_reference(name: str) -> None:
    for rule in PROFILES[name].rules.values():
        row = f"| `{rule.id}` | {rule.sentence} | {rule.clause} | {rule.strict.value} | {rule.lenient.value} |"
        assert row in PAGE


def test_the_reference_lists_no_rule_that_there_is_not() -> None:
    known = {rule for profile in PROFILES.values() for rule in profile.rules}
    listed = {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `") and line.count("|") == 6}
    assert listed == known


def test_the_rules_of_ack_files_are_named() -> None:
    assert all(f"`{rule}`" in PAGE for rule in ack.RULES)
