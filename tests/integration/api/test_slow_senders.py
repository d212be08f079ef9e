"""A sender that dribbles its body must not hold a connection open."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.api import bodies
from tests.support.broker import running_api


async def test_a_body_that_does_not_come_is_refused_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    async with running_api(tmp_path) as api:
        head = (
            f"POST /v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {await api.token('meteorology')}\r\n"
            "Content-Type: application/cap+xml\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n<alert"
        )
        answer = await api.raw(head.encode())
        assert answer.status == 408
        assert b'"body.slow"' in answer.body
        await api.assert_nothing_was_kept()
