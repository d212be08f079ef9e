"""Planning: what one released alert becomes. Pure until `freeze`: it reads what it is given and changes nothing.

For each segment, highest level first: its ground, the rules that match, their audiences on each channel, the
words. A recipient is reached once per channel, by the highest segment that it stands in and the first audience
of that segment that takes it. Of an Update, those who were told before read that it is an update; to the others
it is a warning like any other. The same code answers `explain`, so that what is shown is what would be sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker.audience.admission import admitted
from broker.audience.area import AreaUnresolved, Ground, resolve
from broker.audience.index import AudienceIndex, Columns, Mask, Positions
from broker.audience.policies import AudienceRule, Decision, PolicySet, Subject
from broker.cap.model import Alert, Info, MsgType
from broker.cap.segments import Segment, segments
from broker.dispatch.draft import Cut, Draft, Outcome, RenditionDraft, Verdict
from broker.errors import Problem
from broker.geo.districts import Districts
from broker.geo.regions import Regions, RegionSelector
from broker.ledger.arrays import Recipients
from broker.rendition.context import context_of
from broker.rendition.templates import RenditionError, TemplateSet
from broker.rendition.words import LOCAL
from broker.store.records import AlertRecord
from broker.types import CHANNELS, ChannelName, Kind, Lane, Phase

MAX_BATCH: Final = 4096
"""Most recipients of a batch."""

_LANES: Final = (Lane.URGENT, Lane.ROUTINE)
_NO_VOICE: Final = -1


@dataclass(frozen=True, slots=True)
class Planner:
    """Everything that planning reads besides the alert."""

    policies: PolicySet
    templates: TemplateSet
    regions: Regions
    districts: Districts
    version: str = ""
    """Names the policies and templates: a digest over their files (`broker.dispatch.versions`)."""

    def plan(
        self,
        record: AlertRecord,
        alert: Alert,
        index: AudienceIndex,
        *,
        at: int,
        told: Mapping[ChannelName, Recipients] | None = None,
        replaces: Sequence[str] = (),
    ) -> Draft:
        """What `alert` becomes at `at` (UTC milliseconds), with the recipients of `index`.

        `told` are the ids (ascending) of those whom the earlier messages `replaces` (our ids) may have reached.

        Never raises for what the alert says: a draft that reaches nobody tells why (`Draft.reason`), and one
        that a person must look at is `stopped` and has no batches.
        """
        work = _Work(self, record, alert, index, at, _Before(told or {}, tuple(replaces)))
        work.run()
        stopped = any(outcome.verdict.stops for outcome in work.outcomes)
        return Draft(
            alert=record.id,
            at=at,
            index=index,
            outcomes=tuple(sorted(work.outcomes, key=lambda outcome: outcome.segment)),
            renditions=() if stopped else tuple(work.renditions),
            cuts=() if stopped else tuple(work.cuts()),
        )


@dataclass(frozen=True, slots=True)
class _Before:
    """What was said before, and to whom."""

    told: Mapping[ChannelName, Recipients]
    replaces: tuple[str, ...]

    def phases(self, channel: ChannelName, ids: Recipients) -> Iterator[tuple[Phase, Mask]]:
        """The phases that occur among recipients, each with who is in it."""
        knows: Mask = np.isin(ids, self.told.get(channel, ()), assume_unique=True)
        for phase, mask in ((Phase.WARNING, ~knows), (Phase.UPDATE, knows)):
            if mask.any():
                yield phase, mask


class _Work:
    """One run of the planner."""

    def __init__(
        self,
        planner: Planner,
        record: AlertRecord,
        alert: Alert,
        index: AudienceIndex,
        at: int,
        before: _Before,
    ) -> None:
        self._planner = planner
        self._record = record
        self._alert = alert
        self._index = index
        self._at = at
        self._before = before
        self._today: date = datetime.fromtimestamp(at / 1000, LOCAL).date()
        self._taken: dict[ChannelName, Mask] = {
            channel: np.zeros(len(index.channels[channel]), np.bool_) for channel in CHANNELS
        }
        self._shares: dict[ChannelName, list[_Share]] = {channel: [] for channel in CHANNELS}
        self._by_key: dict[tuple[int, ChannelName, str, str, int, Phase], int | RenditionError] = {}
        self.renditions: list[RenditionDraft] = []
        self.outcomes: list[Outcome] = []

    def run(self) -> None:
        """Take the segments from the highest level down."""
        for segment in sorted(segments(self._alert), key=lambda s: (-(s.level.rank if s.level else 0), s.number)):
            outcome = Outcome(segment.number, segment.event_code or "", segment.level)
            self.outcomes.append(outcome)
            self._segment(segment, outcome)
        if not self.outcomes:
            problem = Problem("info", "plan.no_segment", "the message holds no warning: it has no info")
            self.outcomes.append(Outcome(0, "", None, Verdict.NOT_A_WARNING, problems=[problem]))

    def _segment(self, segment: Segment, outcome: Outcome) -> None:
        kinds = admitted(self._alert.status, self._alert.scope)
        if self._alert.msg_type not in (MsgType.ALERT, MsgType.UPDATE):
            # A Cancel rendered as a warning would start the alarm again that it means to end.
            outcome.refuse(Verdict.NOT_A_WARNING, f"a message of type {self._alert.msg_type} warns of nothing")
            return
        if not kinds:
            what = f"status {self._alert.status} and scope {self._alert.scope}"
            outcome.refuse(Verdict.NOT_ADMITTED, f"a message of {what} reaches nobody")
            return
        expires = self._expires(segment)
        if expires.timestamp() * 1000 <= self._at:
            outcome.refuse(Verdict.EXPIRED, f"the segment expired at {expires.isoformat()}")
            return
        try:
            ground = resolve(segment.areas, self._planner.regions, self._planner.districts, self._today)
        except AreaUnresolved as error:
            outcome.verdict = Verdict.AREA_UNRESOLVED
            outcome.problems += error.problems
            return
        inside = {channel: self._index.channels[channel].inside(ground) for channel in CHANNELS}
        decision = self._decide(segment, ground, inside)
        outcome.decision = decision
        if not decision.rules:
            what = f"{segment.event_code or 'no event code'} {segment.level or 'without level'}"
            outcome.refuse(Verdict.NO_RULE, f"no policy says what to do with {what}")
            return
        self._reach(segment, outcome, decision, inside, kinds)

    def _expires(self, segment: Segment) -> datetime:
        if segment.expires is not None:
            return segment.expires.instant
        return datetime.fromtimestamp(self._record.expires / 1000, LOCAL)

    def _decide(self, segment: Segment, ground: Ground, inside: dict[ChannelName, Mask]) -> Decision:
        def lies_in(selector: RegionSelector) -> bool:
            return ground.overlaps(selector) or any(
                bool(selector.mask(np.unique(self._index.channels[channel].regions(mask))).any())
                for channel, mask in inside.items()
            )

        subject = Subject(
            self._record.department, self._alert.status, segment.event_code or "", segment.level, lies_in
        )
        return self._planner.policies.decide(subject, self._planner.regions)

    def _reach(
        self,
        segment: Segment,
        outcome: Outcome,
        decision: Decision,
        inside: dict[ChannelName, Mask],
        kinds: frozenset[Kind],
    ) -> None:
        """Give everybody on the ground to the first audience that takes them."""
        silent = {channel: np.zeros(len(mask), np.bool_) for channel, mask in inside.items()}
        for rule in decision.rules:
            for audience in rule.audiences:
                unknown = [name for name in audience.groups or () if name not in self._index.group_names]
                if unknown:
                    message = f"rule {rule.name!r}: nobody is in the groups {', '.join(unknown)}"
                    outcome.notes.append(Problem(f"segment {segment.number}", "plan.group", message))
                for channel in audience.channels:
                    columns = self._index.channels[channel]
                    mask = inside[channel] & ~self._taken[channel] & columns.of_kinds(audience.admits(kinds))
                    if audience.groups is not None:
                        mask &= columns.in_groups(self._index.groups_mask(audience.groups))
                    positions: Positions = np.flatnonzero(mask)
                    if len(positions):
                        self._give(segment, outcome, audience, channel, positions, silent[channel])
        for channel, mask in silent.items():
            left = mask & ~self._taken[channel]
            # Who stands in red must not be told blue only because red was not written in their language.
            self._taken[channel] |= left
            if n := int(np.count_nonzero(left)):
                outcome.unspoken[channel] = n
                message = f"{n} recipients of {channel} read no language of the warning, and no fallback is set"
                outcome.notes.append(Problem(f"segment {segment.number}", "plan.language", message))
        if outcome.verdict.stops:
            return
        outcome.verdict = Verdict.PLANNED if outcome.planned else Verdict.NOBODY
        if not outcome.planned:
            message = "nobody whom the policy names stands in the area and is not reached already"
            outcome.problems.append(Problem(f"segment {segment.number}", "plan.nobody", message))

    def _give(
        self,
        segment: Segment,
        outcome: Outcome,
        audience: AudienceRule,
        channel: ChannelName,
        positions: Positions,
        silent: Mask,
    ) -> None:
        """Find each recipient's words; those who have none are noted in `silent`."""
        columns = self._index.channels[channel]
        spoken = columns.languages[positions]
        voices = np.full(len(positions), _NO_VOICE, np.int64)
        for phase, mask in self._before.phases(channel, columns.ids[positions]):
            voice_of = np.full(256, _NO_VOICE, np.int64)
            for number in np.unique(spoken[mask]).tolist():
                voice = self._voice(segment, outcome, audience, channel, self._language_name(number), phase)
                if voice is not None:
                    voice_of[number] = voice
            voices[mask] = voice_of[spoken[mask]]
        silent[positions[voices == _NO_VOICE]] = True
        given = positions[voices != _NO_VOICE]
        self._taken[channel][given] = True
        self._shares[channel].append(
            _Share(given, voices[voices != _NO_VOICE], np.full(len(given), _LANES.index(audience.lane)))
        )
        if len(given):
            outcome.planned[channel] = outcome.planned.get(channel, 0) + len(given)

    def _language_name(self, number: int) -> str:
        return next((name for name, known in self._index.language_names.items() if known == number), "")

    def _voice(
        self,
        segment: Segment,
        outcome: Outcome,
        audience: AudienceRule,
        channel: ChannelName,
        language: str,
        phase: Phase,
    ) -> int | None:
        """The rendition for a reader of `language`: in it if the audience speaks it, else in the fallback."""
        wanted = [own for own in (_closest(language, audience.languages), audience.fallback) if own]
        for choice in dict.fromkeys(wanted):
            info = info_in(segment, choice)
            if info is None:
                message = f"the warning is not written in {choice}"
                _once(outcome.notes, Problem(f"segment {segment.number}", "plan.language", message))
                continue
            made = self._rendition(segment, info, audience, channel, choice, phase)
            if not isinstance(made, RenditionError):
                return made
            for problem in made.problems:
                _once(outcome.notes if choice != wanted[-1] else outcome.problems, problem)
            if choice == wanted[-1]:
                outcome.verdict = Verdict.NO_WORDS
        return None

    def _rendition(
        self,
        segment: Segment,
        info: Info,
        audience: AudienceRule,
        channel: ChannelName,
        language: str,
        phase: Phase,
    ) -> int | RenditionError:
        plays = audience.plays if channel is ChannelName.BROADCAST else 1
        key = (segment.number, channel, language, audience.template, plays, phase)
        if key not in self._by_key:
            context = context_of(
                self._alert,
                segment,
                info,
                language=language,
                regions=self._planner.regions,
                expires=self._expires(segment),
                plays=plays,
                phase=phase,
                replaces=self._before.replaces,
            )
            try:
                words = self._planner.templates.render(channel, audience.template, context)
            except RenditionError as error:
                self._by_key[key] = error
            else:
                self._by_key[key] = len(self.renditions)
                rank = segment.level.rank if segment.level else 0
                self.renditions.append(
                    RenditionDraft(segment.number, rank, channel, language, words, context.expires_at, phase)
                )
        return self._by_key[key]

    def cuts(self) -> list[Cut]:
        """The shares of all segments cut into batches: urgent first, then the highest level."""
        found = [cut for channel in CHANNELS for cut in self._cut(channel)]
        return sorted(found, key=lambda cut: _order(cut, self.renditions[cut.rendition]))

    def _cut(self, channel: ChannelName) -> Iterator[Cut]:
        shares = self._shares[channel]
        if not shares:
            return
        positions = np.concatenate([share.positions for share in shares])
        renditions = np.concatenate([share.renditions for share in shares])
        lanes = np.concatenate([share.lanes for share in shares])
        districts = district_codes(self._planner.regions, self._index.channels[channel], positions, self._today)
        order = np.lexsort((positions, districts, lanes, renditions))
        positions, renditions = positions[order], renditions[order]
        lanes, districts = lanes[order], districts[order]
        for start, end in _runs(renditions, lanes, districts):
            lane, district = _LANES[int(lanes[start])], int(districts[start])
            for low in range(start, end, MAX_BATCH):
                part = positions[low : min(low + MAX_BATCH, end)]
                yield Cut(channel, lane, int(renditions[start]), district, part)


