"""Schemathesis on the running API: never a 500, and every answer as the document says, whoever asks whatever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks

from broker.intake.tokens import Scope
from tests.support.broker import CAREFUL, Api, alert_xml, running_api
from tests.support.places import GROUPS, LANGUAGES, Person, pages

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
EXAMPLES = 12
"""Of each call, as each caller."""
SENDER = f"{CAREFUL}@warning.example"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    async with running_api(tmp_path_factory.mktemp("api")) as api:
        await api.store.add_names("language", LANGUAGES)
        await api.store.add_names("group", GROUPS)
        await api.store.put_pages(pages(Person(number, lon=106.3, lat=30.05) for number in range(1, 5)))
        yield api


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.call("GET", "/openapi.json", department=None)).json()
    return found


class Answers:
    """What was asked and how it was answered."""

    def __init__(self) -> None:
        self.statuses: dict[str, set[int]] = {}

    def note(self, label: str, status: int) -> None:
        self.statuses.setdefault(label, set()).add(status)


def ask(
    document: dict[str, Any],
    url: str,
    headers: Mapping[str, str],
    known: Mapping[str, str],
    mode: GenerationMode = GenerationMode.POSITIVE,
) -> Answers:
    """Run generated cases of every call against the server and check every answer against the document."""
    config = SchemathesisConfig()
    config.projects.override.update(base_url=url)
    schema = schemathesis.openapi.from_dict(document, config=config)
    answers = Answers()
    for result in schema.get_all_operations():
        operation = result.ok()
        try:
            run(operation, headers, known, mode, answers)
        except Unsatisfiable:
            # There is nothing wrong to say in a call that takes nothing.
            assert mode is GenerationMode.NEGATIVE
            assert not operation.body
    return answers


def run(
    operation: APIOperation,
    headers: Mapping[str, str],
    known: Mapping[str, str],
    mode: GenerationMode,
    answers: Answers,
) -> None:
    """All cases of one call."""
    turn = count()

    @seed(20261124)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        # Generated ids are of no alert: every second call is made on one that there is.
        there_is = next(turn) % 2 == 0
        parameters = case.path_parameters or {}
        for name, value in known.items():
            if there_is and name in parameters:
                parameters[name] = value
        response = case.call(headers=dict(headers), timeout=30)
        answers.note(operation.label, response.status_code)
        # What the document calls right may be refused all the same: CAP asks for more than a schema can say, and
        # states decide. But whatever is answered must be in the document.
        case.validate_response(response, checks=CHECKS)

    check()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_with_a_token_that_may_everything_every_answer_is_as_documented(
    api: Api, document: dict[str, Any], mode: GenerationMode
) -> None:
    author = await api.token(CAREFUL)
    posted = await api.post(
        alert_xml(f"mode-{mode.value}", sender=SENDER), headers={"Authorization": f"Bearer {author}"}
    )
    alert = posted.json()["id"]
    preview = await api.preview(alert, author)
    token = await api.token(CAREFUL, scopes=(Scope.POST, Scope.READ, Scope.RELEASE))
    headers = {"Authorization": f"Bearer {token}"}

    found = await asyncio.to_thread(ask, document, api.server.url, headers, {"id": alert, "preview": preview}, mode)

    reached = {status for statuses in found.statuses.values() for status in statuses}
    if mode is GenerationMode.POSITIVE:
        assert len(found.statuses) == sum(len(methods) for methods in document["paths"].values())
        assert {200, 201, 404, 422} <= reached, found.statuses
    else:
        assert {400, 404, 415, 422} & reached, found.statuses


@pytest.mark.parametrize("authorization", ["", "Bearer fh_unknown", "Basic YTpi"])
async def test_without_a_token_nothing_is_told_and_every_answer_is_as_documented(
    api: Api, document: dict[str, Any], authorization: str
) -> None:
    headers = {"Authorization": authorization} if authorization else {}

    found = await asyncio.to_thread(ask, document, api.server.url, headers, {"id": "0" * 21})

    for label, statuses in found.statuses.items():
        if "/v1/" in label:
            assert statuses == {401}, label


async def test_a_token_without_the_scope_is_refused_everywhere(api: Api, document: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {await api.token(CAREFUL, scopes=())}"}

    found = await asyncio.to_thread(ask, document, api.server.url, headers, {"id": "0" * 21})

    assert {status for label, statuses in found.statuses.items() if "/v1/" in label for status in statuses} == {403}
