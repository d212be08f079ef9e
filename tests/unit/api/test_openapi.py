"""The document is complete: every call with its scope, every answer with its shape, every problem explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from broker.api import operations as declared
from broker.api.codes import CODES
from broker.api.declare import Operation
from broker.api.health import Health
from broker.api.openapi import SCOPES, TAGS, document
from broker.api.reading import LANGUAGES, Reading, prose, shape
from broker.api.said import CHINESE
from broker.intake.tokens import Scope
from broker.metrics import Metrics

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "broker/api/pages"
REFERENCE = (ROOT / "docs/reference/problems.md").read_text(encoding="utf-8")


def all_operations() -> tuple[Operation, ...]:
    """Declarations need no services behind them."""
    calls: Any = mock.MagicMock()
    health = Health(mock.MagicMock(), None, Metrics(), shards=1)
    return (*declared.operations(calls, calls), *health.operations(), *Reading().operations())


OPERATIONS = all_operations()
DOCUMENT = document(OPERATIONS)


def answers() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                yield f"{method} {path} {status}", answer


def test_the_document_is_json_and_names_every_operation_once() -> None:
    assert json.loads(json.dumps(DOCUMENT))["openapi"] == "3.1.0"
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert sorted(names) == sorted({operation.name for operation in OPERATIONS})
    assert len(names) == len(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_call_under_v1_names_its_scope_and_is_told_in_both_languages(operation: Operation) -> None:
    assert bool(operation.scopes) == operation.path.startswith("/v1/")
    made = DOCUMENT["paths"][operation.path][operation.method.lower()]
    assert made["security"] == [{"bearer": [str(scope)]} for scope in operation.scopes]
    assert all((*operation.summary, *operation.description))
    assert re.search("[\u4e00-\u9fff]", operation.description.zh)
    assert not re.search("[\u4e00-\u9fff]", operation.description.en)
    assert operation.tag in TAGS


def test_every_answer_of_the_api_has_a_shape_and_an_example() -> None:
    bare = [
        place
        for place, answer in answers()
        for content in answer.get("content", {}).values()
        if "schema" not in content
    ]
    assert bare == []
    without = [place for place, answer in answers() if "content" not in answer and not place.endswith(" 304")]
    assert without == []


def test_every_answer_carries_its_description_in_both_languages() -> None:
    assert [place for place, answer in answers() if not answer["description"] or not answer[CHINESE]] == []


def test_every_code_is_answered_by_some_call_or_by_the_server_itself() -> None:
    used = {code for operation in OPERATIONS for code in operation.codes()}
    of_the_server = {"method-not-allowed", "expectation-failed", "headers-too-large", "http-error"}
    assert set(CODES) - used == of_the_server


def test_references_lead_somewhere() -> None:
    found = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)))
    for reference in found:
        part: Any = DOCUMENT
        for word in reference.split("/"):
            part = part[word]
    assert len(found) > 20


def test_every_scope_that_a_call_asks_for_is_explained() -> None:
    asked = {scope for operation in OPERATIONS for scope in operation.scopes}
    assert asked == set(SCOPES)
    assert set(Scope) - asked == {Scope.MACHINE}  # it limits a token, and opens no call


def test_the_reference_of_problems_is_the_catalogue_word_for_word() -> None:
    section = REFERENCE.partition("## Codes\n")[2].partition("\n## ")[0]
    written = {
        name: " ".join(text.split())
        for name, text in re.findall(r"### ([\w-]+)\n(.*?)(?=\n### |\Z)", section, re.DOTALL)
    }
    assert written == {name: f"{code.status}. {code.meaning.en}" for name, code in CODES.items()}
    assert list(written) == list(CODES)


def test_the_words_of_the_pages_are_the_same_in_both_languages() -> None:
    words = [json.loads((PAGES / f"{language}.json").read_text(encoding="utf-8")) for language in LANGUAGES]
    assert words[0].keys() == words[1].keys()
    used = set(re.findall(r"\bt\.(\w+)", "".join(page.read_text() for page in PAGES.glob("*.html"))))
    assert used - words[0].keys() == set()


def test_prose_escapes_all_but_code() -> None:
    assert prose("a `b<c` <script>") == "a <code>b&lt;c</code> &lt;script&gt;"


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "string"}, "string"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string | null"),
        ({"enum": ["a", "b"]}, "a | b"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Step"}}, "[Step]"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "{… : integer}"),
        ({}, "any"),
    ],
)
def test_a_shape_is_told_in_a_few_words(schema: dict[str, Any], told: str) -> None:
    assert shape(schema) == told
