"""`intake`: from the bytes of a warning to its durable acceptance, beside a bare handler that parses the same."""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import yaml

from broker.demo.servers import Corner
from broker.intake import tokens
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.types import AlertState
from loadtest import machine, servers
from loadtest.client import Client, Slice, request
from loadtest.messages import Messages
from loadtest.processes import Child
from loadtest.scenario import LoadTestError, Result, Scenario, Variant, count, say
from loadtest.world import DEPARTMENTS, World, lay_out

_PATH: Final = "/v1/alerts"
_WARM_UP_SECONDS: Final = 1.0
_PAGE: Final = 5_000
_CHECKED_EVENTS: Final = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the scenario."""
    servers.add_arguments(parser)
    parser.add_argument("--connections", type=count, default=32, metavar="N", help="posts under way at once")
    parser.add_argument("--seconds", type=count, default=4, metavar="N", help="length of one slice")
    parser.add_argument("--rounds", type=count, default=7, metavar="N", help="slices of each arm; medians count")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="keep a profile of each of our processes")


@dataclass(slots=True)
class Arm:
    """One server, what it is sent, and what came of it."""

    name: str
    child: Child
    client: Client
    messages: Messages
    tokens: Mapping[str, str]
    """By department."""
    accepted: list[int] = field(default_factory=list)
    """The numbers of the messages that were answered 202."""
    slices: list[Slice] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Milliseconds of processor time of the server for each answer, by slice."""
    _next: int = 0

    async def run(self, seconds: float, *, counts: bool) -> None:
        """One slice of time; `counts` says whether its figures do. Raises LoadTestError."""
        before = self.child.cpu_seconds()
        slice_ = await self.client.run(self._requests(), seconds)
        used = self.child.cpu_seconds() - before
        self.accepted += slice_.answered
        if counts:
            self.slices.append(slice_)
            self.cpu.append(1000 * used / len(slice_.answered))

    def _requests(self) -> Iterator[tuple[int, bytes]]:
        while True:
            number = self._next
            self._next += 1
            department, body = self.messages.message(number)
            yield number, request(self.client.host, _PATH, body, token=self.tokens[department])

    def figures(self) -> dict[str, Any]:
        """Medians over the slices."""
        quantiles = [1000 * np.percentile(slice_.latencies, (50, 99)) for slice_ in self.slices]
        return {
            "accepts_per_s": round(median(slice_.per_second for slice_ in self.slices), 1),
            "p50_ms": round(median(float(pair[0]) for pair in quantiles), 2),
            "p99_ms": round(median(float(pair[1]) for pair in quantiles), 2),
            "cpu_ms_per_accept": round(median(self.cpu), 3),
            "peak_memory_mb": self.child.peak_memory(),
            "processes": 1,
            "accepted": len(self.accepted),
            "rounds": [
                {
                    "accepts_per_s": round(slice_.per_second, 1),
                    "p50_ms": round(float(pair[0]), 2),
                    "p99_ms": round(float(pair[1]), 2),
                }
                for slice_, pair in zip(self.slices, quantiles, strict=True)
            ],
        }


