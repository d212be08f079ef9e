"""Puts the API together: every declared call behind the gate, and what is made of the declarations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from aiohttp import web

from broker.api.alerts import AlertCalls
from broker.api.bodies import Bodies
from broker.api.declare import Operation
from broker.api.gate import Gate
from broker.api.health import Health
from broker.api.lifecycle import LifecycleCalls
from broker.api.operations import operations
from broker.api.rates import RateLimit
from broker.api.reading import Reading
from broker.api.said import Said
from broker.dispatch.previews import Previews
from broker.intake.accept import Intake
from broker.metrics import Metrics
from broker.release.release import Release
from broker.store.contract import Store


class Api:
    """The HTTP face for departments.

    `released` is called when an alert may go out. Without `rate` nobody is limited. `more` are operations of other
    parts, declared in the same way, and `tags` the headings under which they stand.
    """

    def __init__(
        self,
        store: Store,
        intake: Intake,
        release: Release,
        previews: Previews,
        metrics: Metrics,
        health: Health,
        *,
        released: Callable[[], None],
        rate: RateLimit | None = None,
        bodies: Bodies | None = None,
        more: Iterable[Operation] = (),
        tags: Sequence[tuple[str, Said]] = (),
    ) -> None:
        self._gate = Gate(store, rate=rate, bodies=bodies)
        alerts = AlertCalls(store, intake, release, metrics, self._gate.bodies, released=released)
        lifecycle = LifecycleCalls(store, alerts, release, previews, released=released)
        reading = Reading()
        declared = (*operations(alerts, lifecycle), *more, *health.operations(), *reading.operations())
        reading.make(declared, tags)
        self.operations: tuple[Operation, ...] = declared

    def mount(self, app: web.Application) -> None:
        """Add the routes."""
        app.add_routes([self._gate.route(operation) for operation in self.operations])
