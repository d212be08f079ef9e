"""What every call passes: token and scope, the department's rate, query and body; then its handler."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import hdrs, web

from broker.api.bodies import Bodies
from broker.api.declare import Call, Message, Operation
from broker.api.problems import MissingScope, RateLimited, from_error
from broker.api.questions import JSON_BYTES, check_json_type, read_json, read_query
from broker.api.rates import Buckets, RateLimit, Taken
from broker.intake import tokens
from broker.store.contract import Accounts


class Gate:
    """Turns operations into routes. Without a `rate` nobody is limited."""

    def __init__(self, accounts: Accounts, *, rate: RateLimit | None = None, bodies: Bodies | None = None) -> None:
        self._accounts = accounts
        self._buckets = None if rate is None else Buckets(rate)
        self.bodies = bodies or Bodies()

    def route(self, operation: Operation) -> web.RouteDef:
        """The route of an operation; GET answers HEAD too (RFC 9110, 9.1)."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(operation, request)

        options: dict[str, bool] = {"allow_head": True} if operation.method == hdrs.METH_GET else {}
        return web.RouteDef(operation.method, operation.path, handle, options)

    async def _handle(self, operation: Operation, request: web.Request) -> web.StreamResponse:
        call = Call(request)
        headers: dict[str, str] = {}
        try:
            await self._admit(operation, call, headers)
            answer = await operation.handler(call)
        except Exception as error:
            refusal = from_error(error)
            if refusal is None:
                raise
            if operation.refused is not None:
                operation.refused(_code(error, refusal.status))
            answer = refusal
        finally:
            self.bodies.free(request)
        if not answer.prepared:
            _add(answer, headers)
        return answer

    async def _admit(self, operation: Operation, call: Call, headers: dict[str, str]) -> None:
        request = call.request
        if operation.scopes:
            call.bearer = await tokens.authenticate(request.headers.get(hdrs.AUTHORIZATION), self._accounts)
            if not set(operation.scopes) & set(call.bearer.scopes):
                raise MissingScope(operation.scopes)
            await self._count(operation, call, headers)
            call.query_model = read_query(operation.query, request.query)
        body = operation.body
        if body is not None and not isinstance(body, Message):
            check_json_type(request.headers.get(hdrs.CONTENT_TYPE, ""))
            call.raw = await self.bodies.read(request, JSON_BYTES)
            call.body_model = read_json(body, call.raw)

    async def _count(self, operation: Operation, call: Call, headers: dict[str, str]) -> None:
        if self._buckets is None or operation.share is None:
            return
        taken = self._buckets.take((call.token.department, operation.share))
        headers |= _rate_headers(taken)
        if taken.allowed or (operation.unlimited is not None and await operation.unlimited(call)):
            return
        raise RateLimited(taken.wait)


def _rate_headers(taken: Taken) -> dict[str, str]:
    return {
        "RateLimit-Limit": str(taken.limit),
        "RateLimit-Remaining": str(taken.remaining),
        "RateLimit-Reset": str(taken.reset),
    }


def _add(answer: web.StreamResponse, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        answer.headers[name] = value


def _code(error: Exception, status: int) -> str:
    """What the metric of refusals calls this kind."""
    if isinstance(error, tokens.Unauthenticated):
        return "unauthenticated"
    return {403: "not_allowed", 409: "conflict", 413: "too_large", 415: "media_type", 429: "rate_limited"}.get(
        status, "unavailable" if status >= 500 else "invalid"
    )
