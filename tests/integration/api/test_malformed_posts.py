"""What a department may get wrong: refused with every problem, its place and its rule, and nothing is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from broker.cap import RULES
from broker.intake.tokens import Scope
from tests.integration.api.malformed import cases
from tests.integration.api.wrong import CAP, Case
from tests.support.broker import (
    MAX_BYTES,
    Answer,
    Api,
    alert_xml,
    chunks,
    expired_token,
    revoked_token,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASES = list(cases())


@pytest_asyncio.fixture(loop_scope="module")
async def api(shared_api: Api) -> AsyncIterator[Api]:
    """The shared one; whatever a test did, nothing may be kept."""
    yield shared_api
    await shared_api.assert_nothing_was_kept()
    assert shared_api.released == []


def assert_refused(answer: Answer, status: int, code: str) -> None:
    """A problem+json of RFC 9457."""
    assert answer.status == status, answer.body
    assert answer.media_type == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"/problems/{code}"
    assert problem["title"]
    assert problem["detail"]


CODES = {400: "malformed", 403: "not-allowed", 413: "too-large", 415: "media-type", 422: "invalid"}


async def test_there_are_more_than_a_hundred_different_ways() -> None:
    assert len(CASES) > 200
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({case.rule for case in CASES}) > 80


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_malformed_post_is_refused_with_the_rule_that_it_breaks(api: Api, case: Case) -> None:
    headers = {} if case.content_encoding is None else {"Content-Encoding": case.content_encoding}

    answer = await api.post(case.body(), case.content_type, department=case.department, headers=headers)

    assert_refused(answer, case.status, CODES[case.status])
    problems = answer.json()["problems"]
    assert case.rule in answer.rules, answer.json()
    for problem in problems:
        assert problem["place"] or problem["rule"].startswith("cap."), problem
        assert problem["message"]
        assert not problem["rule"].startswith("cap.") or problem["rule"] in RULES
    assert str(len(problems)) in answer.json()["detail"]


async def test_every_problem_is_listed_not_the_first_only(api: Api) -> None:
    text = alert_xml()
    for old, new in (
        ("Actual", "actual"),
        ("106.4 30.1,106.2 30.0,106.2", "106.4"),
        ("Immediate", "Now"),
        ("<identifier>", "<identifier>a b,"),
    ):
        assert old in text
        text = text.replace(old, new, 1)

    answer = await api.post(text)

    assert_refused(answer, 422, "invalid")
    wanted = {"cap.status.value", "cap.urgency.value", "cap.identifier.characters", "cap.polygon.points"}
    assert wanted <= answer.rules


async def test_what_is_not_allowed_and_what_is_not_understood_are_listed_together(api: Api) -> None:
    text = alert_xml(sender="cq-met@warning.example").replace("11B03", "11A51").replace("30.", "48.")

    answer = await api.post(text)

    assert_refused(answer, 422, "invalid")
    assert {"authority.sender", "authority.event", "intake.area.outside"} <= answer.rules


async def test_a_problem_says_in_which_element_and_line_it_is(api: Api) -> None:
    answer = await api.post(alert_xml().replace("Immediate", "Now"))

    [problem] = answer.json()["problems"]
    assert problem["place"] == "/alert/info[1]/urgency (line 14)"
    assert problem["value"] == "Now"
    assert "Immediate" in problem["message"]


async def test_a_missing_content_type_is_refused(api: Api) -> None:
    answer = await api.post(alert_xml(), content_type=None)

    assert_refused(answer, 415, "media-type")
    assert answer.rules == {"media-type"}


async def test_a_body_over_the_limit_without_a_length_is_refused(api: Api) -> None:
    answer = await api.post(chunks([b" " * 8192] * (MAX_BYTES // 8192 + 1)), CAP)

    assert_refused(answer, 413, "too-large")
    assert answer.rules == {"body.size"}


async def test_a_length_over_the_limit_is_refused_before_the_body_comes(api: Api) -> None:
    token = await api.token("met-hechuan")
    head = (
        "POST /v1/alerts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: {CAP}\r\nContent-Length: 99999999999\r\n\r\n"
    )

    answer = await api.raw(head.encode())

    assert_refused(answer, 413, "too-large")


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer fh_unknown",
        "Basic bWV0LWhlY2h1YW46eA==",
        "Token fh_unknown",
        "fh_unknown",
        "Bearer " + "x" * 4000,
        "Bearer a b c",
        "Bearer \u4e2d",
    ],
)
async def test_without_a_good_token_nothing_is_looked_at(api: Api, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    department = None

    answer = await api.post("not even XML", department=department, headers=headers)

    assert_refused(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "problems" not in answer.json()


async def test_a_token_of_bytes_that_are_no_text_is_unknown(api: Api) -> None:
    answer = await api.raw(
        b"POST /v1/alerts HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer fh_\xff\xfe\r\n"
        b"Content-Length: 0\r\n\r\n"
    )

    assert_refused(answer, 401, "unauthenticated")


async def test_expired_and_revoked_tokens_are_refused_alike(api: Api) -> None:
    given = (await expired_token(api), await revoked_token(api))
    answers = [await api.post(alert_xml(), headers={"Authorization": f"Bearer {token}"}) for token in given]

    for answer in answers:
        assert_refused(answer, 401, "unauthenticated")
    assert answers[0].body == answers[1].body


async def test_a_token_that_may_only_read_does_not_post(api: Api) -> None:
    token = await api.token("met-hechuan", scopes=(Scope.READ,))

    answer = await api.post(alert_xml(), headers={"Authorization": f"Bearer {token}"})

    assert_refused(answer, 403, "not-allowed")
    assert "alerts:post" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods_are_told_which_are_allowed(api: Api, method: str) -> None:
    answer = await api.call(method, "/v1/alerts")

    assert_refused(answer, 405, "method-not-allowed")
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(","))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/alerts/",
        "//v1/alerts",
        "/V1/ALERTS",
        "/v2/alerts",
        "/v1/alerts/..%2f..%2fetc%2fpasswd",
        "/v1/alerts/%00",
        "/v1/alerts/%ff%fe",
        "/v1/alerts/%ED%A0%80",
        "/v1/alerts/%F0%9F%94%A5",
        "/v1/alerts/' OR 1=1 --",
        "/v1/alerts/" + "a" * 3000,
        "/v1/alerts/x/cap",
        "/v1/alerts/x/CAP",
        "/v1/alerts/x/release/now",
        "/v1/alerts/%0d%0aSet-Cookie:%20a=b",
    ],
)
async def test_paths_that_lead_nowhere_say_so(api: Api, path: str) -> None:
    answer = await api.call("GET", path.replace(" ", "%20"))

    assert_refused(answer, 404, "not-found")
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=201",
        "limit=many",
        "limit=",
        "limit=1e2",
        "limit=1.0",
        "limit=%D9%A3",
        "limit=%00",
        "limit=0000000019999",
        "limit=000000001" + "9" * 5000,
        "cursor=yesterday",
        "cursor=",
        "cursor=%00",
        "cursor=%FF",
        "cursor=%ED%A0%80",
        "cursor=" + "0" * 4000,
        "curso=0198",
        "cursor=MS4wMDA",
        "state=sent",
        "state=released&state=gone",
        "status=actual",
        "level=red",
        "since=yesterday",
        "since=1766000000",
        "since=2026-11-24",
        "since=2026-11-24T08:00:00",
        "since=2026-11-24T08:00:00+08:00",
        "since=2026-13-24T08:00:00Z",
        "since=2026-11-24T08:00:00Z&since=2026-11-24T08:00:00Z",
        "limit=5&limit=6",
    ],
)
async def test_questions_that_cannot_be_answered_are_refused(api: Api, query: str) -> None:
    answer = await api.call("GET", f"/v1/alerts?{query}")

    assert_refused(answer, 400, "malformed")
    [problem] = answer.json()["problems"]
    assert problem["place"].startswith("query/")
    assert problem["rule"].startswith("query.")


HOST = b"Host: x\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /v1/alerts HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v1/alerts HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/alerts HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\n",
        b"POST /v1/alerts HTTP/1.1\r\n" + HOST + b"Content-Length: five\r\n\r\n",
        b"POST /v1/alerts HTTP/1.1\r\n" + HOST + b"Bad Header: x\r\n\r\n",
        b"POST /v1/alerts HTTP/1.1\r\n" + HOST + b"X: a\rSet-Cookie: b\r\n\r\n",
        b"POST /v1/alerts HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n",
        b"POST /v1/alerts HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /v1/alerts HTTP/9.9\r\n" + HOST + b"\r\n",
        b"POST /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST /v1/alerts HTTP/1.1\r\n" + HOST + b"Expect: tea\r\nContent-Length: 0\r\n\r\n",
        b"BREW /v1/alerts HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n",
    ],
    ids=lambda given: str(given[:60]),
)
async def test_what_is_not_http_gets_an_answer_of_400_at_most(api: Api, request_bytes: bytes) -> None:
    answer = await api.raw(request_bytes)

    assert 400 <= answer.status < 500, answer
    assert "Set-Cookie" not in answer.headers
    assert answer.media_type == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status
    assert problem["type"] == f"/problems/{problem['code']}"
    assert b"Traceback" not in answer.body


async def test_a_chunk_that_lies_about_its_length_is_refused(api: Api) -> None:
    token = await api.token("met-hechuan")
    head = (
        "POST /v1/alerts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: {CAP}\r\nTransfer-Encoding: chunked\r\n\r\n"
        "zz\r\n<alert/>\r\n0\r\n\r\n"
    )

    answer = await api.raw(head.encode())

    assert answer.status == 400


async def test_refusals_are_counted_by_reason(api: Api) -> None:
    text = (await api.call("GET", "/metrics")).body.decode()

    assert 'reason="invalid"' in text
    assert 'reason="too_large"' in text
    assert 'reason="media_type"' in text
    assert 'reason="unauthenticated"' in text
    assert 'reason="not_allowed"' in text
