"""The control arm of `intake`: a bare aiohttp handler that parses the bytes and answers 202.

python -m loadtest.bare

It runs as the broker's API does, on uvloop and without an access log, reads the body whole and parses it with
lxml, set as safely as ours. It looks at nothing, keeps nothing and answers as shortly as we do.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Final

import uvloop
from aiohttp import web
from lxml import etree

from broker.api.server import Server

_ANSWER: Final = {"state": "received"}


async def take(request: web.Request) -> web.Response:
    """Parse, and answer."""
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
    root = etree.fromstring(await request.read(), parser)
    return web.json_response(_ANSWER | {"element": root.tag}, status=202)


async def serve() -> None:
    """Run until SIGTERM; says on standard output where it listens."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = web.Application()
    app.router.add_post("/v1/alerts", take)
    server = Server(app, "127.0.0.1", 0)
    await server.start()
    sys.stdout.write(json.dumps({"ready": True, "url": server.url}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    await server.close()


if __name__ == "__main__":
    uvloop.run(serve())
