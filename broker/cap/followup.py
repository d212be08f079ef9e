"""The messages that take a warning back or narrow it, prepared from the warning itself, and what makes them pure.

Whoever sees a mistake needs them at once and needs no new authority for them, so nothing may come in with them:
a Cancel says no more than what it cancels and why; a correction has the same words for fewer places.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from typing import Final

from broker.cap import values
from broker.cap.model import Alert, Area, CapTime, Info, MsgType, Reference
from broker.cap.segments import Segment, segments

_BEIJING: Final = timezone(timedelta(hours=8))
_NATIONAL: Final = re.compile(r"(?P<sender>[0-9A-Za-z]{14})_(?P<time>[0-9]{14})(?:_[0-9]+)?")
"""Issuer, Beijing time, and a number for several of one second (GB/T 35965.1)."""
_STAMPED: Final = re.compile(r"(?P<stem>.*)-[0-9]{14}(?:_[0-9]+)?", re.DOTALL)
_LONGEST: Final = 256
"""Characters of an identifier, as at intake."""
_FORBIDDEN: Final = re.compile(r"[\s,<&]")
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FREE: Final = frozenset({"areas", "effective", "onset", "expires"})
_WORDS: Final = tuple(field.name for field in fields(Info) if field.name not in _FREE)
_HEAD: Final = ("status", "scope", "restriction", "addresses", "codes")


def next_identifier(original: Alert, sent: datetime, taken: Collection[str] = ()) -> str:
    """An identifier for a message about `original`, sent at `sent` (aware): none of `taken` and not its own.

    One of the national form keeps its issuer and gets the new time; any other gets the time behind it.
    """
    time = f"{sent.astimezone(_BEIJING):%Y%m%d%H%M%S}"
    national = _NATIONAL.fullmatch(original.identifier)
    if national is not None:
        base = f"{national['sender']}_{time}"
    else:
        stamped = _STAMPED.fullmatch(original.identifier)
        stem = stamped["stem"] if stamped is not None else original.identifier
        base = f"{stem[: _LONGEST - 30]}-{time}"
    used = {original.identifier, *taken}
    number, found = 1, base
    while found in used:
        number += 1
        found = f"{base}_{number}"
    return found


def cancel_of(
    original: Alert, *, identifier: str, sent: datetime, note: str | None = None, sender: str | None = None
) -> Alert:
    """A Cancel of `original`, for the same readers: no infos, only `note`, which says why.

    The sender is the original's unless another is given. Raises ValueError for what would not be a valid message:
    an original that warns of nothing or cannot be referred to, a time before its own, its own identifier, an
    identifier or note that CAP or XML cannot carry.
    """
    return _about(original, MsgType.CANCEL, identifier, sent, note, sender, ())


def correction_of(
    original: Alert,
    areas: Sequence[Area] | Mapping[int, Sequence[Area]] | None = None,
    *,
    identifier: str,
    sent: datetime,
    note: str | None = None,
    sender: str | None = None,
    expires: datetime | None = None,
) -> Alert:
    """An Update of `original` with the same words for `areas`.

    `areas` are those of the only segment, or those of several by segment number; segments that are not named keep
    theirs, one that is given none is left out. None keeps all. Where an area is one of the original's, each
    language keeps its own name for it. `expires` is when the original ends where it does not say so itself.
    Beginnings that have passed are left out. Raises ValueError as `cancel_of` does, for an original that is over
    at `sent`, for a segment that does not exist, and if no area would be left.
    """
    wanted = _by_segment(original, areas)
    kept: dict[int, Info] = {}
    for segment in segments(original):
        mine = wanted.get(segment.number)
        if mine is None or mine:
            for info in segment.infos:
                kept[id(info)] = _corrected(info, segment, mine, sent, expires)
    infos = tuple(kept[id(info)] for info in original.infos if id(info) in kept)
    if not infos:
        raise ValueError("no area would be left: cancel it")
    return _about(original, MsgType.UPDATE, identifier, sent, note, sender, infos)


def same_words(update: Alert, original: Alert, *, expires: datetime | None = None) -> list[str]:
    """What `update` says differently from `original`, as sentences; empty when it only has other areas.

    Free are identifier, sender, time, note, references and areas; times of an info may shorten it. `expires` is
    when the original ends where it does not say so itself; without it, such an info must stay without an end.
    Whether the areas are smaller is not asked here: who is reached tells that.
    """
    said = [
        f"{_element(name)} is {_shown(getattr(update, name))}, was {_shown(getattr(original, name))}"
        for name in _HEAD
        if getattr(update, name) != getattr(original, name)
    ]
    if update.msg_type is not MsgType.UPDATE:
        said.append(f"msgType is {update.msg_type}, not Update")
    left = list(original.infos)
    for number, info in enumerate(update.infos, 1):
        if not left:
            said.append(f"info {number} is more than there were")
            continue
        differences = [_info_differences(info, other, update, expires) for other in left]
        best = min(range(len(left)), key=lambda place: (len(differences[place]), place))
        said += [f"info {number}: {sentence}" for sentence in differences[best]]
        del left[best]
    said += _untold(original, left)
    return said


def _about(
    original: Alert,
    msg_type: MsgType,
    identifier: str,
    sent: datetime,
    note: str | None,
    sender: str | None,
    infos: tuple[Info, ...],
) -> Alert:
    if original.msg_type not in (MsgType.ALERT, MsgType.UPDATE):
        raise ValueError(f"a message of type {original.msg_type} warns of nothing")
    written = CapTime.of(sent)
    if written.instant < original.sent.instant:
        raise ValueError(f"{written.text} is before the message itself, {original.sent.text}")
    sender = original.sender if sender is None else sender
    for name, text in (
        ("identifier", identifier),
        ("sender", sender),
        ("the original's identifier", original.identifier),
    ):
        if not text or _FORBIDDEN.search(text) or _NOT_XML.search(text):
            raise ValueError(f"{name} is empty or holds white space, a comma, < or &: {text[:60]!r}")
    if note is not None and _NOT_XML.search(note):
        raise ValueError("the note holds a character that XML cannot carry")
    reference = _reference(original)
    if (sender, identifier) == (original.sender, original.identifier):
        raise ValueError("a message about another needs an identifier of its own")
    return replace(
        original,
        identifier=identifier,
        sender=sender,
        sent=written,
        msg_type=msg_type,
        # An exercise is named in the note (CAP 1.2, 3.2.1 `status`): without another note that one stays.
        note=note if note is not None and not values.is_blank(note) else original.note,
        references_text=reference.text,
        infos=infos,
    )


def _reference(original: Alert) -> Reference:
    if not original.sender or _FORBIDDEN.search(original.sender):
        raise ValueError(f"the original's sender cannot stand in references: {original.sender[:60]!r}")
    time = CapTime(values.collapse(original.sent.text), original.sent.instant)
    return Reference(original.sender, original.identifier, time)


def _by_segment(
    original: Alert, areas: Sequence[Area] | Mapping[int, Sequence[Area]] | None
) -> Mapping[int, Sequence[Area]]:
    numbers = [segment.number for segment in segments(original)]
    if areas is None:
        return {}
    if isinstance(areas, Mapping):
        if unknown := sorted(set(areas) - set(numbers)):
            raise ValueError(f"there is no segment {unknown[0]}; there are {numbers}")
        return areas
    if len(numbers) != 1:
        raise ValueError(f"the message has {len(numbers)} segments: say which areas are for which")
    return {numbers[0]: areas}


def _corrected(
    info: Info, segment: Segment, areas: Sequence[Area] | None, sent: datetime, expires: datetime | None
) -> Info:
    end = info.expires or (None if expires is None else CapTime.of(expires))
    if end is not None and end.instant <= sent.replace(microsecond=0):
        raise ValueError(f"it was over at {end.text}: there is nothing to correct")
    return replace(
        info,
        effective=_ahead(info.effective, sent),
        onset=_ahead(info.onset, sent),
        expires=end,
        areas=info.areas if areas is None else tuple(_named(area, info, segment) for area in areas),
    )


def _ahead(time: CapTime | None, sent: datetime) -> CapTime | None:
    return time if time is not None and time.instant >= sent else None


def _named(area: Area, info: Info, segment: Segment) -> Area:
    """The area as this info names it, if it is one of the original's in any language."""
    for other in segment.infos:
        for number, own in enumerate(other.areas):
            if replace(own, area_desc=area.area_desc) == area and number < len(info.areas):
                mine = info.areas[number]
                if replace(mine, area_desc=area.area_desc) == area:
                    return mine
    return area


