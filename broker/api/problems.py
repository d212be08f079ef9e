"""Errors as problem+json (RFC 9457): a stable `code`, a sentence, and every problem with its place and rule."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from broker import logs
from broker.errors import (
    Conflict,
    InputRefused,
    NotAllowed,
    NotFound,
    Problem,
    StoreError,
    TransportError,
)
from broker.intake.tokens import Unauthenticated

_DOCS = "https://fenghuo.example/problems#"
_CODES = {400: "malformed", 403: "not-allowed", 408: "too-slow", 413: "too-large", 415: "media-type"}
_log = logs.get(role="api")


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    problems: Sequence[Problem] = (),
    headers: dict[str, str] | None = None,
) -> web.Response:
    """A problem+json answer."""
    body: dict[str, object] = {
        "type": _DOCS + code,
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if problems:
        body["problems"] = [
            {"place": item.place, "rule": item.rule, "message": item.message, "value": item.value}
            for item in problems
        ]
    text = json.dumps(body, ensure_ascii=False)
    return web.Response(
        status=status,
        body=text.encode("utf-8", "replace"),
        content_type="application/problem+json",
        headers=headers,
    )


def from_error(error: Exception) -> web.Response | None:
    """The answer for an error of ours; None for one that we do not know."""
    match error:
        case InputRefused():
            status = error.status
            code = _CODES.get(status, "invalid")
            n = len(error.problems)
            detail = str(error) if n == 0 else f"{n} problem{'s' if n > 1 else ''} found; nothing was accepted"
            return problem(status, code, "The input is refused", detail, problems=error.problems)
        case Unauthenticated():
            headers = {"WWW-Authenticate": 'Bearer realm="fenghuo"'}
            return problem(401, "unauthenticated", "A valid token is needed", str(error), headers=headers)
        case NotAllowed():
            return problem(403, "not-allowed", "Not allowed", str(error))
        case NotFound():
            return problem(404, "not-found", "Not found", str(error))
        case Conflict():
            return problem(409, "conflict", "The present state does not allow this", str(error))
        case StoreError() | TransportError():
            headers = {"Retry-After": "2"}
            return problem(503, "unavailable", "Not available now, try again", str(error), headers=headers)
    return None


@web.middleware
async def middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn every error into problem+json; what we did not foresee gets a reference that is in the log."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        title = error.reason or "Error"
        code = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}.get(error.status, "http-error")
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return problem(error.status, code, title, title, headers=headers)
    except Exception as error:  # noqa: BLE001 - the last fence: a caller gets an answer whatever happens
        answer = from_error(error)
        if answer is not None:
            return answer
        reference = secrets.token_hex(4)
        _log.exception("request_failed", reference=reference, path=request.path)
        return problem(500, "internal", "A fault of ours", f"It is in the log under reference {reference}")
