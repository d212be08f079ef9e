"""Is the process alive, is it ready, and its metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from aiohttp import web

from broker.api.declare import Answer, Call, Operation
from broker.api.models import Alive, Ready
from broker.api.said import Said
from broker.errors import StoreError, TransportError
from broker.metrics import Metrics
from broker.store.contract import Store
from broker.transport.contract import Transport, all_queues


class Health:
    """`/-/healthy`, `/-/ready` and `/metrics`."""

    def __init__(
        self,
        store: Store,
        transport: Transport | None,
        metrics: Metrics,
        *,
        shards: int,
        channels: Callable[[], Mapping[str, bool]] = dict,
    ) -> None:
        self._store = store
        self._transport = transport
        self._metrics = metrics
        self._shards = shards
        self._channels = channels

    def routes(self) -> list[web.RouteDef]:
        """The routes, for a role that has no API."""
        return [
            web.get("/-/healthy", self.healthy),
            web.get("/-/ready", self.ready),
            web.get("/metrics", self.metrics),
        ]

    def operations(self) -> tuple[Operation, ...]:
        """The same, declared."""

        async def healthy(call: Call) -> web.Response:
            return await self.healthy(call.request)

        async def ready(call: Call) -> web.Response:
            return await self.ready(call.request)

        async def metrics(call: Call) -> web.Response:
            return await self.metrics(call.request)

        return (
            Operation(
                method="GET",
                path="/-/healthy",
                name="getHealth",
                tag="server",
                summary=Said("Alive?", "是否存活"),
                description=Said("200 while the process answers.", "进程能应答即为 200。"),
                handler=healthy,
                answers=(Answer(200, Said("Alive.", "存活。"), Alive),),
                store=False,
            ),
            Operation(
                method="GET",
                path="/-/ready",
                name="getReadiness",
                tag="server",
                summary=Said("Ready?", "是否就绪"),
                description=Said(
                    "200 while the store takes writes and the transport is connected and not blocked, else 503 "
                    "with "
                    "what is wrong.",
                    "存储可写且传输已连接、未阻塞时为 200，否则为 503 并说明原因。",
                ),
                handler=ready,
                answers=(
                    Answer(200, Said("Ready.", "就绪。"), Ready),
                    Answer(503, Said("Not ready.", "未就绪。"), Ready),
                ),
                store=False,
            ),
            Operation(
                method="GET",
                path="/metrics",
                name="getMetrics",
                tag="server",
                summary=Said("Metrics", "指标"),
                description=Said(
                    "What Prometheus scrapes. Keep it inside your network.", "供 Prometheus 抓取。请勿暴露到外网。"
                ),
                handler=metrics,
                answers=(Answer(200, Said("Prometheus text.", "Prometheus 文本。"), media=("text/plain",)),),
                store=False,
            ),
        )

    async def healthy(self, _request: web.Request) -> web.Response:
        """200 as long as the process answers."""
        return web.json_response({"status": "alive"})

    async def ready(self, _request: web.Request) -> web.Response:
        """200 when the store takes writes and the transport is connected, else 503 with what is wrong."""
        wrong = []
        try:
            await self._store.ping()
        except StoreError as error:
            wrong.append(f"store: {error}")
        if self._transport is not None and not self._transport.connected:
            wrong.append("transport: not connected")
        if self._transport is not None and self._transport.blocked:
            wrong.append("transport: blocked by the server (memory or disk alarm)")
        return web.json_response(
            {"status": "not ready" if wrong else "ready", "wrong": wrong}, status=503 if wrong else 200
        )

    async def metrics(self, _request: web.Request) -> web.Response:
        """What Prometheus scrapes."""
        for channel, healthy in self._channels().items():
            self._metrics.healthy.labels(channel).set(healthy)
        if self._transport is not None:
            self._metrics.connected.set(self._transport.connected)
            self._metrics.blocked.set(self._transport.blocked)
            if self._transport.connected:
                with contextlib.suppress(TransportError):  # the other metrics are wanted most when queues fail
                    for queue in all_queues(self._shards):
                        self._metrics.queue_depth.labels(queue).set(await self._transport.depth(queue))
        return web.Response(
            body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )
