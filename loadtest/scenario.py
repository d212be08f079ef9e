"""What a scenario is and what it gives."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from broker.errors import FenghuoError


class LoadTestError(FenghuoError):
    """A round that did not end as it must: the figures would be worth nothing."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one scenario, as `--json` prints it."""

    scenario: str
    measured: dict[str, Any]
    control: dict[str, Any]
    ratio: float
    """The comparison that the scenario's goal names: more is better for throughput."""
    machine: dict[str, Any]
    beside: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further measurements of the same run by name, each with `measured`, `control` and `ratio` of its own."""

    def json(self) -> str:
        """One line; what was measured beside stands under its own name."""
        own = asdict(self)
        beside = own.pop("beside")
        return json.dumps(own | beside, ensure_ascii=False)

    @classmethod
    def of(cls, text: str) -> Result:
        """What `json` wrote."""
        content = json.loads(text)
        names = [name for name in (own.name for own in fields(cls)) if name in content]
        return cls(
            **{name: content[name] for name in names},
            beside={name: part for name, part in content.items() if name not in names},
        )


@dataclass(frozen=True, slots=True)
class Variant:
    """One way in which the report runs a scenario."""

    name: str
    """Names the file of raw numbers."""
    title: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario by name: how it is asked for, run, and run for the report."""

    name: str
    help: str
    method: str
    """What is measured and how, for the report."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Awaitable[Result]]
    variants: tuple[Variant, ...]
    figure: str = "recipients_per_s"
    """The key of the figure that the plot shows of both arms."""


def parts(result: Result) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, measurement) of a result: its own, which has no name, then those beside."""
    yield "", {"measured": result.measured, "control": result.control, "ratio": result.ratio}
    yield from result.beside.items()


def say(text: str) -> None:
    """A line for people, on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def count(text: str) -> int:
    """A number of an option, from 1 up. Raises argparse.ArgumentTypeError."""
    number = int(text.replace("_", "").replace(",", ""))
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 up")
    return number
