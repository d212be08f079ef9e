"""202 means kept: a broker killed right after it has lost nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import processes
from tests.support.broker import alert_xml, as_json
from tests.support.processes import Broker, serving


async def post(broker: Broker, token: str, text: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/cap+xml"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{broker.url}/v1/alerts", data=text.encode(), headers=headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


async def get(broker: Broker, token: str, path: str) -> bytes:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.get(f"{broker.url}{path}", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


@pytest.mark.timeout(300)
async def test_a_broker_killed_right_after_202_has_kept_the_alert(tmp_path: Path) -> None:
    async with serving(tmp_path) as broker:
        token = await broker.token("met-hechuan")
        answers: dict[str, tuple[str, str]] = {}
        for number in range(2):
            text = alert_xml(f"killed-{number}")
            status, body = await post(broker, token, text)
            await broker.kill()
            assert status == 202, body
            answers[text] = (body["id"], body["state"])
            await broker.start()

            for kept, (alert, state) in answers.items():
                assert await get(broker, token, f"/v1/alerts/{alert}/cap") == kept.encode()
                status, again = await post(broker, token, kept)
                assert (status, again["id"], again["state"]) == (202, alert, state)
        listed = json.loads(await get(broker, token, "/v1/alerts"))["alerts"]
        assert {alert["id"] for alert in listed} == {alert for alert, _ in answers.values()}


@pytest.mark.timeout(300)
async def test_the_whole_broker_serves_api_dashboard_and_metrics_and_refuses_a_second_on_its_data(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as broker:
        token = await broker.token("met-hechuan")
        status, body = await post(broker, token, alert_xml())
        assert status == 202, body
        assert b"fenghuo" in await get(broker, token, "/metrics")
        shown = as_json((await get(broker, token, f"/v1/alerts/{body['id']}/cap")).decode())
        assert shown["identifier"] == "50011741600000_20260618093000"
        second = await processes.start(tmp_path, "serve", "--config", str(broker.config), name="second")
        assert await second.wait() == 2
        assert "another process runs on this data" in second.said
        assert broker.command is not None
        broker.command.stop()
        assert await broker.command.wait() == 0
