"""Rules between the infos of an alert: those of one language are a sequence (CAP 1.2, 3.2.1)."""

from __future__ import annotations

from datetime import UTC, datetime

from broker.cap.context import Context, time_at
from broker.cap.names import DEFAULT_LANGUAGE
from broker.cap.tree import Node

_GRAVITY = ("urgency", "severity", "certainty")
_SHAPES = ("polygon", "circle", "geocode")
_ALWAYS = datetime.max.replace(tzinfo=UTC)


def check_sequences(root: Node, context: Context) -> None:
    """Report an info that says of the same event, ground and time another gravity than an earlier one."""
    infos = root.all("info")
    if len(infos) < 2:  # the usual case costs nothing
        return
    seen: dict[tuple[object, ...], Node] = {}
    for info in infos:
        ground = _ground(info)
        if not ground:
            continue
        key = ((info.value("language") or DEFAULT_LANGUAGE).casefold(), info.value("event"), ground)
        earlier = seen.setdefault(key, info)
        if earlier is not info and _overlap(earlier, info, context):
            _compare(earlier, info, context)


def _ground(info: Node) -> frozenset[tuple[str, str]]:
    return frozenset(
        (name, " ".join((shape.text, *(part.text for part in shape.children))))
        for area in info.all("area")
        for name in _SHAPES
        for shape in area.all(name)
    )


def _overlap(one: Node, other: Node, context: Context) -> bool:
    (start, end), (begin, finish) = _span(one, context), _span(other, context)
    return start < finish and begin < end


def _span(info: Node, context: Context) -> tuple[datetime, datetime]:
    start = time_at(info, "onset") or time_at(info, "effective") or context.sent or context.now
    return start, time_at(info, "expires") or _ALWAYS


def _compare(earlier: Node, info: Node, context: Context) -> None:
    for name in _GRAVITY:
        before, now = earlier.value(name), info.first(name)
        if now is not None and before is not None and now.text != before:
            message = f"an earlier info of the same language, event, area and time says {name} {before}"
            context.report.at(now, "cap.info.override", message)
