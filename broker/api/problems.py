"""Errors as problem+json (RFC 9457): a stable `code`, a sentence, and every problem with its place and rule."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from aiohttp import web

from broker import logs
from broker.api.codes import CODES
from broker.errors import (
    Conflict,
    FenghuoError,
    InputRefused,
    NotAllowed,
    NotFound,
    Problem,
    StoreError,
    TransportError,
)
from broker.intake.tokens import Unauthenticated

MEDIA_TYPE: Final = "application/problem+json"
REALM: Final = 'Bearer realm="fenghuo"'
_REFUSED: Final = {400: "malformed", 403: "not-allowed", 408: "too-slow", 413: "too-large", 415: "media-type"}
_HTTP: Final = {
    400: "malformed",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    417: "expectation-failed",
    431: "headers-too-large",
}
_PREVIEW_RULES: Final = ("release.preview", "release.changed")
_RETRY: Final = {"Retry-After": "2"}
_log = logs.get(role="api")


class MissingScope(NotAllowed):
    """The token is valid but has none of the scopes that allow the call."""

    def __init__(self, scopes: Sequence[str]) -> None:
        self.scopes = " ".join(scopes)
        super().__init__(f"this token lacks the scope {' or '.join(scopes)}")


class KeyReused(FenghuoError):
    """The Idempotency-Key came with another request before."""


class Busy(FenghuoError):
    """Too many bodies are on their way at once; none of this one was kept."""


class RateLimited(FenghuoError):
    """The department has used up its share of requests."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        super().__init__(f"the department has used up its share; try again in {seconds} s")


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    title: str | None = None,
    problems: Sequence[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A problem+json answer; the title is that of the catalogue unless another is given."""
    body: dict[str, object] = {
        "type": CODES[code].type,
        "title": title or CODES[code].title.en,
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
        status=status, body=text.encode("utf-8", "replace"), content_type=MEDIA_TYPE, headers=headers
    )


def from_error(error: Exception) -> web.Response | None:
    """The answer for an error of ours; None for one that we do not know."""
    match error:
        case InputRefused():
            return _refused(error)
        case Unauthenticated():
            return problem(401, "unauthenticated", str(error), headers={"WWW-Authenticate": REALM})
        case MissingScope():
            # RFC 6750, 3.1: what the token would need.
            challenge = {"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{error.scopes}"'}
            return problem(403, "not-allowed", str(error), headers=challenge)
        case NotAllowed():
            return problem(403, "not-allowed", str(error))
        case NotFound():
            return problem(404, "not-found", str(error))
        case Conflict():
            return problem(409, "conflict", str(error), problems=problems_of(error))
        case KeyReused():
            return problem(422, "idempotency-key-reused", str(error))
        case RateLimited():
            return problem(429, "rate-limited", str(error), headers={"Retry-After": str(error.seconds)})
        case StoreError() | TransportError() | Busy():
            return problem(503, "unavailable", str(error), headers=_RETRY)
    return None


def problems_of(error: Exception) -> list[Problem]:
    """The problems that an error lists, if it lists any."""
    listed = getattr(error, "problems", ())
    return [item for item in listed if isinstance(item, Problem)]


def _refused(error: InputRefused) -> web.Response:
    n = len(error.problems)
    if error.status == 409:
        outdated = any(item.rule.startswith(_PREVIEW_RULES) for item in error.problems)
        detail = f"{n} difference{'s' if n > 1 else ''} found; nothing was released"
        return problem(409, "preview-outdated" if outdated else "conflict", detail, problems=error.problems)
    detail = str(error) if n == 0 else f"{n} problem{'s' if n > 1 else ''} found; nothing was accepted"
    return problem(error.status, _REFUSED.get(error.status, "invalid"), detail, problems=error.problems)


def from_http(error: web.HTTPException) -> web.Response:
    """The answer for a refusal (400 and above) of the HTTP server itself."""
    code = _HTTP.get(error.status, "http-error")
    headers = {name: error.headers[name] for name in ("Allow", "WWW-Authenticate") if name in error.headers}
    reason = error.reason or "Error"
    return problem(error.status, code, reason, title=None if code in _HTTP.values() else reason, headers=headers)


def fault(path: str) -> web.Response:
    """The answer for what we did not foresee; call it while the exception is being handled, for it is logged."""
    reference = secrets.token_hex(4)
    _log.exception("request_failed", reference=reference, path=path)
    return problem(500, "internal", f"It is in the log under reference {reference}")


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
        return from_http(error)
    except Exception as error:  # noqa: BLE001 - the last fence: a caller gets an answer whatever happens
        return from_error(error) or fault(request.path)
