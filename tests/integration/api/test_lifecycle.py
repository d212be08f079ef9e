"""Preview, release, rejection, Cancel and correction over HTTP, on real previews of a real registry."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from broker.cap import read
from broker.cap.model import Alert, MsgType
from broker.intake.tokens import Scope
from broker.store.records import AlertEvent
from broker.types import AlertState
from tests.support.broker import CAREFUL, Answer, Api, alert_xml, running_api
from tests.support.places import GROUPS, LANGUAGES, Person, pages

SENDER = f"{CAREFUL}@warning.example"
INSIDE = {"lon": 106.3, "lat": 30.05}
"""A place in the polygon of the tests' warning."""
SMALLER = "30.0,106.2 30.0,106.3 30.1,106.3 30.1,106.2 30.0,106.2"


@dataclass
class Desk:
    """A department at work: who writes and who releases."""

    api: Api
    author: str
    second: str

    async def post(self, identifier: str = "50011741600000_20260618093000", **how: Any) -> str:
        """The id of a warning that waits for the second person."""
        how = {"sender": SENDER} | how
        answer = await self.api.post(alert_xml(identifier, **how), headers=_bearer(self.author))
        assert answer.status == 202, answer.body
        return str(answer.json()["id"])

    async def get(self, path: str, **headers: str) -> Answer:
        sent = _bearer(self.author) | {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.api.call("GET", path, headers=sent)

    async def cap(self, location: str) -> Alert:
        """What is behind a Location, as a CAP message."""
        alert = read((await self.get(f"{location}/cap")).body, "xml").alert
        assert alert is not None
        return alert

    async def cancel(self, alert: str, reason: str = "issued in error", **headers: str) -> Answer:
        return await self.api.act(alert, "cancel", {"reason": reason}, self.author, **headers)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def enrol(api: Api, *people: Person) -> None:
    """Put people into the registry."""
    await api.store.add_names("language", LANGUAGES)
    await api.store.add_names("group", GROUPS)
    await api.store.put_pages(pages(people))


@pytest.fixture
async def desk(api: Api) -> Desk:
    await enrol(api, *(Person(number, **INSIDE) for number in range(1, 8)), Person(9, lon=108.0, lat=29.0))
    second = await api.token(CAREFUL, scopes=(Scope.RELEASE, Scope.READ))
    return Desk(api, await api.token(CAREFUL), second)


def problems(answer: Answer, status: int, code: str) -> list[str]:
    """The rules of a refusal."""
    body = answer.json()
    assert (answer.status, body["code"]) == (status, code), body
    return [item["rule"] for item in body.get("problems", [])]


async def test_a_preview_tells_who_would_read_what_and_can_be_read_again(desk: Desk) -> None:
    alert = await desk.post()

    made = await desk.api.act(alert, "preview", None, desk.author)

    assert made.status == 201
    shown = made.json()
    assert made.headers["Location"] == shown["url"] == f"/v1/alerts/{alert}/preview/{shown['preview']}"
    assert (shown["recipients"], shown["channels"], shown["msgType"]) == (7, {"sms": 7}, "Alert")
    assert [district["district"] for district in shown["districts"]] == ["500117"]
    assert any("暴雨" in str(each["content"]) for each in shown["renditions"])
    assert shown["valid_until"] > shown["made"]
    assert (await desk.get(shown["url"])).json() == shown


async def test_a_preview_of_one_alert_is_none_of_another(desk: Desk) -> None:
    first, other = await desk.post("one"), await desk.post("other")
    preview = await desk.api.preview(first, desk.second)

    assert (await desk.get(f"/v1/alerts/{other}/preview/{preview}")).status == 404
    assert (await desk.get(f"/v1/alerts/{first}/preview/{'0' * 64}")).status == 404
    assert (await desk.get(f"/v1/alerts/{first}/preview/latest")).status == 404
    refused = await desk.api.act(other, "release", {"preview": preview}, desk.second)
    assert problems(refused, 409, "preview-outdated") == ["release.preview.unknown"]


async def test_another_department_may_not_preview_release_reject_or_cancel(desk: Desk) -> None:
    alert = await desk.post()
    foreign = await desk.api.token(
        "met-wulong", scopes=tuple(Scope(s) for s in ("alerts:post", "alerts:read", "alerts:release"))
    )

    for action, body in (
        ("preview", None),
        ("release", {"preview": "0" * 64}),
        ("reject", {"reason": "x"}),
        ("cancel", {"reason": "x"}),
        ("correction", {"reason": "x", "areas": [{"areaDesc": "x", "geocodes": ["500117"]}]}),
    ):
        answer = await desk.api.act(alert, action, body, foreign)
        assert problems(answer, 403, "not-allowed") == []
    assert (await desk.api.store.alert(alert)).state is AlertState.AWAITING_RELEASE


async def test_a_release_names_the_preview_and_the_alert_remembers_it(desk: Desk) -> None:
    alert = await desk.post()
    preview = await desk.api.preview(alert, desk.second)

    answer = await desk.api.act(alert, "release", {"preview": preview}, desk.second)

    assert answer.status == 200
    assert answer.json()["state"] == "released"
    assert (await desk.get(f"/v1/alerts/{alert}")).json()["preview"] == preview
    assert len(desk.api.released) == 1


async def test_a_release_is_refused_with_the_difference_when_the_audience_has_changed(desk: Desk) -> None:
    alert = await desk.post()
    preview = await desk.api.preview(alert, desk.second)
    await enrol(desk.api, *(Person(number, **INSIDE) for number in range(1, 8)), Person(8, **INSIDE))

    refused = await desk.api.act(alert, "release", {"preview": preview}, desk.second)

    assert problems(refused, 409, "preview-outdated") == ["release.changed.audience"]
    [item] = refused.json()["problems"]
    assert item["place"] == "preview/sms"
    assert "1 recipients more" in item["message"]
    assert (await desk.api.store.alert(alert)).state is AlertState.AWAITING_RELEASE
    assert desk.api.released == []
    again = await desk.api.preview(alert, desk.second)
    assert again != preview
    assert (await desk.api.act(alert, "release", {"preview": again}, desk.second)).status == 200


async def test_of_many_releases_at_once_one_wins(desk: Desk) -> None:
    alert = await desk.post()
    preview = await desk.api.preview(alert, desk.second)
    others = [await desk.api.token(CAREFUL, scopes=(Scope.RELEASE,)) for _ in range(4)]

    answers = await asyncio.gather(
        *(desk.api.act(alert, "release", {"preview": preview}, token) for token in (desk.second, *others))
    )

    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status == 409} == {"conflict"}
    history = await desk.api.store.alert_events(alert)
    assert [event.state for event in history].count(AlertState.RELEASED) == 1
    assert len(desk.api.released) == 1


