"""Our client against an SMSC that answers as it likes: out of order, too early, with errors, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from broker.ledger.state import DELIVERED, Rank, Reason, rank_of, reason_of, word
from channels.sms.bulk import Splitter
from channels.sms.pdu import RESPONSE, Command, ShortMessage, Status, frame
from channels.sms.text import encode

Pdu = tuple[int, ShortMessage]
Answer = Callable[[list[Pdu]], bytes]
SENT = word(Rank.SENT, attempt=1)


@asynccontextmanager
async def _smsc(answer: Answer, wait_for: int, deliver_answers: list[int] | None = None) -> AsyncIterator[int]:
    """Collects `wait_for` submits, then writes what `answer` makes of them, in single bytes and odd chunks."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter, submits = Splitter(), []
        while data := await reader.read(65536):
            for run in splitter.feed(data):
                for sequence, body in zip(run.sequences.tolist(), run.bodies(), strict=True):
                    if run.command == Command.SUBMIT_SM:
                        submits.append((sequence, ShortMessage.decode(body)))
                    elif run.command == Command.DELIVER_SM_RESP and deliver_answers is not None:
                        deliver_answers.append(sequence)
                    elif not run.command & RESPONSE:
                        writer.write(frame(run.command | RESPONSE, sequence, b"odd\0"))
            if len(submits) == wait_for:
                octets = answer(submits)
                submits = []
                for at in range(0, len(octets), 37):
                    writer.write(octets[at : at + 37])
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def _id(message: ShortMessage) -> bytes:
    return b"id-" + message.destination.encode() + message.short_message[5:6]


def _receipt(message: ShortMessage, sequence: int) -> bytes:
    text = b"id:" + _id(message) + b" sub:001 dlvrd:001 stat:DELIVRD err:000 text:"
    body = ShortMessage(message.destination, message.source, text, esm_class=4).encode()
    return frame(Command.DELIVER_SM, sequence, body)


def _ok(sequence: int, message: ShortMessage) -> bytes:
    return frame(Command.SUBMIT_SM_RESP, sequence, _id(message) + b"\0")


async def test_answers_out_of_order_reach_their_recipients(broker, phones) -> None:
    def answer(submits: list[Pdu]) -> bytes:
        return b"".join(_ok(*own) for own in reversed(submits))

    numbers = [*phones(40), *(f"4911{n}" for n in range(10))]
    async with _smsc(answer, 50) as port:
        near = broker(port)
        async with near.channel() as channel:
            outcomes = await near.send(channel, numbers, "hello")
            assert set(outcomes.states.tolist()) == {SENT}
            # attempt 1, part 01 of 01, then the id
            told = dict(zip(outcomes.far_ordinals.tolist(), outcomes.far_ids.tolist(), strict=True))
    assert told == {n: b"10101id-" + own.encode() for n, own in enumerate(numbers)}


async def test_receipts_before_their_answers_count(broker, phones, texts) -> None:
    def answer(submits: list[Pdu]) -> bytes:
        receipts = b"".join(_receipt(message, n) for n, (_, message) in enumerate(submits, 1))
        return receipts + b"".join(_ok(*own) for own in submits)

    told: list[int] = []
    parts = len(encode(texts[1], 0).parts)
    async with _smsc(answer, 10 * parts, told) as port:
        near = broker(port)
        async with near.channel() as channel:
            outcomes = await near.send(channel, phones(10), texts[1])
            assert set(outcomes.states.tolist()) == {SENT}
            assert len(outcomes.far_ids) == 10 * parts
            await near.until(lambda: near.with_state(DELIVERED) == set(range(10)))
            await near.until(lambda: len(told) == 10 * parts)


async def test_each_recipient_gets_the_reason_of_its_own_error(broker) -> None:
    statuses = {
        "1": (Status.ROK, Rank.SENT, Reason.NONE),
        "2": (Status.RTHROTTLED, Rank.FAILED, Reason.THROTTLED),
        "3": (Status.RMSGQFUL, Rank.FAILED, Reason.QUEUE_FULL),
        "4": (Status.RSYSERR, Rank.FAILED, Reason.FAR_END_ERROR),
        "5": (Status.RINVDSTADR, Rank.FAILED, Reason.INVALID_ADDRESS),
        "6": (Status.RINVSRCADR, Rank.FAILED, Reason.REJECTED),
    }

    def answer(submits: list[Pdu]) -> bytes:
        answers = []
        for sequence, message in submits:
            status = statuses[message.destination[-1]][0]
            body = b"id\0" if status == Status.ROK else b""
            answers.append(frame(Command.SUBMIT_SM_RESP, sequence, body, status))
        return b"".join(answers)

    async with _smsc(answer, 6) as port:
        near = broker(port)
        async with near.channel() as channel:
            outcomes = await near.send(channel, [f"86100000{digit}" for digit in statuses])
    found = [(rank_of(state), reason_of(state)) for state in outcomes.states.tolist()]
    assert found == [(rank, reason) for _, rank, reason in statuses.values()]


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        (Status.RTHROTTLED, (Rank.FAILED, Reason.THROTTLED)),
        (Status.RINVDSTADR, (Rank.FAILED, Reason.INVALID_ADDRESS)),
        (None, (Rank.UNKNOWN, Reason.NONE)),
    ],
)
async def test_one_part_that_was_not_taken_decides_for_the_message(
    broker, phones, texts, refused, expected
) -> None:
    def answer(submits: list[Pdu]) -> bytes:
        answers = []
        for sequence, message in submits:
            if message.short_message[5] != 2:
                answers.append(_ok(sequence, message))
            elif refused is not None:
                answers.append(frame(Command.SUBMIT_SM_RESP, sequence, status=refused))
        return b"".join(answers)

    parts = len(encode(texts[1], 0).parts)
    async with _smsc(answer, 3 * parts) as port:
        near = broker(port, response_timeout_s=0.5)
        async with near.channel() as channel:
            outcomes = await near.send(channel, phones(3), texts[1])
    assert {(rank_of(state), reason_of(state)) for state in outcomes.states.tolist()} == {expected}
    # The ids of the parts that were taken are kept all the same.
    assert sorted(outcomes.far_ordinals.tolist()) == sorted([0, 1, 2] * (parts - 1))


async def test_octets_that_are_no_smpp_end_the_connection_not_the_client(broker, phones) -> None:
    async with _smsc(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", 5) as port:
        near = broker(port)
        async with near.channel() as channel:
            for attempt in (1, 2):
                outcomes = await near.send(channel, phones(5), "hello", attempt=attempt)
                assert set(outcomes.states.tolist()) == {word(Rank.UNKNOWN, attempt=attempt)}
                await near.until(lambda: channel.healthy)