def _info_differences(info: Info, other: Info, update: Alert, expires: datetime | None) -> list[str]:
    said = [
        f"{_element(name)} is {_shown(getattr(info, name))}, was {_shown(getattr(other, name))}"
        for name in _WORDS
        if getattr(info, name) != getattr(other, name)
    ]
    for name in ("effective", "onset"):
        now, before = getattr(info, name), getattr(other, name)
        if not _later(now, before, update.sent.instant):
            said.append(f"{name} is {_time(now)}, was {_time(before)}: it begins earlier")
    end = other.expires.instant if other.expires is not None else expires
    if info.expires is None:
        if end is not None:
            said.append(f"expires is gone, was {end.isoformat()}: it may stand longer")
    elif end is None or info.expires.instant > end:
        said.append(f"expires is {info.expires.text}, was {_time(other.expires)}: it stands longer")
    return said


def _later(now: CapTime | None, before: CapTime | None, sent: datetime) -> bool:
    """Whether a beginning is the same or later; without one it is the time of sending."""
    if now == before:
        return True
    begins = sent if now is None else now.instant
    return before is None or begins >= before.instant


def _untold(original: Alert, left: Iterable[Info]) -> list[str]:
    """Infos that the update lacks while it keeps others of their segment: some would lose their language."""
    gone = {id(info) for info in left}
    return [
        f"segment {segment.number} is no longer told in {info.language_tag}"
        for segment in segments(original)
        if any(id(info) not in gone for info in segment.infos)
        for info in segment.infos
        if id(info) in gone
    ]


def _element(name: str) -> str:
    """The name of a field as CAP writes it: response_types → responseType."""
    head, *rest = name.split("_")
    written = head + "".join(word.capitalize() for word in rest)
    plural = {"categories": "category", "responseTypes": "responseType", "eventCodes": "eventCode"}
    return plural.get(
        written, written.removesuffix("s") if written in ("codes", "parameters", "resources") else written
    )


def _shown(value: object) -> str:
    text = "absent" if value is None or value == () else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _time(time: CapTime | None) -> str:
    return "absent" if time is None else time.text