async def test_a_release_and_a_rejection_at_once_have_one_winner(desk: Desk) -> None:
    alert = await desk.post()
    preview = await desk.api.preview(alert, desk.second)

    released, rejected = await asyncio.gather(
        desk.api.act(alert, "release", {"preview": preview}, desk.second),
        desk.api.act(alert, "reject", {"reason": "wrong river"}, desk.author),
    )

    assert sorted((released.status, rejected.status)) == [200, 409]
    state = (await desk.api.store.alert(alert)).state
    assert state is (AlertState.RELEASED if released.status == 200 else AlertState.REJECTED)


async def test_a_rejected_alert_says_why_and_cannot_be_released(desk: Desk) -> None:
    alert = await desk.post()
    preview = await desk.api.preview(alert, desk.second)

    answer = await desk.api.act(alert, "reject", {"reason": "写错了河名"}, desk.second)

    assert (answer.status, answer.json()["state"]) == (200, "rejected")
    shown = (await desk.get(f"/v1/alerts/{alert}")).json()
    assert shown["reason"] == "写错了河名"
    assert shown["history"][-1]["why"] == "写错了河名"
    refused = await desk.api.act(alert, "release", {"preview": preview}, desk.second)
    assert problems(refused, 409, "conflict") == []


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ({}, "request.missing"),
        ({"preview": "x"}, "request.string_pattern_mismatch"),
        ({"preview": 7}, "request.string_type"),
        ({"preview": "0" * 64, "force": True}, "request.extra_forbidden"),
    ],
)
async def test_a_release_that_names_nothing_right_is_refused(desk: Desk, body: dict[str, Any], rule: str) -> None:
    alert = await desk.post()

    answer = await desk.api.act(alert, "release", body, desk.second)

    assert problems(answer, 422, "invalid") == [rule]


@pytest.mark.parametrize("reason", ["", " ", "a\nb", "\x07", "x" * 501, 7, None, ["x"]])
async def test_a_reason_is_one_line_that_says_something(desk: Desk, reason: object) -> None:
    alert = await desk.post()

    answer = await desk.api.act(alert, "reject", {"reason": reason}, desk.second)

    assert len(problems(answer, 422, "invalid")) == 1
    assert answer.json()["problems"][0]["place"] == "/reason"


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "json.syntax"),
        (b"{", "json.syntax"),
        (b"[]", "json.type"),
        (b"null", "json.type"),
        (b'{"reason": NaN}', "json.syntax"),
        (b'{"reason": "a", "reason": "b"}', "json.duplicate"),
        (b'{"reason": "\xff"}', "json.encoding"),
        (b'{"reason": "\\ud800"}', "json.character"),
        (b'{"reason": ' + b"9" * 5000 + b"}", "json.number"),
        (b'{"reason": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "json.depth"),
        (b'{"reason": ' + b'{"a":' * 990 + b"1" + b"}" * 991, None),
    ],
    ids=lambda given: str(given)[:40],
)
async def test_a_body_that_is_no_json_object_is_refused(desk: Desk, body: bytes, rule: str | None) -> None:
    alert = await desk.post()
    headers = _bearer(desk.second) | {"Content-Type": "application/json"}

    answer = await desk.api.call("POST", f"/v1/alerts/{alert}/reject", body=body, headers=headers)

    if rule is None:
        assert answer.status in (400, 422)
    else:
        assert problems(answer, 400, "malformed") == [rule]


