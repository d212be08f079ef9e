"""The report: docs/benchmarks.md, with the raw numbers and the plots beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from loadtest import plots
from loadtest.scenario import LoadTestError, Result, Scenario, Variant, parts, say

_HEAD: Final = """# Benchmarks

Made by `python -m loadtest report`, which anybody can run; every figure stands beside that of a control arm
measured in the same run on the same machine, and the raw numbers are in [benchmarks/](benchmarks/). Medians of
the rounds; nothing else was left out.
"""


def write(scenarios: Sequence[Scenario], docs: Path, *, only: Sequence[str] | None = None) -> int:
    """Run every variant of every scenario (or those named in `only`) and write the report; the exit code.

    Variants that are not run keep their former numbers, if there are any. Raises LoadTestError.
    """
    folder = docs / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    known = {variant.name for scenario in scenarios for variant in scenario.variants}
    if unknown := set(only or ()) - known:
        raise LoadTestError(f"no variant {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    page = [_HEAD]
    for scenario in scenarios:
        page += [
            f"## {scenario.name}",
            "",
            f"{scenario.help.capitalize()}.",
            "",
            scenario.method,
            "",
        ]
        results: list[tuple[Variant, Result]] = []
        for variant in scenario.variants:
            raw = folder / f"{variant.name}.json"
            if only is None or variant.name in only:
                raw.write_text(_measure(scenario, variant) + "\n")
            if raw.exists():
                results.append((variant, Result.of(raw.read_text())))
        for variant, result in results:
            page += list(_section(variant, result))
        if results:
            name = f"{scenario.name}.svg"
            shown = [
                (f"{variant.title}: {title}" if title else variant.title, part["measured"], part["control"])
                for variant, result in results
                for title, part in parts(result)
            ]
            (folder / name).write_text(plots.side_by_side(shown, scenario.figure))
            page += [f"![{scenario.name}, measured and control](benchmarks/{name})", ""]
    (docs / "benchmarks.md").write_text("\n".join(page))
    say(f"written: {docs / 'benchmarks.md'}")
    return 0


def lines(result: Result) -> Iterator[str]:
    """A result for people."""
    for title, part in parts(result):
        prefix = f"{title}: " if title else ""
        for name in ("measured", "control"):
            yield f"{prefix}{name}:"
            yield from (f"  {key}: {_text(value)}" for key, value in part[name].items() if key != "rounds")
        yield f"{prefix}ratio: {part['ratio']:,}"


def _measure(scenario: Scenario, variant: Variant) -> str:
    """Run a variant in a process of its own, so that nothing of one is left over in the next."""
    say(f"{variant.name}: {' '.join(variant.arguments)}")
    command = [sys.executable, "-m", "loadtest", scenario.name, *variant.arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise LoadTestError(f"{variant.name} ended with exit code {done.returncode}")
    raw = {**json.loads(done.stdout.splitlines()[-1])}
    raw["machine"]["measured_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps(raw, ensure_ascii=False, indent=1)


def _section(variant: Variant, result: Result) -> Iterator[str]:
    yield f"### {variant.title}"
    yield ""
    yield f"`python -m loadtest {result.scenario} {' '.join(variant.arguments)}`".replace(" `", "`")
    yield ""
    for title, part in parts(result):
        measured, control = part["measured"], part["control"]
        if title:
            yield f"#### {title.capitalize()}"
            yield ""
        yield "| | measured | control |"
        yield "|---|---:|---:|"
        for key in [key for key in measured if not isinstance(measured[key], (dict, list))]:
            yield f"| {key} | {_text(measured[key])} | {_text(control.get(key, ''))} |"
        yield f"| **ratio** | **{part['ratio']:,}** | 1 |"
        yield ""
        for key in [key for key in measured if isinstance(measured[key], dict)]:
            yield f"{key}: " + ", ".join(f"{name} {_text(value)}" for name, value in measured[key].items())
            yield ""
    yield "Machine: " + ", ".join(f"{key} {_text(value)}" for key, value in result.machine.items())
    yield ""


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    if isinstance(value, list):
        return " ".join(map(_text, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
