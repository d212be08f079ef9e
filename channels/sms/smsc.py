"""A simulated SMSC: SMPP 3.4 over TCP for any number of binds, answered in bulk."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, cast

import numpy as np
import structlog
from numpy.typing import NDArray

from channels.simulating import EventLog
from channels.sms.bulk import Layout, Numbers, Rows, Run, Splitter, all_digits, as_strings, leading, response_rows
from channels.sms.handsets import Block, Handsets, receipt_rows
from channels.sms.pdu import (
    BINDS,
    HEADER_LENGTH,
    MAX_SEQUENCE,
    RESPONSE,
    Bind,
    Command,
    MalformedPdu,
    ShortMessage,
    Status,
    c_string,
    frame,
)

_log = structlog.get_logger("channels.sms.smsc")

RECEIPT_WINDOW: Final = 1000
"""Receipts that may be unanswered at a time on one bind."""
_PUMP_SECONDS: Final = 0.005
_LOOK_AHEAD: Final = 64
"""How many blocks may be passed over because their own session has no room."""
_LONGEST_WAIT: Final = 0.05
"""Answers under a rate limit leave in groups worth this many seconds."""


@dataclass(frozen=True, slots=True)
class SmscOptions:
    """How the SMSC behaves. Times in seconds."""

    system_id: str
    password: str = field(repr=False)
    rate: float = 0.0
    """Submits a second; 0 is as many as come."""
    throttle: bool = False
    """What to do beyond the rate: refuse with ESME_RTHROTTLED, or else answer late."""
    latency: float = 0.0
    """From a submit to its answer."""
    receipt_form: str = "both"


class Smsc:
    """The server: sessions, pace, and the pump that tells receipts."""

    def __init__(self, options: SmscOptions, log: EventLog, handsets: Handsets) -> None:
        self.options = options
        self.log = log
        self.handsets = handsets
        self.pace = _Pace(options.rate)
        self.sessions: set[_Session] = set()
        self._server: asyncio.Server | None = None
        self._pump_timer: asyncio.TimerHandle | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port. Raises OSError if it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Session(self), host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop every session; receipts not yet told stay in the log."""
        if self._server is not None:
            self._server.close()
        for session in list(self.sessions):
            session.drop()
        if self._pump_timer is not None:
            self._pump_timer.cancel()
        if self._server is not None:
            await self._server.wait_closed()

    def pump_soon(self, wait: float = _PUMP_SECONDS) -> None:
        """Tell receipts a little later, many at once."""
        if self._pump_timer is None:
            self._pump_timer = asyncio.get_running_loop().call_later(wait, self._pump)

    def _pump(self) -> None:
        self._pump_timer = None
        queue = self.handsets.queue
        listening = [session for session in self.sessions if session.receives]
        now = time.monotonic()
        waiting: list[Block] = []
        while queue and listening and queue[0].due <= now and len(waiting) < _LOOK_AHEAD:
            block = queue.popleft()
            # Who sent a message is told of it; only if that session is gone, another.
            own = [session for session in listening if session is block.submitter]
            session = own[0] if own else max(listening, key=lambda one: one.room)
            room = session.room
            if room < len(block.addresses):
                waiting.append(block.part(slice(room, None)))  # an answer to a receipt starts the pump again
                block = block.part(slice(0, room))
            if room:
                session.tell(block)
        queue.extendleft(reversed(waiting))
        if queue and listening and queue[0].due > now:
            self.pump_soon(max(_PUMP_SECONDS, queue[0].due - now))


