"""Policies: which segments reach which audiences, through which channels, in which words.

A policy file holds rules in order. For each segment the first rule that matches decides; one marked
`continue: true` adds its audiences and lets the search go on. A segment that no rule matches stops its alert.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from broker.cap.level import Level
from broker.cap.model import Status
from broker.errors import ConfigError, Problem
from broker.geo.errors import UnknownRegion
from broker.geo.events import EventCatalogue, is_pattern, pattern_covers
from broker.geo.regions import Regions, RegionSelector
from broker.types import ChannelName, Kind, Lane
from broker.yamlfile import Document, read_yaml, suggestion

EXPECTATIONS: Final = ".expect.yaml"
"""Files beside the policies that end like this hold expectations, not rules."""

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def _event(text: str) -> str:
    if not is_pattern(text):
        raise ValueError(f"{text!r} is no event code like 11B03 nor a pattern like 11B*")
    return text


def _region(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) in (6, 9, 12)):
        raise ValueError(f"{text!r} is no division code of 6, 9 or 12 digits")
    return text


def _template(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text!r} is no name of a template")
    return text


def _language(text: str) -> str:
    if not _LANGUAGE.fullmatch(text):
        raise ValueError(f"{text!r} is no language tag like zh-CN or en")
    return text


EventPattern = Annotated[str, AfterValidator(_event)]
RegionCode = Annotated[str, AfterValidator(_region)]
Language = Annotated[str, AfterValidator(_language)]
KindName = Literal["public", "duty", "training"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class Match(_Model):
    """What a rule asks of a segment. A condition that is left out asks nothing; all that are given must hold."""

    departments: tuple[str, ...] | None = Field(None, min_length=1)
    """Ids of departments."""
    events: tuple[EventPattern, ...] | None = Field(None, min_length=1)
    """Event codes, or beginnings of codes followed by `*`."""
    levels: tuple[Level, ...] | None = Field(None, min_length=1)
    regions: tuple[RegionCode, ...] | None = Field(None, min_length=1)
    """Divisions. A segment lies in one if a geocode of it does, or somebody whom it would reach."""
    statuses: tuple[Status, ...] | None = Field(None, min_length=1)


class AudienceRule(_Model):
    """One audience of a rule: whom, on which channels, in which words and languages."""

    channels: tuple[ChannelName, ...] = Field(min_length=1)
    groups: tuple[str, ...] | None = Field(None, min_length=1)
    """Only recipients in at least one of these groups; left out: whatever their groups."""
    kinds: tuple[KindName, ...] | None = Field(None, min_length=1)
    """Only these kinds of recipients; never more than the message's status admits."""
    template: Annotated[str, AfterValidator(_template)] = "default"
    """The family of templates."""
    languages: tuple[Language, ...] = Field(("zh-CN",), min_length=1)
    """Recipients of these languages are spoken to in their own."""
    fallback: Language | None = None
    """One of `languages` for recipients of any other, and for those whose language the warning itself lacks;
    left out: they are not reached by this audience, and the plan says how many they are."""
    lane: Lane
    plays: int = Field(2, ge=1, le=10)
    """How many times a loudspeaker plays the script."""

    @model_validator(mode="after")
    def _fallback_is_spoken(self) -> AudienceRule:
        if self.fallback is not None and self.fallback not in self.languages:
            raise ValueError(f"fallback {self.fallback!r} is not one of its languages")
        return self

    def admits(self, admitted: Iterable[Kind]) -> frozenset[Kind]:
        """Of the kinds that the status admits, those that this audience asks for."""
        if self.kinds is None:
            return frozenset(admitted)
        return frozenset(kind for kind in admitted if kind.name.lower() in self.kinds)


class Rule(_Model):
    """One rule: a name, what it matches, whom it reaches."""

    name: str = Field(min_length=1)
    match: Match = Match()
    audiences: tuple[AudienceRule, ...] = Field(min_length=1)
    go_on: bool = Field(False, alias="continue")
    """Look for further rules after this one."""


class PolicyFile(_Model):
    """A file of rules, in order."""

    rules: tuple[Rule, ...] = Field(min_length=1)


class RuleVerdict(StrEnum):
    """What became of one rule for one segment."""

    DECIDES = "decides"
    ADDS = "adds, and the search goes on"
    NOT_ASKED = "not asked: an earlier rule decided"
    OTHER_DEPARTMENT = "another department"
    OTHER_STATUS = "another status"
    OTHER_EVENT = "another event"
    OTHER_LEVEL = "another level"
    OTHER_REGION = "another region"

    @property
    def matched(self) -> bool:
        """Whether the rule's audiences count."""
        return self in (RuleVerdict.DECIDES, RuleVerdict.ADDS)


