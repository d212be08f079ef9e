"""Good answers: JSON with an ETag, and 304 for who has it already (RFC 9110, 13.1.2)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from aiohttp import ETag, web

from broker.clock import from_ms


def answer_json(request: web.Request, body: dict[str, Any], headers: dict[str, str] | None = None) -> web.Response:
    """200 with a weak ETag (what it means, not its bytes), or 304 without a body."""
    text = json.dumps(body, ensure_ascii=False).encode()
    return answer(request, text, "application/json; charset=utf-8", digest=text, weak=True, headers=headers)


def answer(
    request: web.Request,
    body: bytes,
    content_type: str,
    *,
    digest: bytes,
    weak: bool,
    headers: dict[str, str] | None = None,
) -> web.Response:
    """200 with the ETag of `digest`, or 304 if the request names it in If-None-Match."""
    tag = ETag(hashlib.sha256(digest).hexdigest()[:32], is_weak=weak)
    # Whoever keeps it asks first: it is one department's, and a state changes at any time.
    given = {**(headers or {}), "Cache-Control": "private, no-cache"}
    if known(request, tag):
        response = web.Response(status=304, headers=given)
    else:
        response = web.Response(body=body, headers={**given, "Content-Type": content_type})
    response.etag = tag
    return response


def known(request: web.Request, tag: ETag) -> bool:
    """Whether the caller has this version: If-None-Match compares weakly (RFC 9110, 13.1.2)."""
    return any(each.value in (tag.value, "*") for each in request.if_none_match or ())


def iso(ms: int | None) -> str | None:
    """ISO 8601 in UTC with milliseconds."""
    return None if ms is None else from_ms(ms).isoformat(timespec="milliseconds")