# -- taking back ---------------------------------------------------------------------------------------------


async def test_a_cancel_is_composed_accepted_and_released_at_once(desk: Desk) -> None:
    alert = await desk.post()

    answer = await desk.cancel(alert, "雷达回波为试验信号")

    assert answer.status == 202
    cancel, original = await desk.cap(answer.headers["Location"]), await desk.cap(f"/v1/alerts/{alert}")
    assert cancel.msg_type is MsgType.CANCEL
    assert (cancel.sender, cancel.status, cancel.note) == (original.sender, original.status, "雷达回波为试验信号")
    assert cancel.references_text == f"{SENDER},{original.identifier},{original.sent.text}"
    kept = await desk.api.store.alert(answer.json()["id"])
    assert kept.state is AlertState.RELEASED
    shown = (await desk.get(f"/v1/alerts/{alert}/references")).json()
    assert [(each["id"], each["msgType"]) for each in shown["referred_by"]] == [(kept.id, "Cancel")]
    back = (await desk.get(f"/v1/alerts/{kept.id}")).json()["references"]
    assert [(each["identifier"], each["alert"]) for each in back] == [(original.identifier, alert)]


async def test_the_prepared_cancel_is_shown_and_not_sent_and_can_be_posted(desk: Desk) -> None:
    alert = await desk.post()

    prepared = await desk.get(f"/v1/alerts/{alert}/cancel")

    assert (prepared.status, prepared.media_type) == (200, "application/cap+xml")
    assert len(await desk.api.store.alerts()) == 1
    posted = await desk.api.post(prepared.body, headers=_bearer(desk.author))
    assert posted.status == 202
    assert (await desk.cap(posted.headers["Location"])).msg_type is MsgType.CANCEL


async def test_the_same_key_and_body_again_give_the_same_cancel(desk: Desk) -> None:
    alert = await desk.post()

    first = await desk.cancel(alert, Idempotency_Key="k-1")
    again = [await desk.cancel(alert, Idempotency_Key="k-1") for _ in range(3)]

    assert {answer.body for answer in again} == {first.body}
    assert {answer.headers["Location"] for answer in again} == {first.headers["Location"]}
    assert len(await desk.api.store.referring(alert)) == 1
    reused = await desk.cancel(alert, "another reason", Idempotency_Key="k-1")
    assert problems(reused, 422, "idempotency-key-reused") == []
    other = await desk.cancel(alert, Idempotency_Key="k-2")
    assert other.status == 202
    assert other.json()["id"] != first.json()["id"]


async def test_the_same_key_many_times_at_once_makes_one_cancel(desk: Desk) -> None:
    alert = await desk.post()

    answers = await asyncio.gather(*(desk.cancel(alert, Idempotency_Key="k") for _ in range(12)))

    assert {answer.status for answer in answers} == {202}
    assert len({answer.body for answer in answers}) == 1
    assert len(await desk.api.store.referring(alert)) == 1


async def test_a_key_holds_after_a_crash_between_deciding_and_sending(desk: Desk) -> None:
    # The decision alone is in the history, as a process leaves it that died before intake kept the message.
    alert = await desk.post()
    first = await desk.cancel(alert, Idempotency_Key="k")
    noted = next(event for event in await desk.api.store.alert_events(alert) if "asked for" in event.why)
    other = await desk.post("another")
    why = noted.why.replace(first.json()["identifier"], "decided-before")
    await desk.api.store.note_alert(AlertEvent(other, noted.at, noted.state, noted.who, why))

    answer = await desk.cancel(other, Idempotency_Key="k")

    assert answer.json()["identifier"] == "decided-before"
    assert (await desk.cancel(other, Idempotency_Key="k")).body == answer.body


@pytest.mark.parametrize("key", ["", "a b", "x" * 65, "schlüssel"])
async def test_a_key_that_is_none_is_refused(desk: Desk, key: str) -> None:
    alert = await desk.post()

    answer = await desk.cancel(alert, Idempotency_Key=key)

    assert problems(answer, 400, "malformed") == ["idempotency-key"]
    assert await desk.api.store.referring(alert) == []


