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

from broker.cap.model import MsgType, Status
from broker.clock import now_ms
from broker.errors import Conflict, InputRefused, NotAllowed, NotFound, Problem
from broker.intake.departments import Department, Departments, ReleaseMode
from broker.release.release import Release
from broker.release.states import MOVES, allowed_from
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord, TokenRecord
from broker.store.sql import open_store
from broker.types import AlertState, Realm
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


PREVIEW = "0" * 64


class Shown:
    """A guard that knows one preview, and says of any other that something changed."""

    async def check(self, alert: AlertRecord, preview: str) -> None:
        if preview != PREVIEW:
            raise InputRefused([Problem("preview", "release.changed.audience", f"of {alert.id}")], status=409)


@pytest.fixture
def release(store: Store) -> Release:
    return Release(store, DEPARTMENTS, guard=Shown())


def token(
    name: str,
    department: str = "meteorology",
    *,
    realm: Realm = Realm.LIVE,
    scopes: tuple[str, ...] = ("alerts:release",),
) -> TokenRecord:
    return TokenRecord(name, department, name.encode(), scopes, 0, None, None, realm)


async def kept(
    store: Store,
    state: AlertState = AlertState.AWAITING_RELEASE,
    *,
    level: str | None = "Red",
    lives: int = 60_000,
    **changes: str,
) -> AlertRecord:
    """An alert by token-1 of meteorology."""
    alert = replace(an_alert(state=state), level=level, expires=now_ms() + lives)
    return await add(store, replace(alert, **changes))  # type: ignore[arg-type]


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
    # Narrower than the table: release's moves are each from exactly one state, the closer asks the table itself.
    assert by_hand == {
        ("release.py", "(AlertState.RECEIVED,)"),
        ("release.py", "waiting"),
        ("closer.py", "origins"),
    }
    closer = (ROOT / "broker/tracking/closer.py").read_text(encoding="utf-8")
    assert "assert set(origins) <= set(allowed_from(state))" in closer
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


@pytest.mark.parametrize(
    ("msg_type", "status", "level", "state"),
    [
        (MsgType.CANCEL, Status.ACTUAL, "Red", AlertState.RELEASED),
        (MsgType.CANCEL, Status.EXERCISE, None, AlertState.RELEASED),
        (MsgType.CANCEL, Status.DRAFT, "Red", AlertState.AWAITING_RELEASE),
        (MsgType.ACK, Status.ACTUAL, "Red", AlertState.RELEASED),
        (MsgType.ERROR, Status.TEST, None, AlertState.RELEASED),
        (MsgType.ALERT, Status.SYSTEM, "Red", AlertState.RELEASED),
        (MsgType.UPDATE, Status.SYSTEM, "Red", AlertState.RELEASED),
        (MsgType.ALERT, Status.DRAFT, "Blue", AlertState.AWAITING_RELEASE),
        (MsgType.UPDATE, Status.DRAFT, "Blue", AlertState.AWAITING_RELEASE),
        (MsgType.UPDATE, Status.ACTUAL, "Red", AlertState.AWAITING_RELEASE),
        (MsgType.UPDATE, Status.ACTUAL, "Blue", AlertState.RELEASED),
        (MsgType.ALERT, Status.EXERCISE, "Red", AlertState.AWAITING_RELEASE),
        (MsgType.ALERT, Status.TEST, "Blue", AlertState.RELEASED),
    ],
)
@in_one_loop
async def test_what_each_type_and_status_needs(
    store: Store, release: Release, msg_type: MsgType, status: Status, level: str | None, state: AlertState
) -> None:
    alert = await kept(store, AlertState.RECEIVED, level=level, msg_type=msg_type, status=status)
    assert await release.admit(alert) is state


@in_one_loop
async def test_an_update_that_is_a_pure_correction_needs_no_second_person_and_the_history_says_why(
    store: Store,
) -> None:
    asked = []

    async def corrections(alert: AlertRecord) -> str | None:
        asked.append(alert.body)
        return "the same words on a smaller area" if alert.identifier.endswith("pure") else None

    release = Release(store, DEPARTMENTS, corrections=corrections)
    pure = await kept(store, AlertState.RECEIVED, msg_type="Update", identifier="a-pure")
    other = await kept(store, AlertState.RECEIVED, msg_type="Update", identifier="a-wider")
    alert = await kept(store, AlertState.RECEIVED, identifier="an-alert-pure")
    assert await release.admit(replace(pure, body=b"")) is AlertState.RELEASED
    assert await release.admit(other) is AlertState.AWAITING_RELEASE
    assert await release.admit(alert) is AlertState.AWAITING_RELEASE, "only an Update corrects"
    assert asked == [pure.body, other.body], "with their bytes, also when a listing gave none"
    assert "the same words on a smaller area" in (await store.alert_events(pure.id))[-1].why


