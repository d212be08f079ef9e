from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InputRefused
from channels.mailbox.client import HttpFailure, Origin, Pool, SentEvent, _BodyReader, parse_events
from channels.mailbox.fleet import Device, read_devices

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n0\r\n\r\n"
)
SIZED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 11\r\n\r\nhello world"


@given(st.sampled_from([CHUNKED, SIZED]), st.lists(st.integers(1, 120), max_size=8))
def test_a_response_is_read_the_same_however_it_is_cut(response: bytes, cuts: list[int]) -> None:
    reader = _BodyReader()
    body, complete = b"", False
    edges = [0, *sorted(cut for cut in set(cuts) if cut < len(response)), len(response)]
    for low, high in itertools.pairwise(edges):
        assert not complete
        part, complete = reader.feed(response[low:high])
        body += part
    assert (body, complete) == (b"hello world", True)
    assert reader.status == int(response[9:12])


@pytest.mark.parametrize(
    "response", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
)
def test_what_is_not_http_is_refused(response: bytes) -> None:
    with pytest.raises(HttpFailure):
        _BodyReader().feed(response)


def test_events_are_read_with_their_fields_and_comments_dropped() -> None:
    events, rest = parse_events(
        b":\n\nid: 7\nevent: alert\ndata: a\ndata: b\n\nretry: 5\n\ndata:c\r\n\r\nid: 8\nda"
    )
    assert events == [SentEvent("alert", b"a\nb", "7"), SentEvent("message", b"c", None)]
    assert rest == b"id: 8\nda"


@pytest.mark.parametrize("url", ["https://x", "x:80", "http://x/y", "http://x?y", "http://"])
def test_an_origin_is_a_plain_http_address(url: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Origin.parse(url)


def test_device_files_are_read_whole_or_refused_with_every_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "devices.csv"
    path.write_text("id,token\na1,t1\na2,t2\n")
    assert read_devices(path, "devices") == [Device("a1", "t1"), Device("a2", "t2")]
    path.write_text("id,token\na1,t1\na1,t2\n,t3\na4\n")
    with pytest.raises(InputRefused) as refused:
        read_devices(path, "devices")
    assert [problem.place.rpartition(":")[2] for problem in refused.value.problems] == ["3", "4", "5"]
    path.write_text("a1,t1\n")
    with pytest.raises(InputRefused, match="columns"):
        read_devices(path, "devices")


async def test_the_pool_opens_a_new_connection_when_the_old_one_was_closed_or_is_worn_out() -> None:
    served: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(4096):
            served.append(request)
            writer.write(SIZED)
            if len(served) == 1:
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        origin = Origin("127.0.0.1", server.sockets[0].getsockname()[1])
        pool = Pool(origin, 2, requests_per_connection=2)
        for expected in (1, 2, 2, 3):
            answer = await pool.request(origin.head("GET", "/") + b"\r\n")
            assert (answer.status, answer.body, answer.field("Content-Length")) == (202, b"hello world", "11")
            await asyncio.sleep(0.05)
            assert pool.opened == expected
        pool.close()
        await asyncio.sleep(0.05)
