"""The side of the broker that departments and the public meet: intake, release, the API, feeds, callbacks."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from broker import logs
from broker.api import published
from broker.api.alerts import counting
from broker.api.health import Health
from broker.api.service import Api
from broker.callbacks.notifier import Notifier
from broker.cap.limits import Limits
from broker.clock import now_ms
from broker.errors import StoreError
from broker.feeds.puller import FeedPuller
from broker.feeds.routes import FeedRoutes
from broker.feeds.settings import load_feeds
from broker.intake.accept import Intake
from broker.intake.authority import Authority
from broker.intake.expiry import Expiry
from broker.intake.foreign import ForeignIntake
from broker.intake.signatures import SignatureCheck
from broker.metrics import Metrics
from broker.planning import Planning
from broker.release.machines import Machines
from broker.release.release import Release
from broker.sealing import Keyring
from broker.settings import Settings
from broker.signing.expiry import ExpiryWatch
from broker.signing.sign import Signer
from broker.store.contract import Store
from broker.types import AlertState
from broker.world import World

_READMIT_S: Final = 2


@dataclass(frozen=True, slots=True)
class ApiRole:
    """Everything that the role `api` is made of. Any number of processes may have it."""

    settings: Settings
    store: Store
    metrics: Metrics
    intake: Intake
    release: Release
    planning: Planning
    signatures: SignatureCheck
    signer: Signer | None
    puller: FeedPuller
    notifier: Notifier

    @classmethod
    def load(cls, settings: Settings, world: World, planning: Planning, store: Store, metrics: Metrics) -> ApiRole:
        """Read what it needs from files. Raises ConfigError."""
        files = settings.files
        expiry = Expiry.load(files.expiry) if files.expiry else Expiry()
        limits = Limits(max_bytes=settings.max_body_bytes)
        signatures = SignatureCheck.load(world.departments, limits=limits)
        authority = Authority(world.regions, world.districts, world.events)
        release = Release(
            store,
            world.departments,
            machines=Machines(store, world.regions, world.districts),
            corrections=planning.corrections,
            guard=planning.previews,
        )
        intake = Intake(
            store,
            world.departments,
            authority,
            expiry=expiry,
            signatures=signatures,
            first_move=release.at_once,
            accepted=counting(metrics),
            max_bytes=settings.max_body_bytes,
        )
        foreign = ForeignIntake(store, world.departments, authority, expiry=expiry, limits=limits)
        sources = load_feeds(files.feeds) if files.feeds else load_feeds(settings.data / "no-feeds.yaml")
        owner = f"{socket.gethostname()}-{os.getpid()}"
        return cls(
            settings=settings,
            store=store,
            metrics=metrics,
            intake=intake,
            release=release,
            planning=planning,
            signatures=signatures,
            signer=Signer.of(settings.signing),
            puller=FeedPuller(store, foreign, sources, metrics.registry, owner=owner),
            notifier=Notifier(store, Keyring.load(settings.address_keys), metrics.registry),
        )

    def mount(self, app: web.Application, health: Health, *, released: Callable[[], None]) -> None:
        """Add the routes; `released` is called when an alert may go out."""
        api = Api(
            self.store,
            self.intake,
            self.release,
            self.planning.previews,
            self.metrics,
            health,
            released=released,
            rate=self.settings.rate,
            more=published.operations(FeedRoutes(self.store, self.signer, self.settings.feeds)),
            tags=published.TAGS,
        )
        api.mount(app)

    def work(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What runs beside the routes until cancelled, by name."""
        ends = [*self.signatures.certificates.expiries(), *([self.signer.expiry] if self.signer else [])]
        yield "readmit", self._readmit()
        yield "feeds", self.puller.run()
        yield "callbacks", self.notifier.run()
        yield "certificates", ExpiryWatch(ends, self.metrics).run()

    async def _readmit(self) -> None:
        """Take on alerts whose acceptance a crash cut off between keeping them and deciding on release."""
        log = logs.get(role="release")
        while True:
            try:
                for alert in await self.store.alerts(states=(AlertState.RECEIVED,), limit=100):
                    if alert.received < now_ms() - 1000 * _READMIT_S:
                        log.warning("alert_readmitted", alert=alert.id)
                        await self.release.admit(await self.store.alert(alert.id))
            except StoreError as error:
                log.warning("readmit_postponed", reason=str(error))
            await asyncio.sleep(_READMIT_S)
