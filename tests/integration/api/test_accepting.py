"""A right post: accepted once, kept as it came, told again in the same words, and shown to its department only."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import sqlite3
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from broker.intake.tokens import Scope
from broker.types import AlertState
from tests.support.broker import CAREFUL, Answer, Api, alert_xml, as_json, chunks, running_api


def accepted(answer: Answer) -> str:
    """The alert's id."""
    assert answer.status == 202, answer.body
    body = answer.json()
    assert answer.headers["Location"] == body["url"] == f"/v1/alerts/{body['id']}"
    return str(body["id"])


async def test_an_accepted_alert_is_in_the_store_with_the_bytes_that_came(api: Api) -> None:
    text = alert_xml()

    alert = accepted(await api.post(text))

    kept = await api.store.alert(alert)
    assert kept.body == text.encode()
    assert kept.state is AlertState.RELEASED
    assert (kept.department, kept.level, kept.event) == ("met-hechuan", "Red", "11B03")
    assert kept.sender == "hechuan-met@warning.example"
    assert kept.headline == "合川区气象台发布暴雨预警"
    assert [event.state for event in await api.store.alert_events(alert)] == [
        AlertState.RECEIVED,
        AlertState.RELEASED,
    ]
    assert len(api.released) == 1


@pytest.mark.parametrize(
    "content_type",
    ["application/cap+xml", "application/xml", "Application/CAP+XML; charset=utf-8", "application/xml ; a=b"],
)
async def test_every_way_to_say_xml_is_understood(api: Api, content_type: str) -> None:
    alert = accepted(await api.post(alert_xml(), content_type))

    answer = await api.call("GET", f"/v1/alerts/{alert}/cap")
    assert answer.headers["Content-Type"] == content_type


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
async def test_the_original_is_given_back_byte_for_byte_in_its_own_encoding(api: Api, encoding: str) -> None:
    text = alert_xml().replace(' encoding="UTF-8"', ' encoding="GB18030"' if encoding == "gb18030" else "")
    body = (text.replace("\n", "\r\n") + " ").encode(encoding)

    alert = accepted(await api.post(body))

    answer = await api.call("GET", f"/v1/alerts/{alert}/cap")
    assert answer.status == 200
    assert answer.body == body


async def test_the_json_form_is_accepted_and_given_back_as_json(api: Api) -> None:
    content = as_json(alert_xml())

    alert = accepted(await api.post(content))

    answer = await api.call("GET", f"/v1/alerts/{alert}/cap")
    assert answer.media_type == "application/json"
    assert answer.json() == content
    assert (await api.store.alert(alert)).level == "Red"


async def test_a_post_in_chunks_and_one_in_gzip_are_read(api: Api) -> None:
    body = alert_xml("in-chunks").encode()
    accepted(await api.post(chunks(body[at : at + 100] for at in range(0, len(body), 100))))
    packed = gzip.compress(alert_xml("in-gzip").encode())

    alert = accepted(await api.post(packed, headers={"Content-Encoding": "gzip"}))

    assert (await api.store.alert(alert)).body == alert_xml("in-gzip").encode()


async def test_the_same_bytes_again_get_the_same_answer_and_change_nothing(api: Api) -> None:
    text = alert_xml()
    first = await api.post(text)
    second = await api.post(text)

    assert second.status == first.status == 202
    assert second.body == first.body
    assert second.headers["Location"] == first.headers["Location"]
    assert len(await api.store.alerts()) == 1
    assert len(await api.store.alert_events(accepted(first))) == 2


async def test_the_same_bytes_again_after_they_expired_still_get_the_same_answer(api: Api) -> None:
    text = alert_xml(sent=datetime.now(UTC) - timedelta(seconds=2), lasts=timedelta(seconds=6))
    first = await api.post(text)
    assert first.status == 202, first.body
    alert = await api.store.alert(accepted(first))
    await asyncio.sleep(max(0.0, alert.expires / 1000 - datetime.now(UTC).timestamp()) + 0.1)

    second = await api.post(text)
    other = await api.post(text + "\n")

    assert (second.status, second.body) == (202, first.body)
    assert other.status == 422
    assert "cap.expires.past" in other.rules


async def test_the_same_identity_with_other_bytes_is_a_conflict(api: Api) -> None:
    text = alert_xml()
    alert = accepted(await api.post(text))

    answer = await api.post(text.replace("强降雨", "暴雨"))

    assert answer.status == 409
    assert answer.media_type == "application/problem+json"
    assert answer.json()["code"] == "conflict"
    assert (await api.store.alert(alert)).body == text.encode()
    assert len(await api.store.alerts()) == 1


async def test_the_json_form_of_an_alert_that_came_as_xml_is_a_conflict(api: Api) -> None:
    text = alert_xml()
    accepted(await api.post(text))

    assert (await api.post(as_json(text))).status == 409


async def test_the_same_identifier_sent_later_is_another_alert(api: Api) -> None:
    sent = datetime.now(UTC) - timedelta(minutes=5)
    first = accepted(await api.post(alert_xml(sent=sent)))
    second = accepted(await api.post(alert_xml(sent=sent + timedelta(seconds=1))))

    assert first != second


