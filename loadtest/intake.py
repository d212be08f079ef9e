"""`intake`: from the bytes of a warning to its durable acceptance, beside a bare handler that parses the same."""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import yaml

from broker.clock import now_ms
from broker.demo.servers import Corner
from broker.intake import tokens
from broker.privately import write_private
from broker.signing.generate import new_pair
from broker.signing.sign import Signer
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
_SIGNED: Final = "signed"
_HOUR_MS: Final = 3_600_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the scenario."""
    servers.add_arguments(parser)
    parser.add_argument("--connections", type=count, default=32, metavar="N", help="posts under way at once")
    parser.add_argument("--seconds", type=count, default=4, metavar="N", help="length of one slice")
    parser.add_argument("--rounds", type=count, default=7, metavar="N", help="slices of each arm; medians count")
    parser.add_argument(
        "--signed", type=count, default=3_000, metavar="N", help="signed messages that are made beforehand"
    )
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
    signed: Sequence[bytes] = ()
    """The same messages with a signature, by number; empty where they are sent without."""
    accepted: list[int] = field(default_factory=list)
    """The numbers of the messages that were answered 202."""
    slices: list[Slice] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Milliseconds of processor time of the server for each answer, by slice."""
    _next: int = 0

    async def run(self, seconds: float, *, rounds: int, counts: bool) -> None:
        """One slice of time, or of the messages that are there for `rounds` of them and one more to warm up.

        `counts` says whether its figures do. Raises LoadTestError.
        """
        most = len(self.signed) // (rounds + 1) if self.signed else None
        before = self.child.cpu_seconds()
        slice_ = await self.client.run(self._requests(most), seconds)
        used = self.child.cpu_seconds() - before
        self.accepted += slice_.answered
        if counts:
            self.slices.append(slice_)
            self.cpu.append(1000 * used / len(slice_.answered))

    def body(self, number: int) -> bytes:
        """The message of a number, as it is sent."""
        return self.signed[number] if self.signed else self.messages.message(number)[1]

    def _requests(self, most: int | None) -> Iterator[tuple[int, bytes]]:
        for number in range(self._next, sys.maxsize if most is None else self._next + most):
            self._next = number + 1
            department, body = self.messages.message(number)
            body = self.signed[number] if self.signed else body
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
        departments, signer = _departments(folder, messages.departments)
        say(f"signing {args.signed:,} messages …")
        signed = [signer.sign(messages.message(number)[1]) for number in range(args.signed)]
        ours = [
            await _ours(
                name, args, messages, folder, departments, lent, stack, signed=signed if name == _SIGNED else ()
            )
            for name in ("postgresql", "sqlite", _SIGNED)
        ]
        arms = [control, *(arm for arm, _ in ours)]
        for arm in arms:
            await arm.run(_WARM_UP_SECONDS, rounds=args.rounds, counts=False)
        for number in range(args.rounds):
            for arm in arms:
                await _settled()
                await arm.run(args.seconds, rounds=args.rounds, counts=True)
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
    store = "postgresql" if name == _SIGNED else name
    return {"measured": {"store": store} | measured, "control": control, "ratio": round(ratio, 3)}


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
    name: str,
    args: argparse.Namespace,
    messages: Messages,
    folder: Path,
    departments: Path,
    lent: servers.Servers,
    stack: AsyncExitStack,
    *,
    signed: Sequence[bytes],
) -> tuple[Arm, World]:
    """The API as a process of its own on a store of its own, and its tokens."""
    corner = Corner(f"fenghuo_load_{secrets.token_hex(4)}")
    await corner.open(lent.database)
    stack.push_async_callback(corner.remove, lent.database, lent.amqp, 1)
    world = lay_out(
        folder / name,
        store=corner.database(lent.database) if name != "sqlite" else None,
        transport=lent.amqp,
        prefix=corner.prefix,
        departments=departments,
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
        options += ["--profile", str((args.profile / f"intake-{name}.prof").absolute())]
    child = await Child.start(name, "loadtest.role", *options, "api", errors=folder / f"{name}.log")
    stack.push_async_callback(child.stop)
    return await _arm(name, child, args, messages, made, stack, signed=signed), world


async def _arm(
    name: str,
    child: Child,
    args: argparse.Namespace,
    messages: Messages,
    made: Mapping[str, str],
    stack: AsyncExitStack,
    *,
    signed: Sequence[bytes] = (),
) -> Arm:
    client = Client(child.ready["url"], args.connections)
    await client.open()
    stack.push_async_callback(client.close)
    return Arm(name, child, client, messages, made, signed)


def _departments(folder: Path, names: Sequence[str]) -> tuple[Path, Signer]:
    """The demo's departments as a file, and what signs for those in `names`.

    Red needs a second person, so that some alerts are released at once and some wait.
    """
    certificate, key = (folder / name for name in ("certificate.pem", "key.pem"))
    pair = new_pair("load test", days=1, from_at_ms=now_ms() - _HOUR_MS)
    for place, text in zip((certificate, key), pair, strict=True):
        write_private(place, text)
    path = folder / "departments.yaml"
    content = yaml.safe_load(DEPARTMENTS.read_text(encoding="utf-8"))
    for department in content["departments"]:
        department["release"]["Red"] = "second_person"
        if department["id"] in names:
            department["signature"] = {"certificates": [str(certificate)]}
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path, Signer.load(certificate, key)


async def _verify(arm: Arm, world: World) -> int:
    """How many alerts are in the store, which must be exactly those accepted, each taken on and in the audit.

    Raises LoadTestError.
    """
    wanted = {hashlib.sha256(arm.body(number)).digest() for number in arm.accepted}
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
        "hits each of them, and the medians of the slices count. Signed messages (ECDSA on P-256, "
        "signed beforehand) go to a server of their own on PostgreSQL and stand beside. At the end the alerts in "
        "the stores must be exactly those that were answered 202."
    ),
    add_arguments=add_arguments,
    run=run,
    variants=(Variant("intake", "PostgreSQL", ()),),
    figure="accepts_per_s",
)
