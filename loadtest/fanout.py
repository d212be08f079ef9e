"""`fanout`: from accepting an alert to every recipient standing in the ledger as delivered."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any, Final

import aiohttp
import numpy as np

from broker.app import all_roles
from broker.demo.servers import Corner
from broker.ledger.arrays import COUNT_NAMES, Milestone
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.types import ChannelName
from loadtest import control, machine, servers
from loadtest.processes import Child
from loadtest.scenario import LoadTestError, Result, Scenario, Variant, count, say
from loadtest.viewer import Viewer
from loadtest.world import World, fill, lay_out, red_alert

_POLL_SECONDS: Final = 0.01
_LONGEST_ROUND: Final = 900.0
_PLANNED, _DELIVERED = COUNT_NAMES.index("planned"), COUNT_NAMES.index("delivered")
_QUANTILES: Final = (0, 1, 10, 25, 50, 75, 90, 99, 100)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the scenario."""
    parser.add_argument("--recipients", type=count, default=1_000_000, metavar="N")
    parser.add_argument(
        "--embedded",
        action="store_true",
        help="one process on SQLite (default: RabbitMQ and PostgreSQL)",
    )
    servers.add_arguments(parser)
    parser.add_argument("--rounds", type=count, default=3, metavar="N", help="the median round counts")
    parser.add_argument("--sample", type=count, default=30_000, metavar="N", help="recipients of the control arm")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="keep a profile of each of our processes")


