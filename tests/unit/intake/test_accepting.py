"""What intake takes: every type, status and scope with the credential for it, and what each may refer to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import product

import pytest
import pytest_asyncio

from broker.cap.compose import compose, geocode_area, reference_to
from broker.cap.level import Level
from broker.cap.model import Alert, CapTime, MsgType, Reference, Scope, Severity, Status
from broker.cap.xml import to_xml
from broker.errors import Conflict, InputRefused
from broker.geo.events import EventCatalogue
from broker.intake import references, tokens
from broker.intake.accept import Intake
from broker.intake.authority import Authority
from broker.intake.departments import Departments
from broker.intake.expiry import Expiry, Rule
from broker.store.contract import Store
from broker.store.records import AlertRecord, TokenRecord
from broker.store.sql import open_store
from broker.types import AlertState, Realm
from tests.support.places import ROOT, districts, regions

XML = "application/cap+xml"
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
SENDER = "hechuan-met@warning.example"
HOUR_MS = 3_600_000
in_one_loop = pytest.mark.asyncio(loop_scope="module")
_numbers = iter(range(1, 100_000))


def authority() -> Authority:
    return Authority(regions(), districts(), EventCatalogue.load(ROOT / "config/events.yaml"))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def store() -> AsyncIterator[Store]:
    store = open_store("sqlite:///:memory:")
    await store.start()
    for each in (LIVE, DRILL, MACHINE, ELSEWHERE):
        await store.add_token(each)
    yield store
    await store.close()


@pytest.fixture
def intake(store: Store) -> Intake:
    return an_intake(store)


@lru_cache
def judges() -> tuple[Departments, Authority]:
    return Departments.load(ROOT / "config/departments.yaml"), authority()


def an_intake(store: Store) -> Intake:
    expiry = Expiry(warnings=(Rule(levels=("Red",), hours=6),), otherwise=12, messages=3)
    return Intake(store, *judges(), expiry=expiry)


LIVE = tokens.new("met-hechuan")[1]
DRILL = tokens.new("met-hechuan", realm=Realm.DRILL)[1]
MACHINE = tokens.new("met-hechuan", (tokens.Scope.POST, tokens.Scope.MACHINE))[1]
ELSEWHERE = tokens.new("met-wulong")[1]


def a_message(
    msg_type: MsgType = MsgType.ALERT, *named: Alert | Reference, infos: bool = True, **changes: object
) -> Alert:
    """A message of the Hechuan station, each with another identifier."""
    made = compose(
        f"a-{next(_numbers)}",
        SENDER,
        NOW,
        "11B03",
        "暴雨",
        Level.RED,
        "合川区气象台发布暴雨红色预警",
        "强降雨持续。",
        "立即转移。",
        areas=[geocode_area("合川", ["500117"])],
        expires=NOW + timedelta(hours=5),
        msg_type=msg_type,
        references=[reference_to(each) if isinstance(each, Alert) else each for each in named],
    )
    return replace(made, infos=made.infos if infos else (), **changes)  # type: ignore[arg-type]


def token_for(alert: Alert) -> TokenRecord:
    return DRILL if alert.status in (Status.EXERCISE, Status.TEST) else LIVE


async def taken(intake: Intake, alert: Alert, token: TokenRecord | None = None) -> AlertRecord:
    return await intake.accept(to_xml(alert), XML, token or token_for(alert))


async def refused(intake: Intake, alert: Alert, token: TokenRecord | None = None) -> set[str]:
    """The rules it breaks; the status is 403 exactly when they are all of authority."""
    with pytest.raises(InputRefused) as caught:
        await taken(intake, alert, token)
    rules = {problem.rule for problem in caught.value.problems}
    assert caught.value.status == (403 if all(rule.startswith("authority.") for rule in rules) else 422)
    return rules


# ── credentials ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("status", "realm"), [*product(Status, Realm)])
@in_one_loop
async def test_a_token_posts_what_its_realm_allows_and_nothing_else(
    intake: Intake, status: Status, realm: Realm
) -> None:
    allowed = {
        Realm.LIVE: {Status.ACTUAL, Status.SYSTEM, Status.DRAFT},
        Realm.DRILL: {Status.EXERCISE, Status.TEST, Status.DRAFT},
    }
    token = LIVE if realm is Realm.LIVE else DRILL
    alert = a_message(status=status)
    if status in allowed[realm]:
        record = await taken(intake, alert, token)
        assert (record.status, record.author) == (status, token.id)
    else:
        assert await refused(intake, alert, token) == {"authority.realm"}


@in_one_loop
async def test_the_bytes_of_a_live_alert_are_not_answered_to_a_drill_token(intake: Intake) -> None:
    alert = a_message()
    record = await taken(intake, alert)
    assert (await taken(intake, alert)).id == record.id
    assert await refused(intake, alert, DRILL) == {"authority.realm"}


# ── types, scopes and what they need ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "scope", "msg_type"), [*product(Status, (Scope.PUBLIC, Scope.RESTRICTED, Scope.PRIVATE), MsgType)]
)
@in_one_loop
async def test_every_status_scope_and_type_of_the_standard_is_taken(
    intake: Intake, store: Store, status: Status, scope: Scope, msg_type: MsgType
) -> None:
    extra = {Scope.RESTRICTED: {"restriction": "staff"}, Scope.PRIVATE: {"addresses": "a@b.example"}}.get(scope, {})
    alert = await taken(intake, first := a_message(status=status))
    named = () if msg_type is MsgType.ALERT else (first,)
    record = await taken(intake, a_message(msg_type, *named, status=status, scope=scope, **extra))
    kept = await store.alert(record.id)
    assert (kept.status, kept.scope, kept.msg_type) == (status, scope, msg_type)
    assert kept.state is AlertState.RECEIVED
    assert [each.target for each in await store.references(kept.id)] == [alert.id for _ in named]


@pytest.mark.parametrize("msg_type", [MsgType.CANCEL, MsgType.ACK, MsgType.ERROR])
@in_one_loop
async def test_what_answers_an_alert_needs_no_info_and_tells_what_it_is_about(
    intake: Intake, msg_type: MsgType
) -> None:
    first = await taken(intake, alert := a_message())
    record = await taken(intake, a_message(msg_type, alert, infos=False, note="误发"))
    assert (record.level, record.event, record.headline) == (first.level, first.event, first.headline)
    assert record.expires == first.expires, "late evidence of what it takes back may come until then"


@in_one_loop
async def test_a_cancel_that_says_something_itself_is_described_by_that(intake: Intake) -> None:
    alert = a_message()
    await taken(intake, alert)
    [info] = a_message().infos
    own = replace(info, headline="合川区气象台解除暴雨预警", severity=Severity.MINOR)
    record = await taken(intake, replace(a_message(MsgType.CANCEL, alert), infos=(own,)))
    assert (record.level, record.event, record.headline) == ("Blue", "11B03", "合川区气象台解除暴雨预警")


@in_one_loop
async def test_a_cancel_takes_the_highest_level_of_several(intake: Intake) -> None:
    alerts = [a_message(), a_message()]
    alerts[0] = replace(alerts[0], infos=(replace(alerts[0].infos[0], severity=Severity.MINOR),))
    for each in alerts:
        await taken(intake, each)
    record = await taken(intake, a_message(MsgType.CANCEL, *alerts, infos=False))
    assert record.level == "Red"


@in_one_loop
async def test_the_area_of_a_cancel_is_not_resolved(intake: Intake) -> None:
    alert = a_message()
    await taken(intake, alert)
    [info] = alert.infos
    odd = replace(info, areas=(geocode_area("武隆及无处", ["500156", "500199"]),))
    record = await taken(intake, replace(a_message(MsgType.CANCEL, alert), infos=(odd,)))
    assert record.msg_type == "Cancel"


# ── references ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("msg_type", [MsgType.UPDATE, MsgType.CANCEL])
@in_one_loop
async def test_a_message_that_comes_before_its_alert_is_taken_and_linked_when_the_alert_comes(
    intake: Intake, store: Store, msg_type: MsgType
) -> None:
    alert = a_message()
    later = await taken(intake, a_message(msg_type, alert, infos=msg_type is MsgType.UPDATE, note="误发"))
    assert [each.target for each in await store.references(later.id)] == [None]
    first = await taken(intake, alert)
    assert [each.target for each in await store.references(later.id)] == [first.id]
    assert [each.id for each in await store.referring(first.id)] == [later.id]


@pytest.mark.parametrize("msg_type", [MsgType.UPDATE, MsgType.CANCEL])
@in_one_loop
async def test_another_senders_message_is_not_to_be_replaced_or_taken_back(
    intake: Intake, msg_type: MsgType
) -> None:
    foreign = Reference("wulong-met@warning.example", "w-1", CapTime.of(NOW))
    assert await refused(intake, a_message(msg_type, foreign)) == {"authority.reference"}
    own = a_message()
    assert await refused(intake, a_message(msg_type, own, foreign)) == {"authority.reference"}


@pytest.mark.parametrize("msg_type", [MsgType.ACK, MsgType.ERROR])
@in_one_loop
async def test_anybody_may_be_answered(intake: Intake, msg_type: MsgType) -> None:
    foreign = Reference("wulong-met@warning.example", "w-1", CapTime.of(NOW))
    record = await taken(intake, a_message(msg_type, foreign, infos=False, note="收到"))
    assert record.headline == "收到"


@in_one_loop
async def test_what_another_department_posted_under_the_same_sender_is_not_to_be_taken_back(store: Store) -> None:
    """The senders of a department may change hands; what was posted before stays whose it was."""
    listed, judge = judges()
    shared = Departments(
        tuple(
            each.model_copy(update={"senders": (SENDER,), "regions": ("500117",)})
            for each in listed
            if each.id == "met-wulong"
        )
    )
    alert = a_message()
    await taken(Intake(store, shared, judge), alert, ELSEWHERE)
    assert await refused(an_intake(store), a_message(MsgType.CANCEL, alert)) == {"authority.reference"}


@pytest.mark.parametrize(("of", "about"), [*product([MsgType.UPDATE, MsgType.CANCEL], MsgType)])
@in_one_loop
async def test_only_a_warning_is_replaced_or_taken_back(intake: Intake, of: MsgType, about: MsgType) -> None:
    first = a_message()
    await taken(intake, first)
    second = first if about is MsgType.ALERT else a_message(about, first, note="x")
    await taken(intake, second)
    message = a_message(of, second)
    if about in (MsgType.ALERT, MsgType.UPDATE):
        assert (await taken(intake, message)).msg_type == of
    else:
        assert await refused(intake, message) == {"intake.references.kind"}


@pytest.mark.parametrize("about", [Status.ACTUAL, Status.EXERCISE, Status.TEST, Status.DRAFT])
@pytest.mark.parametrize("status", [Status.ACTUAL, Status.EXERCISE, Status.TEST, Status.DRAFT])
@pytest.mark.parametrize("msg_type", [each for each in MsgType if each is not MsgType.ALERT])
@in_one_loop
async def test_a_drill_and_the_real_thing_never_refer_to_each_other(
    intake: Intake, msg_type: MsgType, status: Status, about: Status
) -> None:
    first = a_message(status=about)
    await taken(intake, first)
    message = a_message(msg_type, first, status=status)
    if status is about:
        assert (await taken(intake, message)).status == status
    else:
        assert await refused(intake, message) == {"intake.references.status"}


@in_one_loop
async def test_several_references_are_kept_in_order_each_once(intake: Intake, store: Store) -> None:
    alerts = [a_message() for _ in range(3)]
    kept = [await taken(intake, each) for each in alerts]
    unknown = Reference(SENDER, "never-posted", CapTime.of(NOW - timedelta(days=400)))
    record = await taken(
        intake, a_message(MsgType.UPDATE, alerts[2], unknown, alerts[0], alerts[2], alerts[1], alerts[0])
    )
    found = [each.target for each in await store.references(record.id)]
    assert found == [kept[2].id, None, kept[0].id, kept[1].id]


@in_one_loop
async def test_one_bad_reference_among_good_ones_is_enough(intake: Intake) -> None:
    good, drill = a_message(), a_message(status=Status.EXERCISE)
    await taken(intake, good)
    await taken(intake, drill)
    assert await refused(intake, a_message(MsgType.CANCEL, good, drill)) == {"intake.references.status"}


@in_one_loop
async def test_more_references_than_a_chain_can_have_are_refused(intake: Intake) -> None:
    named = [Reference(SENDER, f"n-{n}", CapTime.of(NOW)) for n in range(references.MOST + 1)]
    assert await refused(intake, a_message(MsgType.UPDATE, *named)) == {"intake.references.many"}
    await taken(intake, a_message(MsgType.UPDATE, *named[:-1]))


@in_one_loop
async def test_a_reference_is_found_by_its_instant_however_its_time_is_written(
    intake: Intake, store: Store
) -> None:
    alert = a_message()
    first = await taken(intake, alert)
    written = CapTime.parse((NOW + timedelta(hours=8)).replace(tzinfo=None).isoformat() + "+08:00")
    record = await taken(intake, a_message(MsgType.CANCEL, Reference(SENDER, alert.identifier, written)))
    assert record.event == first.event
    assert [each.target for each in await store.references(record.id)] == [first.id]


@in_one_loop
async def test_an_alert_is_found_behind_more_than_a_page_of_others(store: Store, monkeypatch) -> None:
    monkeypatch.setattr(references, "_PAGE", 3)
    intake = an_intake(store)
    alert = a_message()
    first = await taken(intake, alert)
    for _ in range(10):
        await taken(intake, a_message())
    [named] = await references.resolve(a_message(MsgType.CANCEL, alert), store)
    assert named.target is not None
    assert named.target.id == first.id


@pytest.mark.parametrize(
    "time", ["0001-01-02T00:00:00+14:00", "1970-01-01T00:00:00+00:00", "9998-12-31T23:59:59-12:00"]
)
@in_one_loop
async def test_a_reference_to_the_ends_of_time_names_nothing_that_was_accepted(intake: Intake, time: str) -> None:
    far = Reference(SENDER, "far", CapTime.parse(time))
    record = await taken(intake, a_message(MsgType.CANCEL, far, infos=False))
    assert record.event == ""


# ── machines ──────────────────────────────────────────────────────────────────────────────────────────


@in_one_loop
async def test_a_machine_takes_back_what_a_machine_posted_and_never_what_a_person_did(intake: Intake) -> None:
    theirs, ours = a_message(), a_message()
    await taken(intake, theirs, MACHINE)
    await taken(intake, ours, LIVE)
    assert await refused(intake, a_message(MsgType.CANCEL, ours), MACHINE) == {"authority.machine"}
    assert await refused(intake, a_message(MsgType.CANCEL, theirs, ours), MACHINE) == {"authority.machine"}
    assert await refused(intake, a_message(MsgType.CANCEL, a_message()), MACHINE) == {"authority.machine"}
    assert (await taken(intake, a_message(MsgType.CANCEL, theirs), MACHINE)).author == MACHINE.id
    assert (await taken(intake, a_message(MsgType.CANCEL, theirs), LIVE)).author == LIVE.id


# ── ends and identities ───────────────────────────────────────────────────────────────────────────────


@in_one_loop
async def test_a_warning_without_an_end_gets_it_from_the_policy(intake: Intake) -> None:
    alert = a_message()
    [info] = alert.infos
    red = replace(info, expires=None)
    record = await taken(intake, replace(alert, infos=(red,)))
    assert record.expires == record.received + 6 * HOUR_MS
    onset = NOW + timedelta(hours=20)
    later = replace(red, onset=CapTime.of(onset), severity=Severity.MINOR)
    record = await taken(intake, replace(a_message(), infos=(later,)))
    assert record.expires == round(onset.timestamp() * 1000) + 12 * HOUR_MS


@in_one_loop
async def test_an_end_that_is_said_is_kept_and_the_latest_counts(intake: Intake) -> None:
    alert = a_message()
    assert (await taken(intake, alert)).expires == round((NOW + timedelta(hours=5)).timestamp() * 1000)
    [info] = a_message().infos
    blue = replace(info, severity=Severity.MINOR, expires=None)
    record = await taken(intake, replace(a_message(), infos=(info, blue)))
    assert record.expires == record.received + 12 * HOUR_MS


@in_one_loop
async def test_a_message_about_nothing_known_lives_as_the_policy_says(intake: Intake) -> None:
    record = await taken(intake, a_message(MsgType.CANCEL, a_message(), infos=False))
    assert record.expires == record.received + 3 * HOUR_MS
    assert (record.level, record.event, record.headline) == (None, "", "")


@in_one_loop
async def test_a_message_from_the_future_is_refused(intake: Intake) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=2)
    [info] = a_message().infos
    times = replace(info, effective=None, expires=CapTime.of(ahead + timedelta(hours=1)))
    alert = replace(a_message(), sent=CapTime.of(ahead), infos=(times,))
    assert await refused(intake, alert) == {"intake.sent.future"}


@in_one_loop
async def test_contradicting_signals_are_held(intake: Intake) -> None:
    [info] = a_message().infos
    assert await refused(intake, replace(a_message(), infos=(replace(info, headline="解除暴雨红色预警"),))) == {
        "intake.signals"
    }


@in_one_loop
async def test_of_many_posts_of_one_identity_at_once_one_is_kept(store: Store) -> None:
    intakes = [an_intake(store) for _ in range(4)]
    alert = a_message(MsgType.UPDATE, a_message())
    others = [replace(alert, note=f"note {n}") for n in range(3)]
    answers = await asyncio.gather(
        *(taken(each, variant) for each in intakes for variant in (alert, *others)), return_exceptions=True
    )
    kept = {answer.id for answer in answers if isinstance(answer, AlertRecord)}
    assert len(kept) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 12
    assert len(await store.references(kept.pop())) == 1
