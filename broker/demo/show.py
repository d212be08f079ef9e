"""How a demo looks in the terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from broker.demo.proof import Proof
from broker.demo.setup import Layout
from broker.ledger.arrays import COUNT_NAMES
from broker.store.contract import Store
from broker.types import CHANNELS

Ended = Callable[[], Awaitable[bool]]
"""Whether there is nothing left to watch."""

_COLOURS = {"Red": "red", "Orange": "dark_orange", "Yellow": "yellow", "Blue": "blue"}
_PLANNED, _FINAL = COUNT_NAMES.index("planned"), COUNT_NAMES.index("final")
_NAMES = {"sms": "短信 SMS", "broadcast": "广播 horn", "app": "应用 app", "signage": "屏幕 sign"}


def path(folder: Path) -> str:
    """A folder as a reader in the present one would write it."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)


async def watch(console: Console, store: Store, alerts: list[tuple[str, str]], ended: Ended) -> None:
    """Progress bars, one for each alert and channel, until `ended`."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("final"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        bars = {
            (alert, channel): progress.add_task(f"{title}  {_NAMES[channel]}", total=None)
            for alert, title in alerts
            for channel in CHANNELS
        }
        while True:
            over = await ended()
            for alert, _ in alerts:
                totals = {channel: np.zeros(len(COUNT_NAMES), np.int64) for channel in CHANNELS}
                for row in await store.counters(alert):
                    totals[row.channel] += np.array(row.counts, np.int64)
                for channel, total in totals.items():
                    planned = int(total[_PLANNED])
                    if planned:
                        progress.update(bars[alert, channel], total=planned, completed=int(total[_FINAL]))
            if over:
                return
            await asyncio.sleep(0.25)


def result(console: Console, proof: Proof) -> None:
    """The final table, and whatever does not agree."""
    for alert in proof.alerts:
        colour = _COLOURS.get(alert.record.level or "", "white")
        console.print(f"\n[{colour}]■[/] [bold]{alert.title}[/]  [dim]{alert.record.state}[/]")
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
        table.add_column("", no_wrap=True, min_width=10)
        for name in ("expected", "planned", "sent", "delivered", "presented", "failed", "first", "90 %", "last"):
            table.add_column(name, justify="right", no_wrap=True)
        for channel, numbers in alert.channels.items():
            counts = (
                numbers.expected,
                numbers.planned,
                numbers.sent,
                numbers.delivered,
                numbers.presented,
                numbers.failed,
            )
            times = (numbers.seconds_to_first, numbers.seconds_to_90, numbers.seconds_to_last)
            seconds = ("–" if time is None else f"{time:.1f}s" for time in times)
            table.add_row(_NAMES[channel], *(f"{count:,}" for count in counts), *seconds)
        console.print(table)
    console.print(
        "\n[dim]expected: counted by hand from the registry; sent: taken by the far end; delivered and presented: "
        "proved by it;\nfirst, 90 %, last: arrivals, in seconds after the department's post was accepted[/]"
    )
    if proof.repeats:
        console.print(f"{proof.repeats:,} messages arrived a second time (a restart repeats at most one window)")
    if proof.good:
        console.print("[green]✓[/] every planned recipient is final, nobody outside got anything, the logs agree")
    for disagreement in proof.disagreements:
        console.print(f"[red]✗[/] {disagreement}")


def next_steps(console: Console, url: str, dashboard: str, password: str, layout: Layout) -> None:
    """What to do while it runs."""
    config = path(layout.config)
    console.print(
        f"""
The broker keeps running.
Dashboard: [bold]{dashboard}[/]  sign in as [bold]demo[/] with [bold]{password}[/]

Post a warning of your own from another terminal:
  TOKEN=$(.venv/bin/fenghuo department token meteorology --config {config})
  curl -i {url}/v1/alerts -H "Authorization: Bearer $TOKEN" \\
       -H "Content-Type: application/cap+xml" --data-binary @my-alert.xml
A model for it: {path(layout.alerts)}/*.xml

Ctrl-C ends it.""",
        soft_wrap=True,  # commands are to be copied: a line break of ours would break them
    )