@dataclass(frozen=True, slots=True)
class Subject:
    """What rules may ask about a segment."""

    department: str
    status: Status
    event: str
    level: Level | None
    lies_in: Callable[[RegionSelector], bool]
    """Whether the segment lies, with any part, on some divisions."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Every rule's verdict about one segment, in order."""

    verdicts: tuple[tuple[Rule, RuleVerdict], ...]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules whose audiences count, in order; empty when no rule matches."""
        return tuple(rule for rule, verdict in self.verdicts if verdict.matched)


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All rules of a folder: files in the order of their names, rules in the order of the file."""

    rules: tuple[Rule, ...]
    places: tuple[str, ...]
    """`file:line` of each rule."""

    def decide(self, subject: Subject, regions: Regions) -> Decision:
        """Ask the rules about a segment."""
        verdicts: list[tuple[Rule, RuleVerdict]] = []
        decided = False
        for rule in self.rules:
            verdict = RuleVerdict.NOT_ASKED if decided else _judge(rule, subject, regions)
            decided = decided or verdict is RuleVerdict.DECIDES
            verdicts.append((rule, verdict))
        return Decision(tuple(verdicts))

    def templates(self) -> Iterator[tuple[str, ChannelName, str, str]]:
        """(place, channel, language, template) of everything that the rules may have rendered."""
        for rule, place in zip(self.rules, self.places, strict=True):
            for audience in rule.audiences:
                for channel in audience.channels:
                    for language in audience.languages:
                        yield place, channel, language, audience.template

    def check(
        self,
        *,
        departments: Collection[str],
        events: EventCatalogue,
        regions: Regions,
    ) -> list[Problem]:
        """Words in the rules that nothing else knows: departments, event codes, divisions."""
        problems: list[Problem] = []
        for rule, place in zip(self.rules, self.places, strict=True):
            for department in rule.match.departments or ():
                if department not in departments:
                    message = (
                        f"rule {rule.name!r}: no department {department!r}{suggestion(department, departments)}"
                    )
                    problems.append(Problem(place, "policy.department", message, department))
            for pattern in rule.match.events or ():
                if not events.matching(pattern):
                    hint = suggestion(pattern, [event.code for event in events])
                    message = f"rule {rule.name!r}: no event has the code {pattern!r}{hint}"
                    problems.append(Problem(place, "policy.event", message, pattern))
            for code in rule.match.regions or ():
                try:
                    regions.get(code)
                except UnknownRegion as error:
                    problems.append(Problem(place, "policy.region", f"rule {rule.name!r}: {error}", code))
        return problems


def load_policies(folder: Path) -> PolicySet:
    """Read every `*.yaml` of a folder except expectations. Raises ConfigError with all problems of all files."""
    problems: list[Problem] = []
    rules: list[Rule] = []
    places: list[str] = []
    paths = sorted(path for path in folder.glob("*.yaml") if not path.name.endswith(EXPECTATIONS))
    if not paths:
        problems.append(Problem(str(folder), "policy.none", "no policy here: nothing could ever be sent"))
    for path in paths:
        try:
            document = read_yaml(path)
            file = document.validate(PolicyFile)
        except ConfigError as error:
            problems += error.problems
            continue
        rules += file.rules
        places += _places(document, len(file.rules))
    first: dict[str, str] = {}
    for rule, place in zip(rules, places, strict=True):
        if rule.name in first:
            message = f"the rule {rule.name!r} comes twice; it stands first at {first[rule.name]}"
            problems.append(Problem(place, "policy.duplicate", message))
        first.setdefault(rule.name, place)
    if problems:
        raise ConfigError(problems)
    return PolicySet(tuple(rules), tuple(places))


def _places(document: Document, n: int) -> list[str]:
    return [document.place("rules", position) for position in range(n)]


def _judge(rule: Rule, subject: Subject, regions: Regions) -> RuleVerdict:
    match = rule.match
    if match.departments is not None and subject.department not in match.departments:
        return RuleVerdict.OTHER_DEPARTMENT
    if match.statuses is not None and subject.status not in match.statuses:
        return RuleVerdict.OTHER_STATUS
    if match.events is not None and not any(pattern_covers(each, subject.event) for each in match.events):
        return RuleVerdict.OTHER_EVENT
    if match.levels is not None and subject.level not in match.levels:
        return RuleVerdict.OTHER_LEVEL
    if match.regions is not None and not subject.lies_in(regions.selector(match.regions)):
        return RuleVerdict.OTHER_REGION
    return RuleVerdict.ADDS if rule.go_on else RuleVerdict.DECIDES
