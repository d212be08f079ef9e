"""Tells departments of their alerts' states: at least once, in order for each alert, each department by itself."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from functools import partial
from typing import Final

import aiohttp
from prometheus_client import CollectorRegistry, Counter

from broker import logs
from broker.callbacks.registration import target
from broker.callbacks.sending import Answer, event_body, post, session
from broker.clock import now_ms
from broker.errors import ClaimLost, NotFound, StoreError
from broker.sealing import Keyring, SealError
from broker.store.contract import Store
from broker.store.outside_records import CallbackRecord, DeliveryOutcome, DeliveryRecord

DAY_MS: Final = 86_400_000
_TOGETHER: Final = 4
"""Requests to one callback at a time, each about another alert."""
_LONGEST_WAIT_S: Final = 3_600.0
_FORGET_MS: Final = 30 * DAY_MS
_FORGET_EVERY_MS: Final = 3_600_000
_SLACK_S: Final = 20.0
"""How much longer than a request a claim on it holds."""


class Notifier:
    """The task of a role: `run` until cancelled. Any number of processes may run one."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        registry: CollectorRegistry | None = None,
        *,
        poll_s: float = 0.5,
        timeout_s: float = 10.0,
        first_wait_s: float = 5.0,
        give_up_ms: int = DAY_MS,
    ) -> None:
        """A request that fails is tried again after `first_wait_s`, then twice that, up to an hour, until the event
        is `give_up_ms` old."""
        self._store = store
        self._keyring = keyring
        self._poll_s = poll_s
        self._timeout_s = timeout_s
        self._first_wait_s = first_wait_s
        self._give_up_ms = give_up_ms
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._forgot = 0
        self._tries = Counter(
            "fenghuo_callback_tries",
            "Requests to departments",
            ["outcome"],
            registry=registry or CollectorRegistry(),
        )
        for outcome in ("delivered", "failed", "given_up"):
            self._tries.labels(outcome)
        self._log = logs.get(role="callbacks")

    async def run(self) -> None:
        """Until cancelled; what was being sent then is sent again by the next process."""
        async with session(self._timeout_s) as client:
            try:
                while True:
                    try:
                        await self._once(client)
                    except StoreError as error:
                        self._log.warning("callbacks_postponed", reason=str(error))
                    await asyncio.sleep(self._poll_s)
            finally:
                tasks = list(self._busy.values())
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _once(self, client: aiohttp.ClientSession) -> None:
        now = now_ms()
        await self._store.spread_events(now)
        for callback in await self._store.due_callbacks(now):
            if callback not in self._busy:
                # Each by itself: one that does not answer keeps only its own department waiting.
                task = asyncio.create_task(self._drain(callback, client), name=f"callback:{callback}")
                self._busy[callback] = task
                task.add_done_callback(partial(self._drained, callback))
        if now - self._forgot > _FORGET_EVERY_MS:
            self._forgot = now
            await self._store.forget_deliveries(now - _FORGET_MS)

    def _drained(self, callback: str, _task: asyncio.Task[None]) -> None:
        self._busy.pop(callback, None)

    async def _drain(self, callback: str, client: aiohttp.ClientSession) -> None:
        """Tell one callback what is due, until nothing is."""
        try:
            record = await self._store.callback(callback)
            running: set[asyncio.Task[None]] = set()
            try:
                while True:
                    free = _TOGETHER - len(running)
                    found = await self._store.due_deliveries(callback, now_ms(), limit=free) if free else []
                    running |= {asyncio.create_task(self._tell(record, each, client)) for each in found}
                    if not running:
                        return
                    done, running = await asyncio.wait(
                        running, timeout=self._poll_s, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in done:
                        task.result()
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
        except NotFound:
            pass  # it was removed meanwhile
        except StoreError as error:
            self._log.warning("callback_postponed", callback=callback, reason=str(error))
        except Exception:  # noqa: BLE001 - the last fence: a fault of ours with one must not silence the others
            self._log.exception("callback_fault", callback=callback)

    async def _tell(
        self, callback: CallbackRecord, delivery: DeliveryRecord, client: aiohttp.ClientSession
    ) -> None:
        lease_ms = round(1000 * (self._timeout_s + _SLACK_S))
        claim = await self._store.claim_delivery(delivery, now=now_ms(), lease_ms=lease_ms)
        if claim is None:
            return
        answer = await self._sent(callback, claim, client)
        try:
            await self._store.close_delivery(self._closed(claim, answer))
        except ClaimLost:
            self._log.warning("callback_claim_lost", callback=callback.id, delivery=claim.public_id)

    async def _sent(
        self, callback: CallbackRecord, delivery: DeliveryRecord, client: aiohttp.ClientSession
    ) -> Answer:
        try:
            to = target(callback, self._keyring)
        except SealError as error:
            return Answer(None, f"the secret cannot be opened: {error}")
        alert = await self._store.alert(delivery.alert)
        body = event_body(delivery, alert, await self._store.counters(delivery.alert))
        return await post(client, to, delivery.public_id, body)

    def _closed(self, delivery: DeliveryRecord, answer: Answer) -> DeliveryRecord:
        now = now_ms()
        tried = replace(
            delivery, attempts=delivery.attempts + 1, status=answer.status, error=answer.error, next_try=now
        )
        log = self._log.bind(callback=delivery.callback, delivery=delivery.public_id, alert=delivery.alert)
        if answer.error is None:
            self._tries.labels("delivered").inc()
            return replace(tried, outcome=DeliveryOutcome.DELIVERED, closed=now)
        wait_ms = round(1000 * self._wait_s(tried.attempts))
        if now + wait_ms > delivery.created + self._give_up_ms:
            self._tries.labels("given_up").inc()
            log.error("callback_given_up", attempts=tried.attempts, reason=answer.error)
            return replace(tried, outcome=DeliveryOutcome.GIVEN_UP, closed=now)
        self._tries.labels("failed").inc()
        log.warning("callback_failed", attempts=tried.attempts, reason=answer.error)
        return replace(tried, next_try=now + wait_ms)

    def _wait_s(self, attempts: int) -> float:
        """Seconds before the next try: doubling, scattered so that many do not come back at once."""
        doubled = self._first_wait_s * float(2 ** min(attempts - 1, 20))
        return min(doubled, _LONGEST_WAIT_S) * random.uniform(0.75, 1.25)
