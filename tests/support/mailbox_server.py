"""A small process that runs the app or the signage channel on a made-up store, to be killed and started again.

`python -m tests.support.mailbox_server --channel app --port N --secret FILE --world FILE --evidence FILE`
The world is a JSON list of batches {batch, alert, expires, addresses, content}. All but the first are rebuilt
from the "store"; `--send` sends the first batch, too. Evidence is appended as lines "batch ordinal arrival".
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from broker import logs
from broker.errors import NotFound
from broker.ledger.state import ARRIVAL_SHIFT
from broker.sealing import pack
from broker.store.records import RenditionRecord
from broker.types import ChannelName, Lane
from channels.app.channel import AppChannel
from channels.app.settings import AppSettings
from channels.channel import BatchContent, ChannelContext, Window
from channels.mailbox.channel import MailboxChannel
from channels.signage.channel import SignageChannel
from channels.signage.settings import SignageSettings


def content_of(entry: dict[str, Any], channel: ChannelName) -> BatchContent:
    """A batch of the world as the worker would hand it to a channel."""
    addresses = pack(entry["addresses"])
    rendition = RenditionRecord(1, entry["alert"], 0, channel, "zh-CN", "default", entry["content"])
    recipients = np.arange(1, len(addresses) + 1, dtype=np.uint32)
    return BatchContent(
        entry["alert"], entry["batch"], Lane.URGENT, entry["expires"], recipients, addresses, rendition
    )


class World:
    """The store's part that a channel may ask for."""

    def __init__(self, batches: list[BatchContent]) -> None:
        self.batches = {content.batch: content for content in batches}
        self.open = sorted(self.batches)
        self.over: list[int] = []
        self.lookups = 0
        self.arrivals: dict[int, Any] = {}

    def context(self) -> ChannelContext:
        """The context made of this world."""
        return ChannelContext(
            batch=self._batch,
            open_batches=self._open,
            far_ids=self._far_ids,
            arrivals=self._arrivals,
            over_batches=self._over,
        )

    async def _batch(self, batch: int) -> BatchContent:
        self.lookups += 1
        try:
            return self.batches[batch]
        except KeyError:
            raise NotFound from None

    async def _open(self) -> list[int]:
        return self.open

    async def _over(self) -> list[int]:
        return self.over

    async def _arrivals(self, batch: int) -> Any:
        return self.arrivals.get(batch, np.zeros(len(self.batches[batch].addresses), np.uint8))

    async def _far_ids(self, batches: list[int]) -> list[Any]:
        return []


def window_of(content: BatchContent, attempt: int = 1, low: int = 0, high: int | None = None) -> Window:
    """A window over a batch, from ordinal `low` up to but without `high`."""
    ordinals = np.arange(len(content.recipients), dtype=np.uint16)[low:high]
    return Window(
        content.alert,
        content.batch,
        attempt,
        content.lane,
        500117,
        content.expires,
        ordinals,
        content.recipients[low:high],
        content.addresses[low:high],
    )


def build(channel: ChannelName, secret: Path, port: int = 0, **settings: Any) -> MailboxChannel:
    """The channel, not started."""
    if channel is ChannelName.APP:
        return AppChannel(AppSettings(secret_file=secret, port=port, **settings))
    return SignageChannel(SignageSettings(secret_file=secret, port=port, **settings))


async def serve(args: argparse.Namespace) -> None:
    """Run until killed."""
    name = ChannelName(args.channel)
    contents = [content_of(entry, name) for entry in json.loads(args.world.read_text())]
    world = World(contents)
    if args.send:
        world.open = world.open[1:]
    channel = build(name, args.secret, args.port)
    await channel.start(world.context())
    sys.stdout.write(json.dumps({"ready": True, "port": channel.port}) + "\n")
    sys.stdout.flush()
    if args.send:
        await channel.send(window_of(contents[0]), contents[0].rendition, lambda: False)
    out = os.open(args.evidence, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    async for receipts in channel.listen():
        arrivals = receipts.states >> ARRIVAL_SHIFT
        lines = zip(receipts.ordinals.tolist(), arrivals.tolist(), strict=True)
        os.write(out, "".join(f"{receipts.batch} {ordinal} {arrival}\n" for ordinal, arrival in lines).encode())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--channel", required=True)
    parser.add_argument("--port", type=int, default=0)
    for name in ("--secret", "--world", "--evidence"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--send", action="store_true")
    logs.configure()
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
