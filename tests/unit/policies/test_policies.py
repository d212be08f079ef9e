from __future__ import annotations

from pathlib import Path

import pytest

from broker.audience.policies import PolicySet, RuleVerdict, Subject, load_policies
from broker.cap.level import Level
from broker.cap.model import Status
from broker.errors import ConfigError
from broker.geo.events import EventCatalogue
from broker.rendition.lint import lint, missing
from broker.rendition.templates import TemplateSet
from broker.types import ChannelName, Lane
from tests.support.places import ROOT, regions

RULE = "rules:\n  - name: a\n    audiences:\n      - channels: [sms]\n        lane: urgent\n"


def load(tmp_path: Path, **files: str) -> PolicySet:
    for name, text in files.items():
        (tmp_path / f"{name.replace('_', '.')}.yaml").write_text(text, encoding="utf-8")
    return load_policies(tmp_path)


def subject(
    level: Level | None = Level.RED, event: str = "11B03", department: str = "met", *, inside: bool = True
) -> Subject:
    return Subject(department, Status.ACTUAL, event, level, lambda _: inside)


def test_rules_are_asked_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    policy = load(tmp_path, b=RULE, a=RULE.replace("name: a", "name: first"))
    assert [rule.name for rule in policy.rules] == ["first", "a"]
    assert [place.rpartition("/")[2] for place in policy.places] == ["a.yaml:2", "b.yaml:2"]


def test_expectations_beside_the_policies_are_not_read_as_rules(tmp_path: Path) -> None:
    assert len(load(tmp_path, a=RULE, a_expect="anything: [").rules) == 1


def test_a_rule_named_twice_is_refused_with_both_places(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, a=RULE, b=RULE)
    assert "b.yaml:2" in str(caught.value)
    assert "a.yaml:2" in str(caught.value)


def test_a_folder_without_policies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_policies(tmp_path)


def test_problems_of_all_files_are_listed_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, a=RULE.replace("lane", "lain"), b=RULE.replace("sms", "smz"))
    text = str(caught.value)
    assert "did you mean 'lane'?" in text
    assert "did you mean 'sms'?" in text


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("lane: urgent", "lane: urgent\n        plays: 0", "plays"),
        ("lane: urgent", "lane: urgent\n        fallback: en", "fallback"),
        ("lane: urgent", "lane: urgent\n        languages: [Chinese]", "Chinese"),
        ("lane: urgent", "lane: urgent\n        template: ../x", "../x"),
        ("lane: urgent", "lane: urgent\n        groups: []", "groups"),
        ("lane: urgent", "lane: urgent\n        kinds: [publik]", "public"),
        ("[sms]", "[]", "channels"),
        ("    audiences:", "    match: {events: [11X]}\n    audiences:", "11X"),
        ("    audiences:", "    match: {events: []}\n    audiences:", "events"),
        ("    audiences:", "    match: {levels: [Rad]}\n    audiences:", "'Red'"),
        ("    audiences:", "    match: {regions: ['5001']}\n    audiences:", "5001"),
        ("    audiences:", "    match: {statuses: [Aktual]}\n    audiences:", "'Actual'"),
        ("    audiences:", "    continue: perhaps\n    audiences:", "continue"),
        ("name: a", "name: ''", "name"),
    ],
)
def test_one_mistake_in_a_policy_is_told_with_the_word_that_is_wrong(
    tmp_path: Path, old: str, new: str, word: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, a=RULE.replace(old, new))
    assert len(caught.value.problems) == 1
    assert word in str(caught.value)
    assert "a.yaml:" in caught.value.problems[0].place


def test_each_condition_that_is_given_must_hold_and_the_verdict_names_the_one_that_does_not(
    tmp_path: Path,
) -> None:
    match = "match: {departments: [met], events: ['11B*'], levels: [Red], regions: ['500117'], statuses: [Actual]}"
    policy = load(tmp_path, a=RULE.replace("    audiences:", f"    {match}\n    audiences:"))

    def verdict(asked: Subject) -> RuleVerdict:
        return policy.decide(asked, regions()).verdicts[0][1]

    assert verdict(subject()) is RuleVerdict.DECIDES
    assert verdict(subject(department="hydro")) is RuleVerdict.OTHER_DEPARTMENT
    assert verdict(subject(event="11A51")) is RuleVerdict.OTHER_EVENT
    assert verdict(subject(level=Level.BLUE)) is RuleVerdict.OTHER_LEVEL
    assert verdict(subject(level=None)) is RuleVerdict.OTHER_LEVEL
    assert verdict(subject(inside=False)) is RuleVerdict.OTHER_REGION
    drill = Subject("met", Status.EXERCISE, "11B03", Level.RED, lambda _: True)
    assert verdict(drill) is RuleVerdict.OTHER_STATUS


def test_rules_after_the_one_that_decides_are_not_asked(tmp_path: Path) -> None:
    going_on = RULE.replace("    audiences:", "    continue: true\n    audiences:")
    policy = load(tmp_path, a=going_on, b=RULE.replace("name: a", "name: b"), c=RULE.replace("name: a", "name: c"))
    verdicts = [verdict for _, verdict in policy.decide(subject(), regions()).verdicts]
    assert verdicts == [RuleVerdict.ADDS, RuleVerdict.DECIDES, RuleVerdict.NOT_ASKED]


def test_words_that_nothing_else_knows_are_found_by_check(tmp_path: Path) -> None:
    match = "match: {departments: [meteorologie], events: [11B98], regions: ['500199']}"
    policy = load(tmp_path, a=RULE.replace("    audiences:", f"    {match}\n    audiences:"))
    events = EventCatalogue.load(ROOT / "config/events.yaml")
    found = policy.check(departments=["meteorology", "geology"], events=events, regions=regions())
    assert {problem.rule for problem in found} == {"policy.department", "policy.event", "policy.region"}
    assert "did you mean 'meteorology'?" in found[0].message
    assert all(problem.place.endswith("a.yaml:2") for problem in found)


# ── the city's own ────────────────────────────────────────────────────────────────────────────────────

CHONGQING = load_policies(ROOT / "policies")
ALL = set(ChannelName)


@pytest.mark.parametrize(
    ("level", "channels", "lane"),
    [
        (Level.RED, ALL, Lane.URGENT),
        (Level.ORANGE, ALL, Lane.URGENT),
        (Level.YELLOW, ALL, Lane.ROUTINE),
        (Level.BLUE, {ChannelName.APP, ChannelName.SIGNAGE}, Lane.ROUTINE),
    ],
)
@pytest.mark.parametrize("event", ["11B03", "11A51", "11D01", "11G01"])
def test_chongqing_warns_at_each_level_through_these_channels(
    level: Level, channels: set[ChannelName], lane: Lane, event: str
) -> None:
    (rule,) = CHONGQING.decide(subject(level, event), regions()).rules
    assert {channel for audience in rule.audiences for channel in audience.channels} == channels
    assert {audience.lane for audience in rule.audiences} == {lane}
    assert {audience.fallback for audience in rule.audiences} == {"zh-CN"}


def test_a_warning_without_level_has_no_rule_in_chongqing() -> None:
    assert CHONGQING.decide(subject(None), regions()).rules == ()


def test_the_city_s_policies_and_templates_know_each_other_and_have_no_finding() -> None:
    templates = TemplateSet.load(ROOT / "templates")
    events = EventCatalogue.load(ROOT / "config/events.yaml")
    assert CHONGQING.check(departments=[], events=events, regions=regions()) == []
    assert missing(templates, CHONGQING.templates()) == []
    assert lint(templates) == []
