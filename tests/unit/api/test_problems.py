"""Errors as problem+json: each kind has its status and its stable code, and a fault of ours tells no secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from broker.api.problems import from_error, middleware, problem
from broker.errors import (
    ClaimLost,
    ConfigError,
    Conflict,
    InputRefused,
    NotAllowed,
    NotFound,
    Problem,
    StoreError,
    TransportError,
)
from broker.intake.tokens import Unauthenticated

ONE = [Problem("/alert", "cap.x", "it is wrong", "value")]


def body_of(answer: web.StreamResponse) -> dict[str, Any]:
    assert isinstance(answer, web.Response)
    assert isinstance(answer.body, bytes)
    assert answer.content_type == "application/problem+json"
    content: dict[str, Any] = json.loads(answer.body)
    return content


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InputRefused(ONE), 422, "invalid"),
        (InputRefused(ONE, status=400), 400, "malformed"),
        (InputRefused(ONE, status=403), 403, "not-allowed"),
        (InputRefused(ONE, status=413), 413, "too-large"),
        (InputRefused(ONE, status=415), 415, "media-type"),
        (Unauthenticated(), 401, "unauthenticated"),
        (NotAllowed(), 403, "not-allowed"),
        (NotFound(), 404, "not-found"),
        (Conflict(), 409, "conflict"),
        (StoreError(), 503, "unavailable"),
        (ClaimLost(), 503, "unavailable"),
        (TransportError(), 503, "unavailable"),
    ],
)
def test_every_error_of_ours_has_a_status_and_a_code(error: Exception, status: int, code: str) -> None:
    answer = from_error(error)

    assert answer is not None
    assert answer.status == status
    body = body_of(answer)
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"/problems/{code}"
    assert body["title"]
    assert body["detail"]
    assert ("problems" in body) == isinstance(error, InputRefused)


def test_problems_are_listed_and_counted() -> None:
    answer = from_error(InputRefused([*ONE, Problem("body", "cap.y", "wrong too")]))

    assert answer is not None
    body = body_of(answer)
    assert body["detail"].startswith("2 problems found")
    assert body["problems"] == [
        {"place": "/alert", "rule": "cap.x", "message": "it is wrong", "value": "value"},
        {"place": "body", "rule": "cap.y", "message": "wrong too", "value": None},
    ]


def test_what_cannot_be_written_as_utf_8_is_told_all_the_same() -> None:
    body = body_of(problem(422, "invalid", "d", problems=[Problem("\ud800", "r", "m", "\udcff")]))

    assert body["problems"][0]["value"] == "?"


@pytest.mark.parametrize("error", [ConfigError(ONE), ValueError("x"), KeyError("x")])
def test_other_errors_have_no_answer_of_their_own(error: Exception) -> None:
    assert from_error(error) is None


async def test_a_fault_of_ours_is_told_by_a_reference_only(capsys: pytest.CaptureFixture[str]) -> None:
    async def fails(_request: web.Request) -> web.StreamResponse:
        raise RuntimeError("secret 8613800000000")

    answer = await middleware(make_mocked_request("GET", "/v1/alerts"), fails)

    body = body_of(answer)
    assert (answer.status, body["code"]) == (500, "internal")
    reference = body["detail"].rpartition(" ")[2]
    assert "secret" not in json.dumps(body)
    said = capsys.readouterr()
    assert reference in said.out + said.err


async def test_a_redirect_passes_and_an_http_error_becomes_a_problem() -> None:
    async def moves(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPSeeOther("/sign-in")

    async def wrong_method(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed("PUT", ["GET", "POST"])

    async def teapot(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPUnprocessableEntity

    with pytest.raises(web.HTTPSeeOther):
        await middleware(make_mocked_request("GET", "/"), moves)
    answer = await middleware(make_mocked_request("PUT", "/"), wrong_method)
    assert answer.headers["Allow"] == "GET,POST"
    assert body_of(answer)["code"] == "method-not-allowed"
    assert body_of(await middleware(make_mocked_request("GET", "/"), teapot))["code"] == "http-error"
