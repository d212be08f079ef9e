"""Lint of templates: rendered with samples at every level, they must say where, until when and what to do.

What cannot be compiled or is unsafe is refused earlier, by `TemplateSet.load`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import Final

from broker.cap.level import Level
from broker.cap.model import Status
from broker.errors import Problem
from broker.rendition.budget import BUDGET_PARTS, parts
from broker.rendition.context import Context
from broker.rendition.templates import ACTION, RenditionError, TemplateSet
from broker.rendition.words import chinese, spoken
from broker.types import ChannelName, Phase

KEY: Final = "key"
"""The block of a loudspeaker script that is said twice."""

_UNSPEAKABLE: Final = re.compile(r"[0-9()（）\[\]【】{}]")
_SEEN_TOGETHER: Final = {
    ChannelName.SMS: (("text",),),
    ChannelName.BROADCAST: (("text",), ("speech",)),
    ChannelName.APP: (("title", "body", "instruction"),),
    ChannelName.SIGNAGE: (("headline", "line", "crawl"),),
}
"""Fields that people see at once: each group must say place, time and action."""

_CHINESE: Final = Context(
    alert="50000041600000_20250810230500",
    status=Status.ACTUAL,
    language="zh-CN",
    event="",
    event_name="地质灾害",
    level_code="Red",
    level="红色",
    sender_name="重庆市地质灾害防治中心",
    place="合川区涪江、嘉陵江沿岸十二个镇街",
    places=("合川区涪江、嘉陵江沿岸十二个镇街",),
    sent="8月10日23时05分",
    begins="8月10日23时05分",
    expires="8月11日12时35分",
    headline="重庆市地质灾害防治中心发布地质灾害预警",
    description="过去3小时（20时至23时）降雨80-100mm，预计未来3小时强降雨持续，山洪、内涝、滑坡的风险高。",
    instruction="立即离开河边、低洼处和陡坡，转移到高处的坚固房屋；停止户外作业，不要涉水，不要驾车过水。",
    contact="",
    web="https://warning.example/a",
    note="",
    phase=Phase.WARNING,
    replaces=(),
    expires_at=0,
    plays=2,
)
_ENGLISH: Final = replace(
    _CHINESE,
    language="en",
    event_name="Severe convection",
    level="red",
    sender_name="Chongqing Hydrology Centre",
    place="Towns along the Jialing in Hechuan",
    places=("Towns along the Jialing in Hechuan",),
    sent="10 Aug 23:05",
    begins="10 Aug 23:05",
    expires="11 Aug 12:35",
    headline="Warning of severe convection",
    description="In the last 3 hours (20:00 to 23:00) 80-100 mm of rain fell. Heavy rain goes on for 3 hours.",
    instruction="Leave river banks and low ground now for a solid building. Do not walk or drive through water.",
)
_NOTE: Final = "经会商，上游降雨已停，河水退到警戒线以下，险情已经过去。"
_NOTE_EN: Final = "The rain has stopped upstream and the river is falling. "
FAMILIES: Final = {Phase.CANCEL: "cancel", Phase.CLEAR: "clear"}
"""Phases that have templates of their own, whatever the event is."""
_PHASES: Final = {family: (phase,) for phase, family in FAMILIES.items()}
_LEVELS_EN: Final = {level: level.value.lower() for level in Level}


def lint(templates: TemplateSet) -> list[Problem]:
    """Everything that samples bring to light, by template."""
    problems: list[Problem] = []
    for name in templates:
        for problem in _lint_one(templates, name):
            if problem not in problems:
                problems.append(problem)
    return problems


def missing(templates: TemplateSet, wanted: Iterable[tuple[str, ChannelName, str, str]]) -> list[Problem]:
    """What policies ask to have rendered and no template can: (place, channel, language, family) each.

    Whoever can be warned must also be told that it is over: each channel and language needs `cancel` and `clear`.
    """
    needed: dict[tuple[str, ChannelName, str, str], None] = {}
    ends: dict[tuple[ChannelName, str], str] = {}
    for place, channel, language, family in wanted:
        needed[place, channel, language, family] = None
        ends.setdefault((channel, language), place)
    for (channel, language), place in ends.items():
        for phase in (Phase.CANCEL, Phase.CLEAR):
            needed[place, channel, language, FAMILIES[phase]] = None
    return [
        Problem(place, "policy.template", f"no template templates/{channel}/{language}/{family}.j2")
        for place, channel, language, family in needed
        if templates.find(channel, language, family, "") is None
    ]


def samples(language: str, event: str, family: str = "default") -> Iterator[Context]:
    """A message in its customary longest form, at every level, with and without instruction, and as a drill.

    Families of warnings are tried as a new warning and as an update; `cancel` and `clear` as what they are.
    """
    base = replace(_CHINESE if chinese(language) else _ENGLISH, language=language, event=event)
    phases = _PHASES.get(family, (Phase.WARNING, Phase.UPDATE))
    for level, phase in product(Level, phases):
        word = level.chinese if chinese(language) else _LEVELS_EN[level]
        leveled = replace(base, level_code=level.value, level=word, phase=phase)
        if phase is not Phase.WARNING:
            leveled = replace(leveled, replaces=("0198a1b2c3d4e5f60718a",))
        if phase in FAMILIES:
            note = _NOTE if chinese(language) else _NOTE_EN
            leveled = replace(leveled, description="", instruction="", note=note)
            yield replace(leveled, note="", status=Status.EXERCISE)
            yield replace(leveled, note=note * 6, instruction=base.instruction, status=Status.EXERCISE)
            yield replace(leveled, level="", level_code="")
        else:
            yield replace(leveled, instruction="", status=Status.EXERCISE)
            yield replace(leveled, instruction=base.instruction * 6, status=Status.EXERCISE)
        yield leveled


def _lint_one(templates: TemplateSet, name: str) -> Iterator[Problem]:
    channel_name, language, stem = name.split("/")
    channel = ChannelName(channel_name)
    family, _, event = stem.rpartition(".")
    if re.fullmatch(r"1[0-9][A-Z][0-9]{2}", stem):
        family, event = "default", stem
    elif not family:
        family, event = stem, ""
    place = f"templates/{name}.j2"
    for sample in samples(language, event, family):
        try:
            words = templates.render(channel, family, sample)
        except RenditionError as error:
            yield from error.problems
            continue
        blocks = templates.blocks(name, sample)
        yield from _says_enough(place, channel, sample, words.content, blocks)
        if channel is ChannelName.SMS and (needed := parts(str(words.content["text"]))) > BUDGET_PARTS:
            message = f"a customary message needs {needed} parts; the budget is {BUDGET_PARTS}"
            yield Problem(place, "template.budget", message, str(needed))
        if channel is ChannelName.BROADCAST:
            yield from _can_be_spoken(place, sample, blocks)


def _says_enough(
    place: str, channel: ChannelName, sample: Context, content: dict[str, object], blocks: dict[str, str]
) -> Iterator[Problem]:
    action = blocks[ACTION]
    if not action:
        yield Problem(place, "template.action", f"the block {ACTION!r} is missing or empty: what should people do?")
    for group in _SEEN_TOGETHER[channel]:
        seen = " ".join(str(content[field]) for field in group)
        where = " and ".join(group)
        aloud = "speech" in group
        for what, texts in (
            ("place", (sample.place,)),
            ("time", (sample.expires, sample.begins, sample.sent)),
            ("action", (action,)),
        ):
            forms = [spoken(text, sample.language) if aloud else text for text in texts if text]
            if forms and not any(form in seen for form in forms):
                yield Problem(place, f"template.{what}", f"{where} says no {what}")


def _can_be_spoken(place: str, sample: Context, blocks: dict[str, str]) -> Iterator[Problem]:
    key = spoken(blocks.get(KEY, ""), sample.language)
    if not key:
        yield Problem(place, "template.key", f"the block {KEY!r} is missing: the sentence to be said twice")
    elif blocks["speech"].count(key) < 2:
        yield Problem(place, "template.twice", "speech does not say the key sentence twice")
    found = _UNSPEAKABLE.search(blocks["speech"])
    if found and (chinese(sample.language) or not found[0].isdigit()):
        yield Problem(place, "template.spoken", f"speech holds {found[0]!r}; use the filter spoken(language)")
