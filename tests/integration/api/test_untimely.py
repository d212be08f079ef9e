"""Times that no fresh warning has: out of an archive, or to stand for months."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.broker import alert_xml, running_api


@pytest.mark.parametrize(
    ("age", "lasts", "rule"),
    [
        (timedelta(days=2), timedelta(days=3), "intake.sent.old"),
        (timedelta(minutes=1), timedelta(days=40), "intake.expires.far"),
    ],
)
async def test_an_untimely_warning_is_refused_by_its_rule(
    tmp_path: Path, age: timedelta, lasts: timedelta, rule: str
) -> None:
    async with running_api(tmp_path) as api:
        answer = await api.post(alert_xml(sent=datetime.now(UTC) - age, lasts=lasts))
        assert answer.status == 422
        assert f'"{rule}"'.encode() in answer.body
        await api.assert_nothing_was_kept()