async def run(args: argparse.Namespace) -> Result:
    """Measure all arms in turns, then look for every accepted alert in the stores. Raises LoadTestError."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fenghuo-loadtest-")))
        lent = await servers.lend(args.amqp, args.database, stack)
        described = machine.describe(**lent.versions)
        messages = Messages(datetime.now(UTC))
        control = await _control(args, messages, folder, stack)
        ours = [await _ours(form, args, messages, folder, lent, stack) for form in ("postgresql", "sqlite")]
        arms = [control, *(arm for arm, _ in ours)]
        for arm in arms:
            await arm.run(_WARM_UP_SECONDS, counts=False)
        for number in range(args.rounds):
            for arm in arms:
                await _settled()
                await arm.run(args.seconds, counts=True)
            said = ", ".join(f"{arm.name} {arm.slices[-1].per_second:,.0f}/s" for arm in arms)
            say(f"round {number + 1}: {said}")
        figures = {arm.name: arm.figures() for arm in arms}
        for arm, world in ours:
            say(f"looking for {len(arm.accepted):,} accepted alerts in {arm.name} …")
            figures[arm.name]["found_in_store"] = await _verify(arm, world)
    parts = {arm.name: _part(arm.name, figures) for arm, _ in ours}
    first = parts.pop("postgresql")
    return Result(SCENARIO.name, first["measured"], first["control"], first["ratio"], described, parts)


def _part(name: str, figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    measured, control = figures[name], figures["control"]
    ratio = measured["accepts_per_s"] / control["accepts_per_s"]
    return {"measured": {"store": name} | measured, "control": control, "ratio": round(ratio, 3)}


async def _settled() -> None:
    """No arm pays for the garbage or the last work of another."""
    gc.collect()
    await asyncio.sleep(0.2)


async def _control(args: argparse.Namespace, messages: Messages, folder: Path, stack: AsyncExitStack) -> Arm:
    child = await Child.start("control", "loadtest.bare", errors=folder / "control.log")
    stack.push_async_callback(child.stop)
    # Tokens of the same length: the same bytes, but for their secret.
    made = {department: tokens.new(department)[0] for department in messages.departments}
    return await _arm("control", child, args, messages, made, stack)


async def _ours(
    form: str,
    args: argparse.Namespace,
    messages: Messages,
    folder: Path,
    lent: servers.Servers,
    stack: AsyncExitStack,
) -> tuple[Arm, World]:
    """The API as a process of its own on a store of its own, and its tokens."""
    corner = Corner(f"fenghuo_load_{secrets.token_hex(4)}")
    await corner.open(lent.database)
    stack.push_async_callback(corner.remove, lent.database, lent.amqp, 1)
    world = lay_out(
        folder / form,
        store=corner.database(lent.database) if form == "postgresql" else None,
        transport=lent.amqp,
        prefix=corner.prefix,
        departments=_departments(folder),
    )
    store = open_store(world.settings.store)
    await store.start()
    made = {}
    try:
        for department in messages.departments:
            made[department], record = tokens.new(department, days=1)
            await store.add_token(record)
    finally:
        await store.close()
    options = ["--config", str(world.config), "--log-level", "info"]
    if args.profile is not None:
        args.profile.mkdir(parents=True, exist_ok=True)
        options += ["--profile", str((args.profile / f"intake-{form}.prof").absolute())]
    child = await Child.start(form, "loadtest.role", *options, "api", errors=folder / f"{form}.log")
    stack.push_async_callback(child.stop)
    return await _arm(form, child, args, messages, made, stack), world


async def _arm(
    name: str,
    child: Child,
    args: argparse.Namespace,
    messages: Messages,
    made: Mapping[str, str],
    stack: AsyncExitStack,
) -> Arm:
    client = Client(child.ready["url"], args.connections)
    await client.open()
    stack.push_async_callback(client.close)
    return Arm(name, child, client, messages, made)


def _departments(folder: Path) -> Path:
    """The demo's departments, with a second person at Red: so some alerts are released at once and some wait."""
    path = folder / "departments.yaml"
    content = yaml.safe_load(DEPARTMENTS.read_text(encoding="utf-8"))
    for department in content["departments"]:
        department["release"]["Red"] = "second_person"
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


async def _verify(arm: Arm, world: World) -> int:
    """How many alerts are in the store, which must be exactly those accepted, each taken on and in the audit.

    Raises LoadTestError.
    """
    wanted = {hashlib.sha256(arm.messages.message(number)[1]).digest() for number in arm.accepted}
    store = open_store(world.settings.store)
    await store.start()
    try:
        found, before = set(), None
        while page := await store.alerts(limit=_PAGE, before=before):
            before = page[-1].id
            found |= {alert.digest for alert in page}
            if waiting := [alert.id for alert in page if alert.state is AlertState.RECEIVED]:
                raise LoadTestError(f"{len(waiting)} alerts were accepted and not taken on")
            await _audited(store, [alert.id for alert in page[:_CHECKED_EVENTS]])
    finally:
        await store.close()
    if found != wanted:
        raise LoadTestError(f"{len(wanted - found)} accepted alerts are lost, {len(found - wanted)} are too many")
    return len(found)


async def _audited(store: Store, alerts: list[str]) -> None:
    for alert in alerts:
        states = [event.state for event in await store.alert_events(alert)]
        if states[:1] != [AlertState.RECEIVED] or len(states) != 2:
            raise LoadTestError(f"the audit of {alert} says {states}")


SCENARIO: Final = Scenario(
    name="intake",
    help="bytes of a warning → accepted durably",
    method=(
        "Departments post warnings over HTTP, each another one, on connections that are kept alive. An accept "
        "counts when its 202 has come: the alert, its audit and the decision on its release (at once, or waiting "
        "for a second person, half of them each) are in the store and flushed to the disk. The API is one process "
        "as `fenghuo run api` starts it, with its log on. The control arm is a bare aiohttp handler, also one "
        "process, that parses the same bytes with lxml, looks at nothing, keeps nothing and answers 202. One "
        "client serves all; the arms take turns in slices of some seconds, so that whatever else the machine does "
        "hits each of them, and the medians of the slices count. At the end the alerts in the stores must be "
        "exactly those that were answered 202."
    ),
    add_arguments=add_arguments,
    run=run,
    variants=(Variant("intake", "PostgreSQL", ()),),
    figure="accepts_per_s",
)
