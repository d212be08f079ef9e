"""Release: the table of moves decides, the author does not, and of two people at once one does."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import pytest_asyncio

from broker.clock import now_ms
from broker.errors import Conflict, NotAllowed, NotFound
from broker.intake.departments import Department, Departments, ReleaseMode
from broker.release.release import Release
from broker.release.states import MOVES, allowed_from
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord, TokenRecord
from broker.store.sql import open_store
from broker.types import AlertState
from tests.support.storing import add, an_alert, an_event

ROOT = Path(__file__).parents[3]
DEPARTMENTS = Departments(
    (
        Department(
            id="meteorology",
            name_zh="气象台",
            name_en="Meteorology",
            senders=("station@example.org",),
            events=("11B*",),
            regions=("50",),
            levels=("Red", "Orange", "Yellow", "Blue"),
            release={"Blue": ReleaseMode.NONE, "Red": ReleaseMode.SECOND_PERSON},
        ),
        Department(
            id="geology",
            name_zh="地质中心",
            name_en="Geology",
            senders=("geo@example.org",),
            events=("11D*",),
            regions=("50",),
            levels=("Red",),
        ),
    )
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def store() -> AsyncIterator[Store]:
    store = open_store("sqlite:///:memory:")
    await store.start()
    yield store
    await store.close()


in_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def release(store: Store) -> Release:
    return Release(store, DEPARTMENTS)


def token(name: str, department: str = "meteorology") -> TokenRecord:
    return TokenRecord(name, department, name.encode(), ("alerts:release",), 0, None, None)


async def kept(
    store: Store, state: AlertState = AlertState.AWAITING_RELEASE, *, level: str | None = "Red", lives: int = 60_000
) -> AlertRecord:
    """An alert by token-1 of meteorology."""
    return await add(store, replace(an_alert(state=state), level=level, expires=now_ms() + lives))


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_knows_every_state_and_none_leads_to_itself() -> None:
    assert set(MOVES) == set(AlertState)
    assert not [state for state, targets in MOVES.items() if state in targets]
    for state in AlertState:
        assert set(allowed_from(state)) == {origin for origin in AlertState if state in MOVES[origin]}


def test_from_everywhere_there_is_a_way_to_an_end_and_from_an_end_there_is_none() -> None:
    ends = {state for state, targets in MOVES.items() if not targets}
    assert ends == {
        AlertState.REJECTED,
        AlertState.CANCELLED,
        AlertState.EXPIRED,
        AlertState.STOPPED,
    }
    reachable = set(ends)
    while grown := {state for state in MOVES if set(MOVES[state]) & reachable} - reachable:
        reachable |= grown
    assert reachable == set(AlertState)


def test_nothing_is_planned_that_was_not_released() -> None:
    assert allowed_from(AlertState.PLANNED) == (AlertState.RELEASED,)
    assert set(allowed_from(AlertState.RELEASED)) == {AlertState.RECEIVED, AlertState.AWAITING_RELEASE}


def test_only_what_was_planned_is_sent_or_completed_and_nothing_that_was_is_stopped() -> None:
    assert set(allowed_from(AlertState.SENDING)) == {AlertState.PLANNED, AlertState.COMPLETED}
    # What reaches nobody by its nature completes without a plan.
    assert set(allowed_from(AlertState.COMPLETED)) == {
        AlertState.RELEASED,
        AlertState.PLANNED,
        AlertState.SENDING,
    }
    for end in (AlertState.STOPPED, AlertState.REJECTED, AlertState.EXPIRED):
        assert not {AlertState.PLANNED, AlertState.SENDING} & set(allowed_from(end))


@in_one_loop
async def test_every_move_of_the_table_is_made_and_every_other_is_refused(store: Store) -> None:
    for origin, target in product(AlertState, AlertState):
        alert = await kept(store, origin)
        moved = await store.move_alert(alert.id, allowed_from(target), an_event(alert.id, target))
        assert moved == (target in MOVES[origin]), f"{origin} to {target}"
        assert (await store.alert(alert.id)).state is (target if moved else origin)
        assert len(await store.alert_events(alert.id)) == 1 + moved


def test_whoever_moves_an_alert_asks_the_table() -> None:
    """Origins given to move_alert by hand must be ones that the table allows."""
    calls = [
        (path.name, ast.unparse(node.args[1]))
        for path in (ROOT / "broker").rglob("*.py")
        if "store" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".move_alert")
    ]
    assert {name for name, _ in calls} >= {"release.py", "closer.py", "dispatcher.py"}
    by_hand = {(name, origins) for name, origins in calls if not origins.startswith("allowed_from(")}
    # The first two moves are narrower than the table: each is from exactly one state.
    assert by_hand == {("release.py", "(AlertState.RECEIVED,)"), ("release.py", "waiting")}
    assert {AlertState.RELEASED, AlertState.AWAITING_RELEASE} <= set(MOVES[AlertState.RECEIVED])
    assert AlertState.RELEASED in MOVES[AlertState.AWAITING_RELEASE]


# ── admission ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("level", "state"),
    [
        ("Blue", AlertState.RELEASED),
        ("Red", AlertState.AWAITING_RELEASE),
        ("Yellow", AlertState.AWAITING_RELEASE),  # the rules are silent: a second person
        (None, AlertState.AWAITING_RELEASE),
    ],
)
@in_one_loop
async def test_the_departments_rules_decide_whether_an_alert_waits(
    store: Store, release: Release, level: str | None, state: AlertState
) -> None:
    alert = await kept(store, AlertState.RECEIVED, level=level)
    assert await release.admit(alert) is state
    assert await release.admit(alert) is state, "a second time changes nothing"
    events = await store.alert_events(alert.id)
    assert [event.state for event in events] == [AlertState.RECEIVED, state]
    assert "department's rules" in events[-1].why


@in_one_loop
async def test_admitting_late_does_not_bring_back_what_has_moved_on(store: Store, release: Release) -> None:
    alert = await kept(store, AlertState.RECEIVED, level="Blue")
    await release.admit(alert)
    event = an_event(alert.id, AlertState.STOPPED)
    assert await store.move_alert(alert.id, [AlertState.RELEASED], event)
    assert await release.admit(alert) is AlertState.STOPPED


# ── the second person ─────────────────────────────────────────────────────────────────────────────────


@in_one_loop
async def test_a_second_person_lets_the_alert_go_and_is_on_record(store: Store, release: Release) -> None:
    alert = await kept(store)
    found = await release.release(alert.id, token("token-2"))
    assert found.state is AlertState.RELEASED
    assert found.released is not None
    last = (await store.alert_events(alert.id))[-1]
    assert (last.state, last.who, last.at) == (AlertState.RELEASED, "token-2", found.released)


@in_one_loop
async def test_the_author_may_not_release(store: Store, release: Release) -> None:
    alert = await kept(store)
    with pytest.raises(NotAllowed, match="second person"):
        await release.release(alert.id, token(alert.author))
    assert (await store.alert(alert.id)).state is AlertState.AWAITING_RELEASE


@in_one_loop
async def test_another_department_may_not_release(store: Store, release: Release) -> None:
    alert = await kept(store)
    with pytest.raises(NotAllowed, match="department"):
        await release.release(alert.id, token("token-2", "geology"))
    assert (await store.alert(alert.id)).state is AlertState.AWAITING_RELEASE


@pytest.mark.parametrize("state", [state for state in AlertState if state is not AlertState.AWAITING_RELEASE])
@in_one_loop
async def test_only_what_waits_for_release_can_be_released(
    store: Store, release: Release, state: AlertState
) -> None:
    alert = await kept(store, state)
    with pytest.raises(Conflict, match=f"is {state}, not awaiting"):
        await release.release(alert.id, token("token-2"))
    assert (await store.alert(alert.id)).state is state


@in_one_loop
async def test_what_has_expired_is_not_released(store: Store, release: Release) -> None:
    alert = await kept(store, lives=-1)
    with pytest.raises(Conflict, match="expired"):
        await release.release(alert.id, token("token-2"))
    assert (await store.alert(alert.id)).state is AlertState.AWAITING_RELEASE


@in_one_loop
async def test_what_does_not_exist_is_not_found(release: Release) -> None:
    with pytest.raises(NotFound):
        await release.release("nothing", token("token-2"))


@in_one_loop
async def test_of_two_people_at_once_one_releases(store: Store, release: Release) -> None:
    alert = await kept(store)
    results = await asyncio.gather(
        *(release.release(alert.id, token(f"token-{n}")) for n in range(2, 8)), return_exceptions=True
    )
    assert sum(isinstance(result, AlertRecord) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 5
    releases = [event for event in await store.alert_events(alert.id) if event.state is AlertState.RELEASED]
    assert len(releases) == 1
    assert isinstance(releases[0], AlertEvent)
