"""Reports as devices post them: a JSON list of {"id": "<batch>:<ordinal>", "state": "…"}."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.errors import InputRefused, Problem

_IDENTIFIER: Final = re.compile(r"(0|[1-9][0-9]{0,18}):(0|[1-9][0-9]{0,4})", re.ASCII)
_LISTED: Final = 100
"""Problems listed at most, so that an answer is never much larger than its question."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report that is well formed; whether it may be believed is not judged here."""

    batch: int
    ordinal: int
    state: int
    """State word (broker.ledger.state)."""


def parse_reports(body: bytes, states: Mapping[str, int], most: int) -> list[Report]:
    """Reports of a posted body, whose words for states are the keys of `states`.

    Raises InputRefused: status 400 if it is not JSON, 422 if it is not such a list of at most `most`.
    """
    try:
        data = json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else f"not JSON: {error}"
        raise InputRefused([Problem("", "report.json", message)], status=400) from error
    if not isinstance(data, list):
        raise InputRefused([Problem("", "report.list", "a JSON list is expected")])
    if len(data) > most:
        message = f"at most {most} reports go into one post, here are {len(data)}"
        raise InputRefused([Problem("", "report.count", message)])
    problems: list[Problem] = []
    reports: list[Report] = []
    for index, item in enumerate(data):
        found = _parse(item, index, states)
        if isinstance(found, Report):
            reports.append(found)
        else:
            problems.extend(found)
    if problems:
        raise InputRefused(problems[:_LISTED])
    return reports


def _parse(item: Any, index: int, states: Mapping[str, int]) -> Report | list[Problem]:
    if not isinstance(item, dict):
        return [Problem(f"/{index}", "report.object", "an object with id and state is expected")]
    problems = [
        Problem(f"/{index}/{_pointer(name)}", "report.unknown", "no such member")
        for name in item
        if name not in ("id", "state")
    ]
    identifier, state = item.get("id"), item.get("state")
    match = _IDENTIFIER.fullmatch(identifier) if isinstance(identifier, str) else None
    if match is None:
        problems.append(Problem(f"/{index}/id", "report.id", "expected <batch>:<ordinal>, as the message said"))
    word = states.get(state) if isinstance(state, str) else None
    if word is None:
        problems.append(Problem(f"/{index}/state", "report.state", f"expected one of {', '.join(states)}"))
    if problems or match is None or word is None:
        return problems
    batch, ordinal = int(match[1]), int(match[2])
    if batch >= 1 << 63 or ordinal >= 1 << 16:
        return [Problem(f"/{index}/id", "report.id", "no message has such an id")]
    return Report(batch, ordinal, word)


def _pointer(name: str) -> str:
    """A member's name inside a JSON Pointer (RFC 6901 §3), cut short."""
    return name[:40].replace("~", "~0").replace("/", "~1")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found
