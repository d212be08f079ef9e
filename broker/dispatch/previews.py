"""What a person sees before release, frozen: exactly this is sent, or the release is refused with what changed.

A preview's id is a digest over everything that release depends on: the alert's bytes, its geometry, the policies
and templates, the renditions and the audience, recipient by recipient. The estimates are not part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from broker.audience.index import LiveIndex
from broker.cap.model import Alert
from broker.clock import now_ms
from broker.dispatch.draft import Cut, Draft, Outcome, RenditionDraft, Verdict
from broker.dispatch.followup import FollowCut, FollowUp
from broker.dispatch.proposal import Proposal, Proposer
from broker.errors import InputRefused, NotFound, Problem
from broker.ledger.arrays import Recipients
from broker.rendition.budget import parts
from broker.rendition.templates import Words
from broker.store.contract import Store
from broker.store.records import AlertRecord, PreviewRecord, TokenRecord
from broker.types import CHANNELS, ChannelName, Lane, Phase

_NOBODY: Final = np.zeros(0, np.uint32)


class Pace(BaseModel):
    """How fast a channel is expected to be, for estimates."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_second: float = Field(gt=0)
    """Recipients a second."""
    seconds: float = Field(default=5.0, ge=0)
    """From submission until the recipient has it."""


class PreviewSettings(BaseModel):
    """How long a preview holds, and how far the audience may have moved at release."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    valid_seconds: int = Field(default=900, ge=1, le=86_400)
    tolerance: int = Field(default=0, ge=0)
    """Recipients, over all channels, that may have been added or lost since the preview."""
    pace: dict[ChannelName, Pace] = Field(
        default_factory=lambda: {
            ChannelName.SMS: Pace(per_second=4500, seconds=5),
            ChannelName.BROADCAST: Pace(per_second=2000, seconds=5),
            ChannelName.APP: Pace(per_second=5000, seconds=2),
            ChannelName.SIGNAGE: Pace(per_second=1000, seconds=2),
        }
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """Some recipients of one channel and the number of their rendition, all drafts counted through."""

    channel: ChannelName
    lane: Lane
    rendition: int
    district: int
    source: int | None
    """The earlier batch whose readers these are, for those who are told that it is over."""
    recipients: Recipients


@dataclass(frozen=True, slots=True)
class _Facts:
    """Everything that release depends on; its digest is the preview's id."""

    alert: str
    geometry: str
    version: str
    renditions: tuple[RenditionDraft, ...]
    parts: tuple[_Part, ...] = field(repr=False)

    @property
    def id(self) -> str:
        """Hexadecimal SHA-256."""
        digest = hashlib.sha256()
        plain = [self.alert, self.geometry, self.version, [_plain(each) for each in self.renditions]]
        plain.append([_shape(part) for part in self.parts])
        digest.update(json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode())
        digest.update(self.recipients)
        return digest.hexdigest()

    @property
    def recipients(self) -> bytes:
        """The ids of all parts, one after the other."""
        return b"".join(part.recipients.astype("<u4").tobytes() for part in self.parts)

    def words(self) -> list[dict[str, Any]]:
        """What those who are warned will read."""
        return [_plain(each) for each in self.renditions if each.phase is not Phase.CLEAR]

    def audience(self) -> dict[ChannelName, Recipients]:
        """Who is warned, by channel, ascending.

        Those who are told that it is over are not part of it: they follow from what the ledger learns until the
        release and after it, and telling them needs nobody's leave.
        """
        found: dict[ChannelName, list[Recipients]] = {channel: [] for channel in CHANNELS}
        for part in self.parts:
            if part.source is None:
                found[part.channel].append(part.recipients)
        return {channel: np.sort(np.concatenate([_NOBODY, *some])) for channel, some in found.items()}


