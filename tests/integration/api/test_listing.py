"""Lists are pages of the department's own alerts, however many others post meanwhile: held against a model."""

from __future__ import annotations

import asyncio
import itertools
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest_asyncio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from broker.clock import from_ms
from broker.intake.accept import new_id
from broker.store.records import AlertEvent, AlertRecord
from broker.types import AlertState
from tests.support.broker import Api, running_api
from tests.support.storing import T0, an_alert

STATES = (AlertState.RELEASED, AlertState.COMPLETED, AlertState.REJECTED)
LEVELS = ("Red", "Blue", None)
STATUSES = ("Actual", "Exercise")
MINE, THEIRS = "met-hechuan", "met-wulong"
_numbers = itertools.count()


async def put(api: Api, department: str, **changes: Any) -> AlertRecord:
    """Keep an alert of a department, a second after the one before."""
    number = next(_numbers)
    received = T0 + 1000 * number
    made = replace(
        an_alert(new_id(received), body=b"%d" % number),
        department=department,
        identifier=f"n-{number}",
        digest=b"%032d" % number,
        received=received,
        **changes,
    )
    await api.store.add_alert(made, AlertEvent(made.id, received, made.state, "test", "put there"))
    return made


async def all_pages(api: Api, query: dict[str, Any], limit: int) -> list[list[str]]:
    """Ids page by page, gone through by Link; the cursor in the body must say the same."""
    path: str | None = f"/v1/alerts?{urlencode({**query, 'limit': limit}, doseq=True)}"
    found = []
    while path is not None:
        answer = await api.call("GET", path)
        assert answer.status == 200, answer.body
        body = answer.json()
        found.append([alert["id"] for alert in body["alerts"]])
        link = re.fullmatch(r'<(/v1/alerts\?[^>]+)>; rel="next"', answer.headers.get("Link", ""))
        assert (link is None) == (body["next"] is None)
        assert link is None or f"cursor={body['next']}" in link[1]
        path = None if link is None else link[1]
    return found


async def test_a_page_is_full_although_others_have_posted_thousands_in_between(api: Api) -> None:
    mine = [(await put(api, MINE)).id]
    for _ in range(1500):
        await put(api, THEIRS)
    mine += [(await put(api, MINE)).id for _ in range(2)]

    assert await all_pages(api, {}, 2) == [[mine[2], mine[1]], [mine[0]]]


async def test_what_is_posted_meanwhile_does_not_shift_the_pages_that_follow(api: Api) -> None:
    old = [(await put(api, MINE)).id for _ in range(4)]
    first = (await api.call("GET", "/v1/alerts?limit=2")).json()
    await put(api, MINE)

    second = (await api.call("GET", f"/v1/alerts?limit=2&cursor={first['next']}")).json()

    assert [alert["id"] for page in (first, second) for alert in page["alerts"]] == old[::-1]
    assert second["next"] is None


async def test_a_cursor_belongs_to_its_filters_and_its_department(api: Api) -> None:
    for department in (MINE, THEIRS):
        for _ in range(3):
            await put(api, department)
    cursor = (await api.call("GET", "/v1/alerts?limit=1")).json()["next"]

    assert (await api.call("GET", f"/v1/alerts?limit=2&cursor={cursor}")).status == 200
    for query, department in ((f"level=Red&cursor={cursor}", MINE), (f"cursor={cursor}", THEIRS)):
        answer = await api.call("GET", f"/v1/alerts?{query}", department=department)
        assert answer.status == 400
        assert answer.rules == {"query.cursor"}


@dataclass
class Shared:
    """One API for all runs; the machine runs in a thread of its own and asks the loop."""

    api: Api
    loop: asyncio.AbstractEventLoop

    def __call__(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)


class Listing(RuleBasedStateMachine):
    """Alerts are put, moved and listed in any order; the model is a list in Python."""

    shared: Shared
    alerts = Bundle("alerts")

    @initialize()
    def begin(self) -> None:
        # What earlier runs have put stays: `since` cuts it off, as a department would.
        self.begun = T0 + 1000 * next(_numbers)
        self.kept: dict[str, AlertRecord] = {}

    @rule(
        target=alerts,
        department=st.sampled_from([MINE, THEIRS]),
        state=st.sampled_from(STATES[:1]),
        level=st.sampled_from(LEVELS),
        status=st.sampled_from(STATUSES),
    )
    def put(self, department: str, state: AlertState, level: str | None, status: str) -> str:
        made = self.shared(put(self.shared.api, department, state=state, level=level, status=status))
        self.kept[made.id] = made
        return str(made.id)

    @rule(alert=consumes(alerts), state=st.sampled_from(STATES[1:]))
    def move(self, alert: str, state: AlertState) -> None:
        event = AlertEvent(alert, T0, state, "test", "moved")
        assert self.shared(self.shared.api.store.move_alert(alert, STATES[:1], event))
        self.kept[alert] = replace(self.kept[alert], state=state)

    @rule(
        limit=st.integers(1, 5),
        states=st.sets(st.sampled_from(STATES)),
        levels=st.sets(st.sampled_from(["Red", "Blue"])),
        statuses=st.sets(st.sampled_from(STATUSES)),
        after=st.integers(0, 8),
    )
    def list_them(
        self, limit: int, states: set[AlertState], levels: set[str], statuses: set[str], after: int
    ) -> None:
        since = self.begun + 1000 * after
        query = {
            "state": sorted(states),
            "level": sorted(levels),
            "status": sorted(statuses),
            "since": from_ms(since).isoformat(),
        }
        wanted = [
            alert.id
            for alert in sorted(self.kept.values(), key=lambda alert: alert.id, reverse=True)
            if alert.department == MINE
            and (not states or alert.state in states)
            and (not levels or alert.level in levels)
            and (not statuses or alert.status in statuses)
            and alert.received >= since
        ]
        pages = self.shared(all_pages(self.shared.api, query, limit))
        assert [alert for page in pages for alert in page] == wanted
        assert all(len(page) == limit for page in pages[:-1])

    @invariant()
    def nothing_is_lost(self) -> None:
        assert all(record.id == alert for alert, record in self.kept.items())


@pytest_asyncio.fixture
async def shared() -> AsyncIterator[Shared]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        api = await stack.enter_async_context(running_api(Path(folder)))
        yield Shared(api, asyncio.get_running_loop())


async def test_lists_follow_the_model_whatever_is_put_moved_and_asked(shared: Shared) -> None:
    machine = type("Machine", (Listing,), {"shared": shared}).TestCase
    machine.settings = settings(max_examples=20, stateful_step_count=15, deadline=None, database=None)

    await asyncio.to_thread(machine("runTest").runTest)