class _Pace:
    """Token bucket over submits: how many may pass now, and when the answer to others may leave."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = 0.0

    def allowed(self, wanted: int, now: float) -> int:
        """How many of `wanted` may pass at once; they are counted."""
        if not self._rate:
            return wanted
        self._next = max(self._next, now - _LONGEST_WAIT)
        count = min(wanted, max(0, int((now - self._next) * self._rate)))
        self._next += count / self._rate
        return count

    def slices(self, count: int, now: float) -> list[tuple[int, float]]:
        """Cut `count` answers into groups, each with the time at which it may leave."""
        if not self._rate:
            return [(count, now)]
        size = max(1, int(self._rate * _LONGEST_WAIT))
        groups = []
        while count:
            share = min(size, count)
            self._next = max(self._next, now) + share / self._rate
            groups.append((share, self._next))
            count -= share
        return groups


class _Session(asyncio.Protocol):
    """One connection of an ESME."""

    def __init__(self, smsc: Smsc) -> None:
        self._smsc = smsc
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None
        self._bound: Command | None = None
        self._told: dict[int, tuple[Block, int]] = {}
        self._sequence = 1

    @property
    def receives(self) -> bool:
        """Whether receipts may be told here."""
        return self._bound in (Command.BIND_RECEIVER, Command.BIND_TRANSCEIVER)

    @property
    def room(self) -> int:
        """How many more receipts may be told before one is answered."""
        return RECEIPT_WINDOW - len(self._told)

    def drop(self) -> None:
        """Close without ceremony."""
        if self._transport is not None:
            self._transport.abort()

    def tell(self, block: Block) -> None:
        """Send receipts."""
        count = len(block.addresses)
        if self._sequence + count > MAX_SEQUENCE:
            self._sequence = 1
        first = self._sequence
        self._sequence += count
        self._told.update((first + n, (block, n)) for n in range(count))
        done = f"{datetime.now(UTC):%y%m%d%H%M}"
        self._write(receipt_rows(block, first, self._smsc.options.receipt_form, done).tobytes())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._smsc.sessions.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.Protocol: what was not answered is told to the next who binds."""
        _log.info("smsc.session_ended", error=type(exc).__name__ if exc else None)
        self._smsc.sessions.discard(self)
        self._bound = None
        for block, indexes in _grouped(self._told.values()):
            self._smsc.handsets.queue.appendleft(block.part(indexes))
        self._told.clear()
        self._smsc.pump_soon()

    def pause_writing(self) -> None:
        """Part of asyncio.Protocol: who does not read answers shall not send either."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Part of asyncio.Protocol."""
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        try:
            for run in self._splitter.feed(data):
                self._dispatch(run)
        except MalformedPdu as error:
            _log.warning("smsc.stream_malformed", error=str(error))
            self._write(frame(Command.GENERIC_NACK, 0, status=Status.RINVCMDLEN))
            if self._transport is not None:
                self._transport.close()

    def _dispatch(self, run: Run) -> None:
        match run.command:
            case Command.SUBMIT_SM:
                self._submits(run)
            case Command.DELIVER_SM_RESP:
                self._answered(run)
            case Command.ENQUIRE_LINK:
                self._write(response_rows(Command.ENQUIRE_LINK_RESP, run.sequences).tobytes())
            case command if command in BINDS:
                for row, sequence in zip(run.rows, run.sequences.tolist(), strict=True):
                    self._bind(Command(command), sequence, row[HEADER_LENGTH:].tobytes())
            case Command.UNBIND:
                self._bound = None
                self._write(response_rows(Command.UNBIND_RESP, run.sequences).tobytes())
                if self._transport is not None:
                    self._transport.close()
            case command if not command & RESPONSE:
                self._write(response_rows(Command.GENERIC_NACK, run.sequences, Status.RINVCMDID).tobytes())

    def _bind(self, command: Command, sequence: int, body: bytes) -> None:
        options = self._smsc.options
        status = Status.ROK
        try:
            bind = Bind.decode(body)
        except MalformedPdu:
            status = Status.RBINDFAIL
        else:
            if self._bound is not None:
                status = Status.RALYBND
            elif not hmac.compare_digest(bind.system_id.encode(), options.system_id.encode()):
                status = Status.RINVSYSID
            elif not hmac.compare_digest(bind.password.encode(), options.password.encode()):
                status = Status.RINVPASWD
        answer = b"" if status != Status.ROK else c_string("fenghuo-smsc", 16, "system_id")
        self._write(frame(command | RESPONSE, sequence, answer, status))
        if status == Status.ROK:
            self._bound = command
            self._smsc.pump_soon()
        elif status != Status.RALYBND and self._transport is not None:
            self._transport.close()

    def _submits(self, run: Run) -> None:
        smsc = self._smsc
        rows, sequences = run.rows, run.sequences
        if self._bound not in (Command.BIND_TRANSMITTER, Command.BIND_TRANSCEIVER):
            self._write(response_rows(Command.SUBMIT_SM_RESP, sequences, Status.RINVBNDSTS).tobytes())
            return
        now = asyncio.get_running_loop().time()
        if smsc.options.throttle:
            passing = smsc.pace.allowed(len(rows), now)
            refused = response_rows(Command.SUBMIT_SM_RESP, sequences[passing:], Status.RTHROTTLED)
            rows, sequences = rows[:passing], sequences[:passing]
        else:
            refused = None
        answers: list[Rows] = []
        while len(rows):
            count = _same_message(rows)
            answers.extend(self._take(rows[:count], sequences[:count]))
            rows, sequences = rows[count:], sequences[count:]
        # What the log does not hold must not be acknowledged: a killed SMSC would have lost it.
        smsc.log.flush()
        for answer in answers:
            self._answer(answer, paced=not smsc.options.throttle)
        if refused is not None and len(refused):
            self._answer(refused, paced=False)
        smsc.pump_soon()

    def _take(self, rows: Rows, sequences: Numbers) -> list[Rows]:
        """Take one message for the recipients of `rows`; returns the answers."""
        pdu = rows[0].tobytes()
        try:
            layout, message = Layout.of(pdu), ShortMessage.decode(pdu[HEADER_LENGTH:])
        except MalformedPdu:
            return [response_rows(Command.SUBMIT_SM_RESP, sequences, Status.RINVMSGLEN)]
        if layout.destination.start == layout.destination.stop:
            return [response_rows(Command.SUBMIT_SM_RESP, sequences, Status.RINVDSTADR)]
        addresses = as_strings(rows[:, layout.destination])
        good = all_digits(addresses)
        answers = []
        if not good.all():
            answers.append(response_rows(Command.SUBMIT_SM_RESP, sequences[~good], Status.RINVDSTADR))
            addresses, sequences = addresses[good], sequences[good]
        if len(addresses):
            names = [own.decode() for own in addresses.tolist()]
            try:
                ids = self._smsc.handsets.accept(message, names, self)
            except ValueError as error:
                _log.warning("smsc.message_unreadable", error=str(error))
                answers.append(response_rows(Command.SUBMIT_SM_RESP, sequences, Status.RINVMSGLEN))
            else:
                answers.append(response_rows(Command.SUBMIT_SM_RESP, sequences, ids=ids))
        return answers

    def _answer(self, rows: Rows, *, paced: bool) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        latency = self._smsc.options.latency
        at = 0
        for count, due in self._smsc.pace.slices(len(rows), now) if paced else [(len(rows), now)]:
            octets = rows[at : at + count].tobytes()
            at += count
            if due + latency <= now:
                self._write(octets)
            else:
                loop.call_at(due + latency, self._write, octets)

    def _answered(self, run: Run) -> None:
        told = [self._told.pop(sequence, None) for sequence in run.sequences.tolist()]
        for block, indexes in _grouped([own for own in told if own is not None]):
            self._smsc.handsets.told(block.part(indexes))
        self._smsc.pump_soon()

    def _write(self, octets: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)


def _same_message(rows: Rows) -> int:
    """How many of the first rows differ in nothing but destination address and sequence number."""
    if len(rows) == 1:
        return 1
    try:
        destination = Layout.of(rows[0].tobytes()).destination
    except MalformedPdu:
        return 1
    same = np.ones(rows.shape[1], np.bool_)
    same[12:16] = False
    same[destination] = False
    alike = (rows[:, same] == rows[0, same]).all(axis=1) & (rows[:, destination] != 0).all(axis=1)
    return max(1, leading(alike))


def _grouped(told: Iterable[tuple[Block, int]]) -> list[tuple[Block, NDArray[np.intp]]]:
    """Receipts by their block."""
    groups: dict[Block, list[int]] = {}
    for block, n in told:
        groups.setdefault(block, []).append(n)
    return [(block, np.array(indexes, np.intp)) for block, indexes in groups.items()]
