"""What a scenario is and what it gives."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
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

    def json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)


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


def say(text: str) -> None:
    """A line for people, on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
