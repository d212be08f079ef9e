"""The catalogue of national event codes, read from `config/events.yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml

from broker.errors import Problem
from broker.geo.errors import GeoDataError, UnknownEvent

DEPARTMENTS = ("meteorology", "hydrology", "geology", "seismology", "marine", "forestry")
"""Kinds of department that answer for an event."""

CAP_CATEGORIES = (
    "Geo",
    "Met",
    "Safety",
    "Security",
    "Rescue",
    "Fire",
    "Health",
    "Env",
    "Transport",
    "Infra",
    "CBRNE",
    "Other",
)
"""CAP 1.2 §3.2.2, `category`."""

_FIELDS = ("code", "zh", "en", "department", "cap_category")
_CODE = re.compile(r"1[1-49][A-Z][0-9]{2}")
_PATTERN = re.compile(r"1([1-49]([A-Z]([0-9]{2}|[0-9]?\*)|\*)|\*)")


@dataclass(frozen=True, slots=True)
class EventCode:
    """One kind of event of the national classification."""

    code: str
    """`11B03`: 1, class digit, sub-class letter, two digits; `00` is the sub-class itself."""
    zh: str
    en: str
    department: str
    """One of DEPARTMENTS."""
    cap_category: str
    """One of CAP_CATEGORIES."""


def is_pattern(text: str) -> bool:
    """Whether `text` is an event code, or the beginning of some followed by `*` (`11B*`)."""
    return _PATTERN.fullmatch(text) is not None


def pattern_covers(pattern: str, code: str) -> bool:
    """Whether an event code fits a pattern such as `11B*`, or equals it."""
    return code.startswith(pattern[:-1]) if pattern.endswith("*") else code == pattern


class EventCatalogue:
    """All event codes, found by code or by Chinese name."""

    def __init__(self, events: dict[str, EventCode]) -> None:
        self._by_code = events
        self._by_zh = {event.zh: event for event in events.values()}

    @classmethod
    def load(cls, path: Path) -> EventCatalogue:
        """Read the catalogue; raises GeoDataError with file:line of everything that is wrong in it."""
        try:
            root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f"{path}:{mark.line + 1}" if mark else str(path)
            raise GeoDataError([Problem(place, "events.yaml", f"not YAML: {error}")]) from error
        reader = _Reader(path)
        events = reader.read(root)
        if reader.problems:
            raise GeoDataError(reader.problems)
        return cls(events)

    def __iter__(self) -> Iterator[EventCode]:
        return iter(self._by_code.values())

    def __len__(self) -> int:
        return len(self._by_code)

    def __contains__(self, code: str) -> bool:
        return code in self._by_code

    def get(self, code: str) -> EventCode:
        """The event of a code; UnknownEvent names codes that look like it."""
        found = self._by_code.get(code)
        if found is None:
            raise UnknownEvent(code, tuple(get_close_matches(code.upper(), self._by_code, n=3)))
        return found

    def by_name_zh(self, name: str) -> EventCode:
        """The event of an exact Chinese name; UnknownEvent names those that look like it."""
        found = self._by_zh.get(name)
        if found is None:
            raise UnknownEvent(name, tuple(get_close_matches(name, self._by_zh, n=3, cutoff=0.4)))
        return found

    def matching(self, pattern: str) -> tuple[EventCode, ...]:
        """The events that a pattern such as `11B*` covers; empty if there are none."""
        return tuple(event for event in self if pattern_covers(pattern, event.code))


class _Reader:
    """Walks the YAML nodes, which know their lines, and collects what is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []

    def read(self, root: yaml.Node | None) -> dict[str, EventCode]:
        """All events that can be read; `problems` tells of the others."""
        top = self._fields(root) if root is not None else None
        if top is None or set(top) != {"events"} or not isinstance(top["events"], yaml.SequenceNode):
            self._complain(root, "events.shape", "the file must be a list under the one key `events`")
            return {}
        found: dict[str, EventCode] = {}
        names: set[str] = set()
        for node in top["events"].value:
            event = self._event(node)
            if event is None:
                continue
            if event.code in found or event.zh in names:
                self._complain(node, "events.unique", f"{event.code} {event.zh}: code or name comes twice")
            found[event.code] = event
            names.add(event.zh)
        return found

    def _event(self, node: yaml.Node) -> EventCode | None:
        fields = self._fields(node)
        if fields is None:
            return None
        before = len(self.problems)
        for name in _FIELDS:
            if name not in fields:
                self._complain(node, "events.field", f"`{name}` is missing")
        values: dict[str, str] = {}
        for name, value in fields.items():
            if name not in _FIELDS:
                hint = get_close_matches(name, _FIELDS, n=1)
                meant = f"; did you mean `{hint[0]}`?" if hint else ""
                self._complain(value, "events.unknown", f"unknown key `{name}`{meant}")
            elif not isinstance(value, yaml.ScalarNode) or not value.tag.endswith(":str") or not value.value:
                self._complain(value, "events.text", f"`{name}` must be text")
            else:
                values[name] = value.value
        for name, allowed in (("department", DEPARTMENTS), ("cap_category", CAP_CATEGORIES)):
            if name in values and values[name] not in allowed:
                self._complain(
                    fields[name],
                    f"events.{name}",
                    f"{name} {values[name]!r} is none of {', '.join(allowed)}",
                )
        if "code" in values and not _CODE.fullmatch(values["code"]):
            self._complain(fields["code"], "events.code", f"{values['code']!r} is no event code like 11B03")
        return EventCode(**values) if len(self.problems) == before else None

    def _fields(self, node: yaml.Node | None) -> dict[str, yaml.Node] | None:
        """The entries of a mapping; a key that comes twice is a problem."""
        if not isinstance(node, yaml.MappingNode):
            self._complain(node, "events.shape", "must be a mapping")
            return None
        fields: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.value in fields:
                self._complain(key, "events.unique", f"key `{key.value}` comes twice")
            fields[str(key.value)] = value
        return fields

    def _complain(self, node: yaml.Node | None, rule: str, message: str) -> None:
        line = node.start_mark.line + 1 if node is not None else 1
        self.problems.append(Problem(f"{self.path}:{line}", rule, message))
