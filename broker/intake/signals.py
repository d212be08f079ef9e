"""Signals that contradict each other: what says "real" in one place and "drill" or "over" in another is held.

Codes, words and type of a message must agree, for some downstream acts on each of them: a test whose codes looked
real has alarmed whole coasts. Nobody guesses which of them was meant; the sender is told, at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from broker.cap.model import Alert, Info, MsgType, ResponseType, Status, Urgency
from broker.errors import Problem

RULE: Final = "intake.signals"

_LIFTED: Final = re.compile(
    # "until it is lifted" and "not lifted yet" are advice, not the lifting.
    r"(?<![未没待等后勿])(?<!没有)(?<!直到)(?<!直至)(?<!等到)解除(?!之?[前后]|以[前后]|为止|时|条件)"
    r"|\ball[- ]clear\b"
    r"|\b(?:warning|alert|signal|watch)s?\b[^.;]{0,30}\b(?:lifted|cancell?ed|withdrawn)\b"
    r"|\b(?:lift(?:s|ed|ing)?|cancel(?:s|l?ed|l?ing|lation)?)\b[^.;]{0,40}\b(?:warning|alert|signal|watch)",
    re.IGNORECASE,
)
_LIFTED_IN_TEXT: Final = re.compile(
    r"(?:现|决定|予以|已经?|同时|特此|宣布|即日起|分)解除[^。；;]{0,30}(?:预警|警报|信号)(?!之?[前后]|以[前后]|时)"
    r"|(?:预警|警报|信号)[^。；;，,]{0,8}(?:已经?|予以|现已|现)解除(?!之?[前后]|以[前后]|为止|时)"
)
_DRILL: Final = re.compile(
    r"演练|演习|测试"
    r"|\b(?:EXERCISE|DRILL|TEST|TESTING)\b"
    r"|(?i:[\[(]\s*(?:exercise|drill|test)\b|^\s*(?:exercise|drill|test)\s*[:\-]"
    r"|\bthis is (?:only )?an? (?:exercise|drill|test)\b)"
)
_NAMES_EXERCISE: Final = re.compile(
    r"演练|演习|\b(?:exercise|drill)\b(?!\s+(?:\w+\s+)?(?:caution|care|judgement|judgment))", re.IGNORECASE
)
_NO_DRILL: Final = re.compile(
    r"(?:不是|并非|绝非|非)(?:一[次场]|任何)?(?:演练|演习|测试)|\bnot? an? (?:exercise|drill|test)\b|\bno drill\b",
    re.IGNORECASE,
)


def problems(alert: Alert) -> list[Problem]:
    """Everything in an Alert or Update that contradicts its type or status.

    A Cancel may say that a drill went out by mistake and that it is lifted, so it is not asked.
    """
    if alert.msg_type is MsgType.ALERT:
        return [*_over(alert), *_unreal(alert)]
    return list(_unreal(alert)) if alert.msg_type is MsgType.UPDATE else []


def _over(alert: Alert) -> Iterator[Problem]:
    """An Alert that says that the danger is over would start the alarm that it means to end."""
    hint = "send msgType Cancel, or Update with responseType AllClear"
    for number, info in enumerate(alert.infos, 1):
        place = f"/alert/info[{number}]"
        if (found := _LIFTED.search(info.headline or "")) is not None:
            yield Problem(f"{place}/headline", RULE, f"an Alert whose headline says {found[0]!r}; {hint}", found[0])
        if (found := _LIFTED_IN_TEXT.search(info.description or "")) is not None:
            message = f"an Alert whose description says {found[0]!r}; {hint}"
            yield Problem(f"{place}/description", RULE, message, found[0])
    if alert.infos and all(_is_over(info) for info in alert.infos):
        message = f"an Alert of which every info has responseType AllClear or urgency Past; {hint}"
        yield Problem("/alert/msgType", RULE, message, str(alert.msg_type))


def _is_over(info: Info) -> bool:
    return info.urgency is Urgency.PAST or ResponseType.ALL_CLEAR in info.response_types


def _unreal(alert: Alert) -> Iterator[Problem]:
    """What is Actual names no drill; what is none of the real thing does not say that it is."""
    actual = alert.status is Status.ACTUAL
    if actual and (found := _NAMES_EXERCISE.search(alert.note or "")) is not None:
        message = f"the message is Actual, but its note names an exercise: {found[0]!r}"
        yield Problem("/alert/note", RULE, message, found[0])
    for number, info in enumerate(alert.infos, 1):
        place = f"/alert/info[{number}]"
        if actual and (found := _DRILL.search(info.headline or "")) is not None:
            message = f"the message is Actual, but its headline says {found[0]!r}"
            yield Problem(f"{place}/headline", RULE, message, found[0])
        if alert.status in (Status.EXERCISE, Status.TEST):
            for name, text in (
                ("headline", info.headline),
                ("description", info.description),
                ("instruction", info.instruction),
            ):
                if (found := _NO_DRILL.search(text or "")) is not None:
                    message = f"the message is {alert.status}, but its {name} says {found[0]!r}"
                    yield Problem(f"{place}/{name}", RULE, message, found[0])