async def run(args: argparse.Namespace) -> Result:
    """Measure, then run the control arm on the same machine. Raises LoadTestError."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fenghuo-loadtest-")))
        lent = None if args.embedded else await servers.lend(args.amqp, args.database, stack)
        described = machine.describe(**(lent.versions if lent else {}))
        measured = await _measure(args, folder, lent)
        say(f"control arm: {args.sample:,} recipients, one message, row and receipt for each …")
        if lent is None:
            ordinary = await control.embedded(folder / "control.db", args.sample, args.rounds)
        else:
            ordinary = await control.production(lent.amqp, lent.database, args.sample, args.rounds)
    ratio = measured["recipients_per_s"] / ordinary["recipients_per_s"]
    return Result(SCENARIO.name, measured, ordinary, round(ratio, 1), described)


async def _measure(args: argparse.Namespace, folder: Path, lent: servers.Servers | None) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        database = transport = prefix = None
        if lent is not None:
            corner = Corner(f"fenghuo_load_{secrets.token_hex(4)}")
            await corner.open(lent.database)
            stack.push_async_callback(corner.remove, lent.database, lent.amqp, 1)
            database, transport, prefix = corner.database(lent.database), lent.amqp, corner.prefix
        world = lay_out(folder / "fenghuo", store=database, transport=transport, prefix=prefix)
        store = open_store(world.settings.store)
        await store.start()
        stack.push_async_callback(store.close)
        say(f"filling the registry with {args.recipients:,} recipients …")
        world = await fill(world, store, args.recipients)
        children = await _start(world, args.profile, stack, embedded=lent is None)
        settings = world.settings
        api = f"http://{settings.listen.host}:{settings.listen.port}"
        pages = api if lent is None else f"http://{settings.dashboard.host}:{settings.dashboard.port}"
        rounds = []
        async with Viewer(pages, world) as viewer:
            for number in range(args.rounds):
                rounds.append(await _round(api, world, store, args.recipients, number, children))
                say(f"round {number + 1}: {rounds[-1]['recipients_per_s']:,} recipients/s")
            if not viewer.received:
                raise LoadTestError("the dashboard showed nothing")
        memory = {child.name: child.peak_memory() for child in children}
    middle = sorted(rounds, key=lambda each: each["seconds"])[len(rounds) // 2]
    return {
        "form": "embedded" if lent is None else "production",
        "recipients": args.recipients,
        "recipients_per_s": round(median(each["recipients_per_s"] for each in rounds)),
        "seconds": median(each["seconds"] for each in rounds),
        "planned_s": median(each["planned_s"] for each in rounds),
        "p50_s": median(each["p50_s"] for each in rounds),
        "p99_s": median(each["p99_s"] for each in rounds),
        "quantiles_s": middle["quantiles_s"],
        "peak_memory_mb": memory,
        "processes": len(children),
        "rounds": rounds,
    }


async def _start(world: World, profile: Path | None, stack: AsyncExitStack, *, embedded: bool) -> list[Child]:
    """One process for everything, or one for each role, the takers before the givers."""
    order = ("tracker", "worker:sms", "dispatcher", "dashboard", "api")
    assert set(order) == set(all_roles(world.settings))
    children = []
    for roles in ((),) if embedded else ((role,) for role in order):
        name = roles[0] if roles else "embedded"
        options = ["--config", str(world.config)]
        if profile is not None:
            profile.mkdir(parents=True, exist_ok=True)
            options += ["--profile", str((profile / f"{name.replace(':', '-')}.prof").absolute())]
        child = await Child.start(name, "loadtest.role", *options, *roles)
        stack.push_async_callback(child.stop)
        children.append(child)
    return children


async def _round(
    api: str, world: World, store: Store, recipients: int, number: int, children: list[Child]
) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {world.token}", "Content-Type": "application/cap+xml"}
    async with (
        aiohttp.ClientSession(api) as client,
        client.post("/v1/alerts", data=red_alert(number), headers=headers) as answer,
    ):
        if answer.status != 202:
            raise LoadTestError(f"the alert was refused: {await answer.text()}")
        alert = (await answer.json())["id"]
    began = time.time()
    deadline = began + _LONGEST_ROUND
    while True:
        totals = await _totals(store, alert)
        if totals[_DELIVERED] >= recipients:
            break
        if time.time() > deadline or not all(child.alive for child in children):
            raise LoadTestError(f"only {totals[_DELIVERED]:,} of {recipients:,} were delivered")
        await asyncio.sleep(_POLL_SECONDS)
    ended = 1000 * time.time()
    record = await store.alert(alert)
    if totals[_PLANNED] != recipients or await store.recount(alert) != await store.counters(alert):
        raise LoadTestError("the counters do not agree with the ledger")
    times = np.array(await store.milestone_times(alert, ChannelName.SMS, Milestone.DELIVERED)) - record.received
    seconds = (ended - record.received) / 1000
    quantiles = np.percentile(times, _QUANTILES) / 1000
    by_name = {f"p{name}": round(float(value), 3) for name, value in zip(_QUANTILES, quantiles, strict=True)}
    await _quiet(store, alert)
    return {
        "seconds": round(seconds, 3),
        "recipients_per_s": round(recipients / seconds),
        "planned_s": round(((record.planned or record.received) - record.received) / 1000, 3),
        "p50_s": by_name["p50"],
        "p99_s": by_name["p99"],
        "quantiles_s": by_name,
    }


async def _totals(store: Store, alert: str) -> list[int]:
    rows = await store.counters(alert)
    return [sum(row.counts[index] for row in rows) for index in range(len(COUNT_NAMES))]


async def _quiet(store: Store, alert: str) -> None:
    """Wait until the alert's last work is closed, so that rounds do not overlap."""
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            while await store.open_work(alert):
                await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)


SCENARIO: Final = Scenario(
    name="fanout",
    help="accepted → every recipient in the ledger as delivered",
    method=(
        "A department posts a red warning for the whole city over HTTP. The clock runs from the moment of "
        "accepting to the moment at which the counters in the store show every recipient as delivered. "
        "Everything is on: policies and templates of the city, sealed pages, claims, *sent* and *delivered* as "
        "receipts of their own, counters, curves, one dashboard open; only the last mile is a channel that answers "
        "at once. After each round the counters must equal a recount of the ledger. Percentiles are of the time "
        "from accepting to the evidence of arrival, per recipient. The control arm is the usual design with as "
        "many processes on the same servers: one message, one row and one receipt for each recipient, aio-pika "
        "with confirms and a window of 200 (embedded: one row for each recipient in SQLite, an asyncio queue), on "
        "a sample."
    ),
    add_arguments=add_arguments,
    run=run,
    variants=(
        Variant("fanout", "RabbitMQ and PostgreSQL, a process for each role", ("--recipients", "5000000")),
        Variant("fanout-embedded", "Embedded: SQLite, one process", ("--recipients", "1000000", "--embedded")),
    ),
)