async def test_what_warns_of_nothing_cannot_be_cancelled_or_corrected(desk: Desk) -> None:
    alert = await desk.post()
    cancel = (await desk.cancel(alert)).json()["id"]

    assert problems(await desk.cancel(cancel), 409, "conflict") == []
    assert (await desk.get(f"/v1/alerts/{cancel}/cancel")).status == 409
    assert (await desk.get(f"/v1/alerts/{cancel}/correction")).status == 409


async def test_a_correction_says_the_same_to_a_smaller_area(desk: Desk) -> None:
    alert = await desk.post()
    areas = [{"areaDesc": "合川区西部", "polygons": [SMALLER]}]

    answer = await desk.api.act(
        alert,
        "correction",
        {"areas": areas, "reason": "the east is not concerned"},
        desk.author,
        Idempotency_Key="c",
    )

    assert answer.status == 202, answer.body
    update, original = await desk.cap(answer.headers["Location"]), await desk.cap(f"/v1/alerts/{alert}")
    assert update.msg_type is MsgType.UPDATE
    assert update.note == "the east is not concerned"
    [info], [before] = update.infos, original.infos
    assert [area.polygons[0].text for area in info.areas] == [SMALLER]
    assert (info.headline, info.description, info.instruction) == (
        before.headline,
        before.description,
        before.instruction,
    )
    again = await desk.api.act(
        alert,
        "correction",
        {"areas": areas, "reason": "the east is not concerned"},
        desk.author,
        Idempotency_Key="c",
    )
    assert again.body == answer.body


@pytest.mark.parametrize(
    ("areas", "rule"),
    [
        ([], "request.too_short"),
        ([{"areaDesc": "x", "polygons": ["north"]}], "request.string_pattern_mismatch"),
        ([{"areaDesc": "x", "geocodes": ["chongqing"]}], "request.string_pattern_mismatch"),
        ([{"areaDesc": "x", "polygons": ["30,106 30,107 31,107"]}], "cap.polygon.points"),
        ([{"areaDesc": "x"}], "cap.area.unlocated"),
        ([{"areaDesc": "x", "geocodes": ["990000"]}], "intake.geocode.unknown"),
        ([{"areaDesc": "x", "geocodes": ["500117"], "segment": 2}], "correction.areas"),
        (
            [{"areaDesc": "x", "geocodes": ["500117"], "segment": 1}, {"areaDesc": "y", "geocodes": ["500117"]}],
            "correction.segment",
        ),
    ],
)
async def test_a_correction_with_areas_that_do_not_do_is_refused(
    desk: Desk, areas: list[dict[str, Any]], rule: str
) -> None:
    alert = await desk.post()

    answer = await desk.api.act(alert, "correction", {"areas": areas, "reason": "smaller"}, desk.author)

    assert rule in problems(answer, 422, "invalid")
    assert await desk.api.store.referring(alert) == []


# -- who has it already --------------------------------------------------------------------------------------


async def test_what_has_not_changed_is_not_sent_again(desk: Desk) -> None:
    alert = await desk.post()
    preview = await desk.api.preview(alert, desk.second)
    paths = [
        "/v1/alerts",
        *(f"/v1/alerts/{alert}{rest}" for rest in ("", "/cap", "/history", "/references", f"/preview/{preview}")),
    ]

    for path in paths:
        first = await desk.get(path)
        etag = first.headers["ETag"]
        assert etag.startswith('"' if path.endswith("/cap") else 'W/"')
        same = await desk.get(path, If_None_Match=f'"other", {etag}')
        assert (same.status, same.body, same.headers["ETag"]) == (304, b"", etag)
    states = [await desk.get(path) for path in paths]
    await desk.api.act(alert, "reject", {"reason": "no"}, desk.second)
    after = [await desk.get(path) for path in paths]
    changed = [
        path
        for path, old, new in zip(paths, states, after, strict=True)
        if old.headers["ETag"] != new.headers["ETag"]
    ]
    assert changed == ["/v1/alerts", f"/v1/alerts/{alert}", f"/v1/alerts/{alert}/history"]


async def test_two_processes_give_one_key_one_cancel(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    alert = await desk.post()
    url = f"sqlite:///{desk.api.folder / 'store.db'}"
    async with running_api(tmp_path_factory.mktemp("other"), url=url) as other:
        apis = (desk.api, other) * 4

        answers = await asyncio.gather(
            *(api.act(alert, "cancel", {"reason": "r"}, desk.author, Idempotency_Key="k") for api in apis)
        )

    assert {answer.status for answer in answers} == {202}, [answer.body for answer in answers]
    assert len({answer.body for answer in answers}) == 1
    assert len(await desk.api.store.referring(alert)) == 1
