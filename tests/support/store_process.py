"""What a second process does to a store in a test: `python -m tests.support.store_process WHAT URL PATH`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np

from broker.ledger.arrays import Receipts
from broker.ledger.state import DELIVERED
from broker.store.sql import open_store
from tests.support.storing import T0, add, an_alert, planned

ROUND = 4
"""How many deliveries each round of `merge_for_ever` adds."""
ROUNDS = 100


def launch(what: str, url: str, path: Path) -> subprocess.Popen[bytes]:
    """Start such a process; whoever starts it ends it."""
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-m", "tests.support.store_process", what, url, str(path)], cwd=root)


async def add_when_told(url: str, go: Path) -> None:
    """Say on `go`.ready that it is there, wait for the file `go`, then start and add one alert."""
    ready = go.with_suffix(".ready")
    with ready.open("a") as file:
        file.write(".")
    while not go.exists():
        await asyncio.sleep(0.005)
    store = open_store(url)
    await store.start()
    await add(store, an_alert(f"A{await store.reserve_batches(1)}"))
    await store.close()


async def merge_for_ever(url: str, told: Path) -> None:
    """Merge one more delivery into each of four batches, again and again, and tell of each round that returned."""
    store = open_store(url)
    await store.start()
    plan = await planned(store, (ROUNDS,) * ROUND)
    for turn in range(ROUNDS):
        one = np.array([turn], np.uint16)
        await store.merge([Receipts.uniform(batch.id, one, DELIVERED, T0 + turn) for batch in plan.batches])
        with told.open("a") as log:
            log.write(f"{plan.alert} {turn + 1}\n")
    await asyncio.sleep(600)


if __name__ == "__main__":
    _, chosen, store_url, where = sys.argv
    asyncio.run({"add": add_when_told, "merge": merge_for_ever}[chosen](store_url, Path(where)))