@dataclass(frozen=True, slots=True)
class _Share:
    """Recipients given to one audience, and for each the rendition and the lane."""

    positions: Positions
    renditions: NDArray[np.int64]
    lanes: NDArray[np.int64]


def district_codes(regions: Regions, columns: Columns, positions: Positions, on: date) -> NDArray[np.int64]:
    """Six digits of the district for each recipient; the code's own first six where no district holds it."""
    table = regions.districts_of(columns.division_table, on)
    table = np.where(table == 0, columns.division_table // 10**6, table)
    found: NDArray[np.int64] = table[columns.divisions[positions]]
    return found


def _runs(*columns: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Half-open ranges within which no column changes."""
    n = len(columns[0])
    if not n:
        return
    changed = np.zeros(n - 1, np.bool_)
    for column in columns:
        changed |= column[1:] != column[:-1]
    edges = [0, *(np.flatnonzero(changed) + 1).tolist(), n]
    yield from pairwise(edges)


def _order(cut: Cut, rendition: RenditionDraft) -> tuple[int, int, int, int, int, int, int]:
    return (
        _LANES.index(cut.lane),
        -rendition.rank,
        rendition.segment,
        CHANNELS.index(cut.channel),
        cut.rendition,
        cut.district,
        int(cut.positions[0]),
    )


def _closest(language: str, offered: Sequence[str]) -> str | None:
    """The offered language that a reader of `language` reads: the same tag, else the same primary language."""
    wanted = language.casefold()
    exact = next((each for each in offered if each.casefold() == wanted), None)
    primary = wanted.partition("-")[0]
    return exact or next((each for each in offered if each.casefold().partition("-")[0] == primary), None)


def info_in(segment: Segment, language: str) -> Info | None:
    """The info written in a language; unlike `best_info` never one in another."""
    tag = _closest(language, segment.languages)
    return None if tag is None else segment.in_language(tag)[0]


def _once(problems: list[Problem], problem: Problem) -> None:
    if problem not in problems:
        problems.append(problem)