# ── the second person ─────────────────────────────────────────────────────────────────────────────────


@in_one_loop
async def test_a_second_person_lets_the_alert_go_and_is_on_record(store: Store, release: Release) -> None:
    alert = await kept(store)
    found = await release.release(alert.id, token("token-2"), PREVIEW)
    assert found.state is AlertState.RELEASED
    assert found.released is not None
    last = (await store.alert_events(alert.id))[-1]
    assert (last.state, last.who, last.at) == (AlertState.RELEASED, "token-2", found.released)


@in_one_loop
async def test_the_author_may_not_release(store: Store, release: Release) -> None:
    alert = await kept(store)
    with pytest.raises(NotAllowed, match="second person"):
        await release.release(alert.id, token(alert.author), PREVIEW)
    assert (await store.alert(alert.id)).state is AlertState.AWAITING_RELEASE


@in_one_loop
async def test_another_department_may_not_release(store: Store, release: Release) -> None:
    alert = await kept(store)
    with pytest.raises(NotAllowed, match="department"):
        await release.release(alert.id, token("token-2", "geology"), PREVIEW)
    assert (await store.alert(alert.id)).state is AlertState.AWAITING_RELEASE


@pytest.mark.parametrize("state", [state for state in AlertState if state is not AlertState.AWAITING_RELEASE])
@in_one_loop
async def test_only_what_waits_for_release_can_be_released(
    store: Store, release: Release, state: AlertState
) -> None:
    alert = await kept(store, state)
    with pytest.raises(Conflict, match=f"is {state}, not awaiting"):
        await release.release(alert.id, token("token-2"), PREVIEW)
    assert (await store.alert(alert.id)).state is state


@in_one_loop
async def test_what_has_expired_is_not_released(store: Store, release: Release) -> None:
    alert = await kept(store, lives=-1)
    with pytest.raises(Conflict, match="expired"):
        await release.release(alert.id, token("token-2"), PREVIEW)
    assert (await store.alert(alert.id)).state is AlertState.AWAITING_RELEASE


@in_one_loop
async def test_the_preview_that_was_released_is_on_record(store: Store, release: Release) -> None:
    alert = await kept(store)
    assert (await release.release(alert.id, token("token-2"), PREVIEW)).preview == PREVIEW


@pytest.mark.parametrize("preview", [None, ""])
@in_one_loop
async def test_nothing_is_released_unseen(store: Store, release: Release, preview: str | None) -> None:
    alert = await kept(store)
    with pytest.raises(InputRefused) as caught:
        await release.release(alert.id, token("token-2"), preview)
    assert caught.value.status == 422
    assert [problem.rule for problem in caught.value.problems] == ["release.preview.absent"]
    assert (await store.alert(alert.id)).state is AlertState.AWAITING_RELEASE


@in_one_loop
async def test_what_is_not_as_it_was_shown_is_not_released(store: Store, release: Release) -> None:
    alert = await kept(store)
    with pytest.raises(InputRefused) as caught:
        await release.release(alert.id, token("token-2"), "1" * 64)
    assert [problem.rule for problem in caught.value.problems] == ["release.changed.audience"]
    kept_now = await store.alert(alert.id)
    assert (kept_now.state, kept_now.preview) == (AlertState.AWAITING_RELEASE, None)


@in_one_loop
async def test_where_no_preview_can_be_judged_nothing_is_released(store: Store) -> None:
    alert = await kept(store)
    with pytest.raises(Conflict, match="previews"):
        await Release(store, DEPARTMENTS).release(alert.id, token("token-2"), PREVIEW)
    assert (await store.alert(alert.id)).state is AlertState.AWAITING_RELEASE


@pytest.mark.parametrize("status", [Status.ACTUAL, Status.EXERCISE, Status.TEST, Status.SYSTEM])
@pytest.mark.parametrize("realm", Realm)
@in_one_loop
async def test_a_drills_credential_and_a_live_one_never_decide_on_each_others_alerts(
    store: Store, release: Release, status: Status, realm: Realm
) -> None:
    alert = await kept(store, status=status)
    own = (realm is Realm.DRILL) == (status in (Status.EXERCISE, Status.TEST))
    second = token("token-2", realm=realm)
    if own:
        assert (await release.release(alert.id, second, PREVIEW)).state is AlertState.RELEASED
        return
    for act in (release.release(alert.id, second, PREVIEW), release.reject(alert.id, second, "no")):
        with pytest.raises(NotAllowed, match="realm"):
            await act
    assert (await store.alert(alert.id)).state is AlertState.AWAITING_RELEASE