async def test_the_same_time_in_another_zone_is_the_same_identity(api: Api) -> None:
    sent = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
    text = alert_xml(sent=sent)
    accepted(await api.post(text))
    in_utc = text.replace(f"<sent>{text.partition('<sent>')[2][:25]}", f"<sent>{sent.isoformat()}")
    assert in_utc != text

    assert (await api.post(in_utc)).status == 409


async def test_identical_posts_at_the_same_time_become_one_alert(api: Api) -> None:
    text = alert_xml()

    answers = await asyncio.gather(*(api.post(text) for _ in range(12)))

    assert {accepted(answer) for answer in answers} == {accepted(answers[0])}
    assert len({answer.body for answer in answers}) == 1
    assert len(await api.store.alerts()) == 1
    assert len(await api.store.alert_events(accepted(answers[0]))) == 2


async def test_rival_posts_of_one_identity_leave_one_winner(api: Api) -> None:
    texts = [alert_xml().replace("强降雨", f"第{number}次降雨") for number in range(8)]

    answers = await asyncio.gather(*(api.post(text) for text in texts))

    assert sorted(answer.status for answer in answers) == [202] + [409] * 7
    [kept] = await api.store.alerts()
    winner = next(text for text, answer in zip(texts, answers, strict=True) if answer.status == 202)
    assert (await api.store.alert(kept.id)).body == winner.encode()


async def test_another_department_cannot_see_an_alert(api: Api) -> None:
    alert = accepted(await api.post(alert_xml()))

    for path in (f"/v1/alerts/{alert}", f"/v1/alerts/{alert}/cap"):
        answer = await api.call("GET", path, department="met-wulong")
        assert answer.status == 403
        assert answer.json()["code"] == "not-allowed"
        assert "合川" not in answer.body.decode()
    listed = await api.call("GET", "/v1/alerts", department="met-wulong")
    assert listed.json()["alerts"] == []


async def test_bytes_of_another_department_do_not_give_its_alert_away(api: Api) -> None:
    text = alert_xml()
    accepted(await api.post(text))

    answer = await api.post(text, department="met-wulong")

    assert answer.status == 403
    assert "authority.sender" in answer.rules


async def test_reading_needs_the_scope_to_read(api: Api) -> None:
    alert = accepted(await api.post(alert_xml()))
    token = await api.token("met-hechuan", scopes=(Scope.POST,))
    headers = {"Authorization": f"Bearer {token}"}

    for path in ("/v1/alerts", f"/v1/alerts/{alert}", f"/v1/alerts/{alert}/cap"):
        assert (await api.call("GET", path, headers=headers)).status == 403
        assert (await api.call("GET", path, department=None)).status == 401


async def test_state_history_and_counts_are_shown(api: Api) -> None:
    alert = accepted(await api.post(alert_xml()))

    shown = (await api.call("GET", f"/v1/alerts/{alert}")).json()

    assert shown["id"] == alert
    assert (shown["status"], shown["msgType"], shown["level"], shown["event"]) == (
        "Actual",
        "Alert",
        "Red",
        "11B03",
    )
    assert shown["state"] == "released"
    assert [step["state"] for step in shown["history"]] == ["received", "released"]
    assert all(step["at"].endswith("+00:00") for step in shown["history"])
    assert shown["released"] >= shown["received"]
    assert shown["channels"] == {}
    assert shown["reason"] is None


async def test_an_alert_that_does_not_exist_is_not_found(api: Api) -> None:
    answer = await api.call("GET", "/v1/alerts/" + "0" * 21)

    assert answer.status == 404
    assert answer.json()["code"] == "not-found"


async def test_a_list_is_read_page_by_page_newest_first(api: Api) -> None:
    posted = [accepted(await api.post(alert_xml(f"number-{number}"))) for number in range(5)]
    other = alert_xml("of-wulong", sender="wulong-met@warning.example")
    ring = "29.3,107.6 29.3,107.8 29.4,107.8 29.4,107.6 29.3,107.6"
    other = other.replace("30.0,106.2 30.0,106.4 30.1,106.4 30.1,106.2 30.0,106.2", ring)
    accepted(await api.post(other, department="met-wulong"))

    found: list[str] = []
    cursor, pages = "", 0
    while cursor is not None and pages < 10:
        page = (await api.call("GET", f"/v1/alerts?limit=2{cursor and f'&cursor={cursor}'}")).json()
        found += [alert["id"] for alert in page["alerts"]]
        cursor, pages = page["next"], pages + 1

    assert set(found) == set(posted)
    assert found == sorted(posted, reverse=True)
    assert all(later > earlier for later, earlier in pairwise(found))


