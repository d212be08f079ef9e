"""Whatever is thrown at the running API is refused: it never fails and never keeps what it did not understand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from urllib.parse import quote_from_bytes

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.cap import read
from tests.support.broker import Answer, Api, alert_xml, as_json

pytestmark = pytest.mark.asyncio(loop_scope="module")

# One API serves all examples: it keeps nothing between them but alerts that are right.
FUZZ = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
KINDS = st.sampled_from(["application/cap+xml", "application/xml", "application/json"])


@pytest_asyncio.fixture(loop_scope="module")
async def api(shared_api: Api) -> AsyncIterator[Api]:
    yield shared_api


def assert_refused(answer: Answer) -> None:
    """4xx with a body that a machine can read; where content was judged, with every problem."""
    assert 400 <= answer.status < 500, (answer.status, answer.body)
    assert answer.media_type == "application/problem+json"
    problem = answer.json()
    assert problem["code"]
    if answer.status in (400, 415, 422):
        assert problem["problems"]
        assert all(item["rule"] and item["message"] for item in problem["problems"])


async def post(api: Api, body: bytes, content_type: str) -> None:
    """Post; what is accepted must be right by our own reading, everything else refused."""
    before = len(await api.store.alerts(limit=10_000))
    answer = await api.post(body, content_type)
    if answer.status == 202:
        reading = read(body, "json" if content_type.endswith("json") else "xml")
        assert reading.valid
        kept = await api.call("GET", f"{answer.json()['url']}/cap")
        assert kept.body == body
    elif answer.status != 409:  # the same identity with other bytes, once one mutant was right
        assert_refused(answer)
        assert len(await api.store.alerts(limit=10_000)) == before


@FUZZ
@given(body=st.binary(max_size=300), content_type=KINDS)
async def test_random_bytes_are_refused(api: Api, body: bytes, content_type: str) -> None:
    answer = await api.post(body, content_type)

    assert_refused(answer)


@st.composite
def mutants(draw: st.DrawFn, text: bytes) -> bytes:
    """A right message with pieces cut, doubled, swapped and overwritten."""
    data = bytearray(text)
    for _ in range(draw(st.integers(1, 4))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(0, 40))
        match draw(st.sampled_from(["cut", "double", "insert", "overwrite"])):
            case "cut":
                del data[at : at + size]
            case "double":
                data[at:at] = data[at : at + size]
            case "insert":
                data[at:at] = draw(st.binary(max_size=6))
            case _:
                data[at : at + size] = draw(st.text(max_size=8)).encode("utf-8", "surrogatepass")
    return bytes(data)


XML = alert_xml("mutant")


@FUZZ
@given(body=mutants(XML.encode()))
async def test_mutants_of_a_right_alert_are_refused_or_right(api: Api, body: bytes) -> None:
    await post(api, body, "application/cap+xml")


def _json_bytes() -> bytes:
    return json.dumps(as_json(XML), ensure_ascii=False).encode()


@FUZZ
@given(body=mutants(_json_bytes()))
async def test_mutants_in_json_are_refused_or_right(api: Api, body: bytes) -> None:
    await post(api, body, "application/json")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PLACES = st.sampled_from(
    (
        *("sender", "identifier", "sent", "msgType", "references", "info", "info.event", "info.eventCode"),
        *("info.expires", "info.category", "info.parameter", "info.area", "info.area.polygon"),
        *("info.area.circle", "info.area.geocode"),
    )
)


@FUZZ
@given(place=PLACES, value=JSON)
async def test_any_json_in_the_place_of_any_element_is_refused_or_right(
    api: Api, place: str, value: object
) -> None:
    content = as_json(XML)
    *way, last = place.split(".")
    inner = content
    for name in way:
        inner = inner[name][0]
    inner[last] = value

    await post(api, json.dumps(content).encode(), "application/json")


@FUZZ
@given(path=st.binary(max_size=40), query=st.binary(max_size=40))
async def test_any_path_and_query_get_an_answer_that_is_no_fault(api: Api, path: bytes, query: bytes) -> None:
    target = f"/v1/alerts/{quote_from_bytes(path, safe='')}?{quote_from_bytes(query, safe='=&')}"

    answer = await api.call("GET", target)

    assert answer.status in (200, 400, 404)
    if answer.status != 200:
        assert answer.media_type == "application/problem+json"


HEADER_BYTES = st.binary(max_size=30).map(lambda raw: bytes(byte for byte in raw if byte not in b"\r\n\x00"))


@FUZZ
@given(name=st.sampled_from([b"Authorization", b"Content-Type", b"Accept", b"Cookie"]), value=HEADER_BYTES)
async def test_any_header_gets_an_answer_that_is_no_fault(api: Api, name: bytes, value: bytes) -> None:
    head = b"POST /v1/alerts HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n"
    answer = await api.raw(head + name + b": " + value + b"\r\n\r\n")

    assert answer.status in (400, 401, 415)