@in_one_loop
async def test_a_machine_neither_releases_nor_rejects(store: Store, release: Release) -> None:
    alert = await kept(store)
    machine = token("token-2", scopes=("alerts:release", "alerts:machine"))
    for act in (release.release(alert.id, machine, PREVIEW), release.reject(alert.id, machine, "no")):
        with pytest.raises(NotAllowed, match="machine"):
            await act


@pytest.mark.parametrize("realm", Realm)
@in_one_loop
async def test_a_draft_is_never_released_but_can_be_rejected(store: Store, release: Release, realm: Realm) -> None:
    alert = await kept(store, status=Status.DRAFT)
    with pytest.raises(Conflict, match="Draft"):
        await release.release(alert.id, token("token-2", realm=realm), PREVIEW)
    assert (await release.reject(alert.id, token("token-2", realm=realm), "old")).state is AlertState.REJECTED


# ── rejection ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("who", ["token-1", "token-2"])
@in_one_loop
async def test_what_waits_is_rejected_with_a_reason_by_a_second_person_or_withdrawn_by_its_author(
    store: Store, release: Release, who: str
) -> None:
    alert = await kept(store)
    found = await release.reject(alert.id, token(who), "  the area\n is wrong ")
    assert (found.state, found.reason) == (AlertState.REJECTED, "the area is wrong")
    last = (await store.alert_events(alert.id))[-1]
    assert (last.state, last.who, last.why) == (AlertState.REJECTED, who, "the area is wrong")


@pytest.mark.parametrize(
    ("reason", "rule"),
    [("", "release.reason.absent"), (" \n", "release.reason.absent"), ("x" * 501, "release.reason.long")],
)
@in_one_loop
async def test_a_rejection_says_why(store: Store, release: Release, reason: str, rule: str) -> None:
    alert = await kept(store)
    with pytest.raises(InputRefused) as caught:
        await release.reject(alert.id, token("token-2"), reason)
    assert [problem.rule for problem in caught.value.problems] == [rule]
    assert (await store.alert(alert.id)).state is AlertState.AWAITING_RELEASE


@in_one_loop
async def test_another_department_may_not_reject(store: Store, release: Release) -> None:
    alert = await kept(store)
    with pytest.raises(NotAllowed, match="department"):
        await release.reject(alert.id, token("token-2", "geology"), "no")


@pytest.mark.parametrize(
    "state", [s for s in AlertState if s not in (AlertState.AWAITING_RELEASE, AlertState.RECEIVED)]
)
@in_one_loop
async def test_what_has_gone_out_or_ended_cannot_be_rejected(
    store: Store, release: Release, state: AlertState
) -> None:
    alert = await kept(store, state)
    with pytest.raises(Conflict, match=f"is {state} and can no longer"):
        await release.reject(alert.id, token("token-2"), "no")
    assert (await store.alert(alert.id)).state is state


@in_one_loop
async def test_of_many_releases_and_rejections_at_once_one_wins(store: Store, release: Release) -> None:
    for _ in range(5):
        alert = await kept(store)
        results = await asyncio.gather(
            *(
                release.release(alert.id, token(f"token-{n}"), PREVIEW)
                if n % 2
                else release.reject(alert.id, token(f"token-{n}"), f"reason {n}")
                for n in range(2, 22)
            ),
            return_exceptions=True,
        )
        won = [result for result in results if isinstance(result, AlertRecord)]
        assert len(won) == 1
        assert sum(isinstance(result, Conflict) for result in results) == 19
        events = [event for event in await store.alert_events(alert.id) if event.state is not alert.state]
        assert [event.state for event in events] == [won[0].state]
        kept_now = await store.alert(alert.id)
        assert (kept_now.state, kept_now.preview) == (
            won[0].state,
            PREVIEW if won[0].state is AlertState.RELEASED else None,
        )


@in_one_loop
async def test_what_does_not_exist_is_not_found(release: Release) -> None:
    with pytest.raises(NotFound):
        await release.release("nothing", token("token-2"), PREVIEW)


@in_one_loop
async def test_of_two_people_at_once_one_releases(store: Store, release: Release) -> None:
    alert = await kept(store)
    results = await asyncio.gather(
        *(release.release(alert.id, token(f"token-{n}"), PREVIEW) for n in range(2, 8)), return_exceptions=True
    )
    assert sum(isinstance(result, AlertRecord) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 5
    releases = [event for event in await store.alert_events(alert.id) if event.state is AlertState.RELEASED]
    assert len(releases) == 1
    assert isinstance(releases[0], AlertEvent)
