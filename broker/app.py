"""Builds, starts and stops the roles; the only place that knows every part. Tests start it in process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import socket
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from aiohttp import web

from broker import logs
from broker.api.health import Health
from broker.api.problems import middleware
from broker.api.server import Server
from broker.api_role import ApiRole
from broker.dashboard.pages import Dashboard
from broker.dispatch.dispatcher import Dispatcher
from broker.dispatch.relay import Relay
from broker.errors import ChannelError, ConfigError, FenghuoError, Problem
from broker.metrics import Metrics
from broker.mqtt.access import Accounts
from broker.mqtt.embedded import EmbeddedServer
from broker.planning import Planning
from broker.sealing import Keyring
from broker.settings import Listen, Settings
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.tracking.closer import Closer
from broker.tracking.parker import Parker
from broker.tracking.tracker import Tracker
from broker.transport.contract import Transport
from broker.transport.factory import open_transport
from broker.types import ChannelName
from broker.world import World
from channels.app.channel import AppChannel
from channels.broadcast.channel import BroadcastChannel
from channels.channel import Channel
from channels.signage.channel import SignageChannel
from channels.sms.channel import SmsChannel
from channels.worker import Worker, WorkerSettings

WORKER = "worker:"


def all_roles(settings: Settings) -> tuple[str, ...]:
    """Every role that this configuration has."""
    workers = (f"{WORKER}{channel}" for channel in settings.channels.names())
    return ("api", "dispatcher", "tracker", *workers, "dashboard")


@dataclass(slots=True)
class App:
    """Some roles of a broker in one process."""

    settings: Settings
    roles: tuple[str, ...]
    health: Listen | None = None
    """Where roles without a face show their metrics and whether they are ready; None is nowhere."""
    metrics: Metrics = field(default_factory=Metrics)
    server: Server | None = None
    workers: dict[ChannelName, Worker] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _store: Store | None = None

    def __post_init__(self) -> None:
        """Refuse roles that do not exist, and half an embedded broker: nobody else could reach its queues."""
        known = all_roles(self.settings)
        problems = [
            Problem("role", "role.unknown", f"no role {role!r}; there are {', '.join(known)}")
            for role in self.roles
            if role not in known
        ]
        if self.settings.embedded and set(self.roles) != set(known) and not problems:
            problems.append(
                Problem("role", "role.embedded", "the embedded transport needs every role in one process")
            )
        if problems:
            raise ConfigError(problems)

    @property
    def store(self) -> Store:
        """The store, once started."""
        assert self._store is not None
        return self._store

    async def start(self) -> None:
        """Start the roles in the order in which they need each other; what was started is stopped on failure."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        settings = self.settings
        owner = f"{socket.gethostname()}-{os.getpid()}"
        if settings.embedded:
            self._stack.enter_context(alone(settings.data / "lock"))
        store = self._store = open_store(settings.store)
        await store.start()
        self._stack.push_async_callback(store.close)
        if settings.embedded:
            # This process alone holds the lock, so whoever held these claims is dead.
            await store.release_claims()
        transport = open_transport(settings.transport, settings.shards, prefix=settings.queue_prefix)
        await transport.start()
        self._stack.push_async_callback(transport.close)
        keyring = Keyring.load(settings.address_keys)
        if settings.embedded_mqtt is not None and settings.embedded:
            mqtt = settings.embedded_mqtt
            server = EmbeddedServer(Accounts.load(mqtt.credentials), mqtt.journal, host=mqtt.host, port=mqtt.port)
            await server.start()
            self._stack.push_async_callback(server.stop)
        if "tracker" in self.roles:
            await self._start_tracker(store, transport)
        for role in self.roles:
            if role.startswith(WORKER):
                await self._start_worker(ChannelName(role.removeprefix(WORKER)), store, transport, keyring, owner)
        relay = Relay(store, transport, self.metrics)
        dispatcher = None
        world = World.load(settings)
        planning = None
        if {"api", "dispatcher"} & set(self.roles):
            planning = Planning.load(settings, world, store, keyring)
        if planning is not None and "dispatcher" in self.roles:
            dispatcher = await self._start_dispatcher(planning, store, relay)
        await self._start_faces(world, planning, store, transport, dispatcher)

    async def _start_tracker(self, store: Store, transport: Transport) -> None:
        tracker = Tracker(store, transport, self.metrics, shards=range(self.settings.shards))
        await tracker.start()
        self._stack.push_async_callback(tracker.close)
        self._watch(tracker.run(), "tracker")
        parker = Parker(store, transport, self.metrics)
        await parker.start()
        self._stack.push_async_callback(parker.close)
        self._watch(Closer(store, grace_ms=int(1000 * self.settings.grace_seconds)).run(), "closer")

    async def _start_worker(
        self, name: ChannelName, store: Store, transport: Transport, keyring: Keyring, owner: str
    ) -> None:
        worker = Worker(
            channel_of(name, self.settings),
            store,
            transport,
            keyring,
            self.metrics,
            owner=f"{owner}-{name}",
            settings=self.settings.workers.get(name, WorkerSettings()),
            shards=self.settings.shards,
        )
        await worker.start()
        self._stack.push_async_callback(worker.close)
        self._watch(worker.run(), f"worker:{name}")
        self.workers[name] = worker

    async def _start_dispatcher(self, planning: Planning, store: Store, relay: Relay) -> Dispatcher:
        dispatcher = Dispatcher(
            store,
            relay,
            self.metrics,
            planning.planner,
            Keyring.load(self.settings.address_keys),
            index=planning.index,
        )
        await dispatcher.start()
        self._watch(dispatcher.run(), "dispatcher")
        self._watch(relay.run(), "relay")
        return dispatcher

    async def _start_faces(
        self,
        world: World,
        planning: Planning | None,
        store: Store,
        transport: Transport,
        dispatcher: Dispatcher | None,
    ) -> None:
        settings = self.settings
        faces = [role for role in ("api", "dashboard") if role in self.roles]
        listen = settings.listen if "api" in faces else settings.dashboard if faces else self.health
        app = web.Application(middlewares=[middleware], client_max_size=settings.max_body_bytes)
        health = Health(store, transport, self.metrics, shards=settings.shards, channels=self._channels)
        if "api" not in faces:
            app.add_routes(health.routes())
        else:
            assert planning is not None
            wake = dispatcher.wake if dispatcher is not None else _nobody
            role = ApiRole.load(settings, world, planning, store, self.metrics)
            role.mount(app, health, released=wake)
            for name, work in role.work():
                self._watch(work, name)
        if "dashboard" in faces:
            dashboard = Dashboard(
                store,
                settings.files.districts,
                self.metrics,
                events=world.events,
                departments=world.departments,
            )
            dashboard.mount(app)
            await dashboard.start()
            self._stack.push_async_callback(dashboard.close)
        if listen is not None:
            self.server = Server(app, listen.host, listen.port)
            try:
                await self.server.start()
            except OSError as error:
                place = f"{listen.host}:{listen.port}"
                raise FenghuoError(f"cannot listen on {place}: {error.strerror}") from error
            self._stack.push_async_callback(self.server.close)

    def _channels(self) -> dict[str, bool]:
        """Which channels run here, and whether their far ends can be reached."""
        return {str(name): worker.channel.healthy for name, worker in self.workers.items()}

    def _watch(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; raises what killed a role: a half-dead process must not stay."""
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({stopped, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        for task in done - {stopped}:
            task.result()
            raise FenghuoError(f"{task.get_name()} ended")

    async def close(self) -> None:
        """Stop everything, last started first."""
        tasks, self._tasks = self._tasks, []
        watching = [task for task in tasks if not task.get_name().startswith((WORKER, "tracker"))]
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await self._stack.aclose()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def channel_of(name: ChannelName, settings: Settings) -> Channel:
    """A channel by its settings. Raises ChannelError if it is not configured."""
    channels = settings.channels
    if name is ChannelName.SMS and channels.sms is not None:
        return SmsChannel(channels.sms)
    if name is ChannelName.BROADCAST and channels.broadcast is not None:
        return BroadcastChannel(channels.broadcast)
    if name is ChannelName.APP and channels.app is not None:
        return AppChannel(channels.app)
    if name is ChannelName.SIGNAGE and channels.signage is not None:
        return SignageChannel(channels.signage)
    raise ChannelError(f"the channel {name} is not configured")


def _nobody() -> None:
    """The dispatcher is another process: it looks for itself."""


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[IO[str]]:
    """Hold a lock file. Raises ConfigError if another process has it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError([Problem(str(lock), "data.locked", "another process runs on this data")]) from error
        yield held


async def serve(
    settings: Settings, roles: Iterable[str], stop: asyncio.Event, health: Listen | None = None
) -> None:
    """Start, run until `stop`, close."""
    app = App(settings, tuple(roles), health)
    await app.start()
    settle()
    logs.get(role="app").info("started", roles=list(app.roles), url=app.server.url if app.server else None)
    try:
        await app.run(stop)
    finally:
        await app.close()


def settle() -> None:
    """Once all roles run: what was read at start stays for good, so the collector need not look at it again.

    Only for a process that does nothing else, since it goes for every object that is there.
    """
    gc.collect()
    gc.freeze()