class Previews:
    """Makes previews, judges a release by them, and turns them into the plan that is sent."""

    def __init__(
        self, store: Store, proposer: Proposer, index: LiveIndex, settings: PreviewSettings | None = None
    ) -> None:
        self._store = store
        self._proposer = proposer
        self._index = index
        self._settings = settings or PreviewSettings()

    async def make(self, record: AlertRecord, author: TokenRecord) -> PreviewRecord:
        """What releasing `record` (with its body) now would do, kept for `valid_seconds`.

        Raises InputRefused (422) when the alert cannot go out as it is, with every reason.
        """
        proposal = await self._proposer.propose(record)
        if proposal.stopped or proposal.expired:
            raise InputRefused(list(_reasons(proposal)), status=422)
        facts = self._facts(proposal)
        made = now_ms()
        shown = {
            "alert": record.id,
            "identifier": record.identifier,
            "status": record.status,
            "msg_type": record.msg_type,
            **self._shown(proposal, facts),
        }
        preview = PreviewRecord(
            id=facts.id,
            alert=record.id,
            author=author.id,
            made=made,
            valid_until=made + 1000 * self._settings.valid_seconds,
            content={
                "shown": shown,
                "alert": facts.alert,
                "geometry": facts.geometry,
                "version": facts.version,
                "renditions": [_plain(each) for each in facts.renditions],
                "parts": [_shape(part) for part in facts.parts],
            },
            recipients=facts.recipients,
        )
        await self._store.add_preview(preview)
        return preview

    async def check(self, alert: AlertRecord, preview: str) -> None:
        """Raises InputRefused (409) with every difference if releasing `alert` is no longer what was previewed."""
        try:
            kept = await self._store.preview(preview)
        except NotFound:
            kept = None
        if kept is None or kept.alert != alert.id:
            raise _refused(Problem("preview", "release.preview.unknown", "no such preview of this alert", preview))
        if kept.valid_until <= now_ms():
            message = "this preview is over: look at a new one, then release that"
            raise _refused(Problem("preview", "release.preview.expired", message))
        proposal = await self._proposer.propose(alert)
        if proposal.stopped or proposal.expired:
            raise InputRefused(list(_reasons(proposal)), status=409)
        problems = list(self._differences(_facts_of(kept), self._facts(proposal)))
        if problems:
            raise InputRefused(problems, status=409)

    async def frozen(self, record: AlertRecord, *, held: frozenset[int] = frozenset()) -> Proposal:
        """The previewed plan of a released alert. Raises NotFound and StoreError.

        Recipients who have left the registry since are left out; batches in `held` wait for a later round.
        """
        assert record.preview is not None
        facts = _facts_of(await self._store.preview(record.preview))
        index = await self._index.current()
        warned = [n for n, each in enumerate(facts.renditions) if each.phase in (Phase.WARNING, Phase.UPDATE)]
        places = {number: place for place, number in enumerate(warned)}
        cuts = []
        for part in facts.parts:
            if part.source is None:
                positions = index.channels[part.channel].positions_of(part.recipients)
                if len(positions):
                    cuts.append(Cut(part.channel, part.lane, places[part.rendition], part.district, positions))
        draft = Draft(
            alert=record.id,
            at=now_ms(),
            index=index,
            outcomes=_outcomes(facts),
            renditions=tuple(facts.renditions[number] for number in warned),
            cuts=tuple(cuts),
        )
        return Proposal(record, draft, await self._follow(facts, held))

    async def _follow(self, facts: _Facts, held: frozenset[int]) -> FollowUp:
        told = [n for n, each in enumerate(facts.renditions) if each.phase is Phase.CLEAR]
        places = {number: place for place, number in enumerate(told)}
        parts_ = [part for part in facts.parts if part.source is not None and part.source not in held]
        cuts = []
        for part in parts_:
            assert part.source is not None
            source = await self._store.batch(part.source)
            ordinals = np.flatnonzero(np.isin(source.recipients, part.recipients)).astype(np.uint16)
            cuts.append(FollowCut(source, ordinals, places[part.rendition]))
        return FollowUp(tuple(facts.renditions[number] for number in told), tuple(cuts))

    def _facts(self, proposal: Proposal) -> _Facts:
        draft, follow = proposal.draft, proposal.follow
        renditions: list[RenditionDraft] = []
        found: list[_Part] = []
        if draft is not None:
            renditions += draft.renditions
            for cut in draft.cuts:
                ids = draft.index.channels[cut.channel].ids[cut.positions]
                found.append(_Part(cut.channel, cut.lane, cut.rendition, cut.district, None, ids))
        offset = len(renditions)
        renditions += follow.renditions
        for one in follow.cuts:
            source = one.source
            found.append(
                _Part(
                    source.channel, Lane.URGENT, offset + one.rendition, source.district, source.id, one.recipients
                )
            )
        alert = self._proposer.alert_of(proposal.record)
        return _Facts(
            proposal.record.digest.hex(), _geometry(alert), self._proposer.version, tuple(renditions), tuple(found)
        )

    def _differences(self, before: _Facts, now: _Facts) -> Iterator[Problem]:
        """What of a release changed, each with a rule of its own."""
        for name, what in (
            ("alert", "the alert's bytes"),
            ("geometry", "the alert's areas"),
            ("version", "the policies or templates"),
        ):
            if getattr(before, name) != getattr(now, name):
                yield Problem("preview", f"release.changed.{name}", f"{what} changed since the preview")
        if before.words() != now.words():
            message = "what people will read changed since the preview"
            yield Problem("preview", "release.changed.renditions", message)
        yield from self._moved(before.audience(), now.audience())

    def _moved(
        self, before: Mapping[ChannelName, Recipients], now: Mapping[ChannelName, Recipients]
    ) -> Iterator[Problem]:
        found, total = [], 0
        for channel in CHANNELS:
            added = len(np.setdiff1d(now[channel], before[channel], assume_unique=True))
            lost = len(np.setdiff1d(before[channel], now[channel], assume_unique=True))
            total += added + lost
            if added or lost:
                message = f"{channel}: {added} recipients more, {lost} fewer than in the preview"
                found.append(Problem(f"preview/{channel}", "release.changed.audience", message, str(added + lost)))
        if total > self._settings.tolerance:
            yield from found

    def _shown(self, proposal: Proposal, facts: _Facts) -> dict[str, Any]:
        by_channel: dict[str, int] = {}
        by_district: dict[int, dict[str, int]] = {}
        readers = [0] * len(facts.renditions)
        for part in facts.parts:
            n = len(part.recipients)
            by_channel[part.channel] = by_channel.get(part.channel, 0) + n
            here = by_district.setdefault(part.district, {})
            here[part.channel] = here.get(part.channel, 0) + n
            readers[part.rendition] += n
        return {
            "segments": [_segment(outcome) for outcome in (proposal.draft.outcomes if proposal.draft else ())],
            "people": proposal.draft.holders() if proposal.draft else 0,
            "recipients": sum(by_channel.values()),
            "no_longer_concerned": len(proposal.follow),
            "channels": by_channel,
            "districts": [
                {"district": f"{code:06d}", "channels": channels} for code, channels in sorted(by_district.items())
            ],
            "renditions": [
                {**_plain(each), **_parts(each), "recipients": n}
                for each, n in zip(facts.renditions, readers, strict=True)
            ],
            "notes": [note.message for note in proposal.notes],
            "minutes_to_90": self._minutes(by_channel),
        }

    def _minutes(self, channels: Mapping[str, int]) -> dict[str, float]:
        """Estimated minutes until nine of ten have it, by channel."""
        found = {}
        for name, n in channels.items():
            pace = self._settings.pace.get(ChannelName(name))
            if pace is not None:
                found[name] = round((0.9 * n / pace.per_second + pace.seconds) / 60, 2)
        return found


def _parts(draft: RenditionDraft) -> dict[str, int]:
    """How many parts a short message needs."""
    return {"parts": parts(str(draft.words.content["text"]))} if draft.channel is ChannelName.SMS else {}


def _refused(problem: Problem) -> InputRefused:
    return InputRefused([problem], status=409)


def _reasons(proposal: Proposal) -> Iterator[Problem]:
    yield from proposal.follow.problems
    for outcome in proposal.draft.outcomes if proposal.draft else ():
        yield from outcome.problems


def _segment(outcome: Outcome) -> dict[str, Any]:
    return {
        "segment": outcome.segment,
        "event": outcome.event,
        "level": None if outcome.level is None else str(outcome.level),
        "verdict": str(outcome.verdict),
        "rules": [rule.name for rule in outcome.decision.rules],
        "channels": {str(channel): n for channel, n in outcome.planned.items()},
        "problems": [problem.message for problem in outcome.problems],
    }


def _outcomes(facts: _Facts) -> tuple[Outcome, ...]:
    """What the frozen draft says of its segments: that they were planned."""
    numbers = sorted({each.segment for each in facts.renditions})
    return tuple(Outcome(number, "", None, Verdict.PLANNED) for number in numbers)


def _geometry(alert: Alert) -> str:
    """Digest over every polygon, circle and geocode as sent, in order."""
    texts = [
        [
            [polygon.text for polygon in area.polygons],
            [circle.text for circle in area.circles],
            [[code.value_name, code.value] for code in area.geocodes],
        ]
        for info in alert.infos
        for area in info.areas
    ]
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode()).hexdigest()


def _plain(draft: RenditionDraft) -> dict[str, Any]:
    return {
        "segment": draft.segment,
        "rank": draft.rank,
        "channel": str(draft.channel),
        "language": draft.language,
        "template": draft.words.template,
        "phase": str(draft.phase),
        "expires": draft.expires,
        "content": draft.words.content,
    }


def _shape(part: _Part) -> list[Any]:
    return [str(part.channel), str(part.lane), part.rendition, part.district, part.source, len(part.recipients)]


def _facts_of(preview: PreviewRecord) -> _Facts:
    """What was frozen, read back."""
    content: Any = preview.content
    everybody = np.frombuffer(preview.recipients, "<u4").astype(np.uint32)
    sizes = [shape[5] for shape in content["parts"]]
    edges = np.cumsum([0, *sizes])
    found = [
        _Part(ChannelName(channel), Lane(lane), rendition, district, source, everybody[low:high])
        for (channel, lane, rendition, district, source, _), low, high in zip(
            content["parts"], edges[:-1], edges[1:], strict=True
        )
    ]
    return _Facts(
        content["alert"],
        content["geometry"],
        content["version"],
        tuple(_drafts(content["renditions"])),
        tuple(found),
    )


def _drafts(plain: Iterable[Mapping[str, Any]]) -> Iterator[RenditionDraft]:
    for each in plain:
        yield RenditionDraft(
            each["segment"],
            each["rank"],
            ChannelName(each["channel"]),
            each["language"],
            Words(dict(each["content"]), each["template"]),
            each["expires"],
            Phase(each["phase"]),
        )
