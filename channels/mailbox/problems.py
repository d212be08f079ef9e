"""Answers to devices that asked for something wrong: problem details (RFC 9457) that list every problem."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from broker.errors import Problem

MEDIA_TYPE: Final = "application/problem+json"
_TITLES: Final = {
    400: "The request cannot be read",
    401: "The token does not prove this device",
    403: "Not allowed",
    404: "No such page",
    405: "This page does not know that method",
    411: "The body's length must be told",
    413: "The body is too large",
    415: "The body must be JSON without content coding",
    417: "The expectation cannot be met",
    422: "The reports are refused; none of them was taken",
    503: "Not available now, try again",
}


def problem(status: int, problems: list[Problem] | None = None, **headers: str) -> web.Response:
    """An answer of `status` that lists `problems`; header names are written with underscores."""
    body: dict[str, object] = {"type": "about:blank", "title": _TITLES.get(status, "Refused"), "status": status}
    if problems:
        body["errors"] = [
            {"place": found.place, "rule": found.rule, "message": found.message} for found in problems
        ]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, body=json.dumps(body).encode(), content_type=MEDIA_TYPE, headers=named)


@web.middleware
async def as_problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Give the errors that the HTTP server raises by itself (404, 405, 413 …) the same form as our own."""
    try:
        return await handler(request)
    except web.HTTPError as error:
        allow = error.headers.get("Allow")
        return problem(error.status, None, **({"Allow": allow} if allow else {}))
