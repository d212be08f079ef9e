"""What happens to an accepted alert by a person's hand: preview, release, rejection, Cancel, correction."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from broker.api.alerts import AlertCalls, accepted, brief
from broker.api.answering import answer_json, iso
from broker.api.declare import CAP_XML, IDEMPOTENCY_KEY, Call
from broker.api.followups import FollowUps, Kind, Request, Wanted, compose
from broker.api.models import CancelRequest, CorrectionRequest, RejectRequest, ReleaseRequest
from broker.cap.xml import to_xml
from broker.dispatch.previews import Previews
from broker.errors import InputRefused, NotFound, Problem
from broker.release.release import Release
from broker.store.contract import Store
from broker.store.records import PreviewRecord

_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class LifecycleCalls:
    """What the calls below `/v1/alerts/{id}` do; `broker.api.operations` declares them."""

    def __init__(
        self,
        store: Store,
        alerts: AlertCalls,
        release: Release,
        previews: Previews,
        *,
        released: Callable[[], None],
    ) -> None:
        self._store = store
        self._alerts = alerts
        self._release = release
        self._previews = previews
        self._released = released
        self._followups = FollowUps(store)

    async def make_preview(self, call: Call) -> web.Response:
        """201 with what releasing the alert now would do."""
        alert = await self._alerts.own(call)
        preview = await self._previews.make(alert, call.token)
        body = _shown(preview)
        return web.json_response(body, status=201, headers={"Location": body["url"]})

    async def preview(self, call: Call) -> web.Response:
        """A preview that was made, valid or not any more."""
        alert, name = await self._alerts.own(call), call.request.match_info["preview"]
        if not _HASH.fullmatch(name):
            raise NotFound("no such preview")
        preview = await self._store.preview(name)
        if preview.alert != alert.id:
            raise NotFound("no such preview")
        return answer_json(call.request, _shown(preview))

    async def release(self, call: Call) -> web.Response:
        """A second person lets a waiting alert go, exactly as previewed."""
        alert = await self._alerts.own(call)
        released = await self._release.release(alert.id, call.token, call.body(ReleaseRequest).preview)
        self._released()
        return web.json_response(brief(released))

    async def reject(self, call: Call) -> web.Response:
        """A second person says that the alert must not go out."""
        alert = await self._alerts.own(call)
        rejected = await self._release.reject(alert.id, call.token, call.body(RejectRequest).reason)
        return web.json_response(brief(rejected))

    async def prepared_cancel(self, call: Call) -> web.Response:
        """The Cancel as it would be sent; nothing is sent."""
        return await self._prepared(call, Kind.CANCEL)

    async def cancel(self, call: Call) -> web.Response:
        """Take the alert back: 202 with the Location of the Cancel."""
        return await self._follow(call, Kind.CANCEL, call.body(CancelRequest))

    async def prepared_correction(self, call: Call) -> web.Response:
        """The correction as it would be sent if the area stayed; nothing is sent."""
        return await self._prepared(call, Kind.CORRECTION)

    async def correct(self, call: Call) -> web.Response:
        """Take the alert back from part of its area: 202 with the Location of the Update."""
        return await self._follow(call, Kind.CORRECTION, call.body(CorrectionRequest))

    async def _prepared(self, call: Call, kind: Kind) -> web.Response:
        alert = await self._alerts.own(call)
        message = compose(alert, kind, None, await self._followups.fresh(alert))
        return web.Response(body=to_xml(message), headers={"Content-Type": CAP_XML, "Cache-Control": "no-store"})

    async def _follow(self, call: Call, kind: Kind, wanted: Wanted) -> web.Response:
        alert, key = await self._alerts.own(call), _key(call.request)
        request = None if key is None else Request.of(call.token.department, key, wanted)
        named = None if request is None else await self._followups.known(alert, kind, request)
        if named is None:
            named = await self._followups.fresh(alert)
            compose(alert, kind, wanted, named)  # what cannot be composed was never asked for
            if request is not None:
                named = await self._followups.keep(alert, kind, request, named, call.token.id)
        message = to_xml(compose(alert, kind, wanted, named))
        return accepted(await self._alerts.take(message, CAP_XML, call.token))


def _key(request: web.Request) -> str | None:
    """The Idempotency-Key. Raises InputRefused (400)."""
    given = request.headers.getall(IDEMPOTENCY_KEY.name, [])
    if not given:
        return None
    assert IDEMPOTENCY_KEY.pattern is not None
    if len(given) > 1 or not re.fullmatch(IDEMPOTENCY_KEY.pattern, given[0], re.ASCII):
        message = "one key of 1 to 64 visible ASCII characters is expected"
        problem = Problem(f"header/{IDEMPOTENCY_KEY.name}", "idempotency-key", message, given[0][:40])
        raise InputRefused([problem], status=400)
    return given[0]


def _shown(preview: PreviewRecord) -> dict[str, Any]:
    shown = preview.content.get("shown")
    assert isinstance(shown, dict)
    return {
        "preview": preview.id,
        "url": f"/v1/alerts/{preview.alert}/preview/{preview.id}",
        "made": iso(preview.made),
        "valid_until": iso(preview.valid_until),
        **{("msgType" if name == "msg_type" else name): value for name, value in shown.items()},
    }