async def test_a_careful_departments_alert_waits_for_a_second_person(api: Api) -> None:
    alert = accepted(await api.post(alert_xml(sender=f"{CAREFUL}@warning.example"), department=CAREFUL))
    assert (await api.store.alert(alert)).state is AlertState.AWAITING_RELEASE
    assert api.released == []

    may_not = await api.token(CAREFUL)
    foreign = await api.token("met-wulong", scopes=(Scope.RELEASE,))
    second = await api.token(CAREFUL, scopes=(Scope.RELEASE, Scope.READ))
    preview = await api.preview(alert, second)

    async def release(token: str) -> Answer:
        return await api.act(alert, "release", {"preview": preview}, token)

    assert (await release(may_not)).status == 403
    assert (await release(foreign)).status == 403
    assert (await api.call("POST", f"/v1/alerts/{alert}/release", department=None)).status == 401
    assert (await api.store.alert(alert)).state is AlertState.AWAITING_RELEASE

    answer = await release(second)
    assert answer.status == 200
    assert answer.json()["state"] == "released"
    assert len(api.released) == 1
    assert (await release(second)).status == 409
    history = (await api.call("GET", f"/v1/alerts/{alert}", department=CAREFUL)).json()["history"]
    assert [step["state"] for step in history] == ["received", "awaiting_release", "released"]


async def test_the_author_may_not_be_the_second_person(api: Api) -> None:
    both = await api.token(CAREFUL, scopes=(Scope.POST, Scope.RELEASE))
    headers = {"Authorization": f"Bearer {both}"}
    alert = accepted(await api.post(alert_xml(sender=f"{CAREFUL}@warning.example"), headers=headers))

    answer = await api.act(alert, "release", {"preview": "0" * 64}, both)

    assert answer.status == 403
    assert "second person" in answer.json()["detail"]
    assert (await api.store.alert(alert)).state is AlertState.AWAITING_RELEASE


async def test_an_alert_that_expired_while_it_waited_is_not_released(api: Api) -> None:
    text = alert_xml(
        sender=f"{CAREFUL}@warning.example",
        sent=datetime.now(UTC) - timedelta(seconds=2),
        lasts=timedelta(seconds=5),
    )
    alert = accepted(await api.post(text, department=CAREFUL))
    expires = (await api.store.alert(alert)).expires
    await asyncio.sleep(max(0.0, expires / 1000 - datetime.now(UTC).timestamp()) + 0.1)
    second = await api.token(CAREFUL, scopes=(Scope.RELEASE,))

    answer = await api.act(alert, "release", {"preview": "0" * 64}, second)

    assert answer.status == 409
    assert (await api.store.alert(alert)).state is not AlertState.RELEASED


async def test_a_level_that_asks_for_nobody_goes_out_at_once(api: Api) -> None:
    text = alert_xml(sender=f"{CAREFUL}@warning.example", severity="Minor")
    alert = accepted(await api.post(text, department=CAREFUL))

    assert (await api.store.alert(alert)).state is AlertState.RELEASED


async def test_a_level_of_which_nothing_is_said_waits_for_a_second_person(api: Api) -> None:
    text = alert_xml(sender=f"{CAREFUL}@warning.example", severity="Moderate")
    alert = accepted(await api.post(text, department=CAREFUL))

    assert (await api.store.alert(alert)).state is AlertState.AWAITING_RELEASE


async def test_health_readiness_and_metrics_need_no_token(api: Api) -> None:
    accepted(await api.post(alert_xml()))

    healthy = await api.call("GET", "/-/healthy", department=None)
    ready = await api.call("GET", "/-/ready", department=None)
    metrics = await api.call("GET", "/metrics", department=None)

    assert (healthy.status, ready.status, metrics.status) == (200, 200, 200)
    assert ready.json() == {"status": "ready", "wrong": []}
    assert 'level="Red"' in metrics.body.decode()
    assert metrics.media_type == "text/plain"


async def test_readiness_fails_and_posts_are_put_off_while_the_store_takes_no_writes(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        headers = {"Authorization": f"Bearer {await api.token('met-hechuan')}"}
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as rival:
            rival.execute("BEGIN IMMEDIATE")

            ready, post, healthy = await asyncio.gather(
                api.call("GET", "/-/ready", department=None),
                api.post(alert_xml(), headers=headers),
                api.call("GET", "/-/healthy", department=None),
            )

            assert ready.status == 503
            assert ready.json()["wrong"][0].startswith("store: ")
            assert post.status == 503
            assert post.json()["code"] == "unavailable"
            assert int(post.headers["Retry-After"]) > 0
            assert healthy.status == 200
            rival.execute("ROLLBACK")
        assert await api.store.alerts() == []
        assert (await api.post(alert_xml(), headers=headers)).status == 202


async def test_a_department_whose_line_breaks_in_mid_post_is_refused_not_a_fault(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    token, body = await api.token("met-hechuan"), alert_xml().encode()
    head = (
        f"POST /v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/cap+xml\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
    writer.write(head.encode() + body[:300])
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.transport.abort()

    async with asyncio.timeout(30):
        while b'refused_total{reason="invalid"} 1.0' not in (await api.call("GET", "/metrics")).body:
            await asyncio.sleep(0.05)
    said = capsys.readouterr()
    assert "request_failed" not in said.out + said.err
    assert await api.store.alerts() == []
    assert (await api.post(body)).status == 202
