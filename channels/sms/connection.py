"""One SMPP connection as an ESME: framing, bind, link test, and what arrives, handed on in runs."""

from __future__ import annotations

import asyncio
import struct
from typing import Protocol, cast

import structlog

from channels.sms.bulk import Numbers, Run, Splitter, response_rows
from channels.sms.pdu import (
    RESPONSE,
    Bind,
    Command,
    MalformedPdu,
    Status,
    frame,
)
from channels.sms.receipts import ReceiptRun, read_receipts

_log = structlog.get_logger("channels.sms")


class Receiver(Protocol):
    """What a connection tells its owner."""

    def answers(self, run: Run) -> None:
        """Answers to submits arrived (submit_sm_resp or generic_nack)."""
        ...

    def deliveries(self, receipts: ReceiptRun, connection: Connection) -> None:
        """Messages arrived; the owner answers each by `connection.accept`."""
        ...

    def changed(self) -> None:
        """Writing became possible again, or the connection ended."""
        ...


class Connection(asyncio.Protocol):
    """A TCP connection to an SMSC that is bound or about to be."""

    def __init__(self, receiver: Receiver) -> None:
        loop = asyncio.get_running_loop()
        self._receiver = receiver
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None
        self._bind_answer: asyncio.Future[int] = loop.create_future()
        self._paused = False
        self.lost: asyncio.Future[None] = loop.create_future()
        self.last_heard = loop.time()
        self.bound = False

    @property
    def writable(self) -> bool:
        """Whether submits may be written now."""
        return self.bound and not self._paused

    async def bind(self, sequence: int, bind: Bind) -> int:
        """Ask for a transceiver bind and return the command_status of the answer.

        Raises ConnectionError if the connection ends first.
        """
        self.write(frame(Command.BIND_TRANSCEIVER, sequence, bind.encode()))
        status = await self._bind_answer
        self.bound = status == Status.ROK
        return status

    def write(self, data: bytes) -> None:
        """Send octets; they are lost if the connection is."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def accept(self, sequences: Numbers, status: int = Status.ROK) -> None:
        """Answer deliver_sm (§4.6.2: message_id is unused and empty)."""
        if len(sequences):
            self.write(response_rows(Command.DELIVER_SM_RESP, sequences, status, body=b"\0").tobytes())

    def enquire(self, sequence: int) -> None:
        """Ask whether the far end is alive; whatever it sends next says so."""
        self.write(frame(Command.ENQUIRE_LINK, sequence))

    async def unbind(self, sequence: int, within: float) -> None:
        """Leave politely, wait at most `within` seconds for the far end to agree, and close."""
        self.bound = False
        self.write(frame(Command.UNBIND, sequence))
        await asyncio.wait([self.lost], timeout=within)
        self.abort()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        if exc is not None:
            _log.warning("sms.connection_broken", error=type(exc).__name__)
        self.bound = False
        if not self._bind_answer.done():
            self._bind_answer.set_exception(ConnectionResetError("the connection ended before the bind"))
            self._bind_answer.exception()  # nobody may be waiting any more
        if not self.lost.done():
            self.lost.set_result(None)
        self._receiver.changed()

    def pause_writing(self) -> None:
        """Part of asyncio.Protocol."""
        self._paused = True

    def resume_writing(self) -> None:
        """Part of asyncio.Protocol."""
        self._paused = False
        self._receiver.changed()

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        self.last_heard = asyncio.get_running_loop().time()
        try:
            for run in self._splitter.feed(data):
                self._dispatch(run)
        except (MalformedPdu, struct.error) as error:
            # After a wrong length nothing in the stream can be trusted; a new connection starts clean.
            _log.error("sms.stream_malformed", error=str(error))
            self.abort()

    def _dispatch(self, run: Run) -> None:
        match run.command:
            case Command.SUBMIT_SM_RESP | Command.GENERIC_NACK if self.bound:
                self._receiver.answers(run)
            case Command.DELIVER_SM:
                for receipts in read_receipts(run):
                    self._receiver.deliveries(receipts, self)
            case Command.BIND_TRANSCEIVER_RESP | Command.GENERIC_NACK:
                if not self._bind_answer.done():
                    self._bind_answer.set_result(int(run.statuses[0]))
            case Command.ENQUIRE_LINK:
                self.write(response_rows(Command.ENQUIRE_LINK_RESP, run.sequences).tobytes())
            case Command.ENQUIRE_LINK_RESP:
                pass  # hearing anything at all was the answer
            case Command.UNBIND:
                self.bound = False
                self.write(response_rows(Command.UNBIND_RESP, run.sequences).tobytes())
                self._close()
            case Command.UNBIND_RESP:
                self._close()
            case command if not command & RESPONSE:
                self.write(response_rows(Command.GENERIC_NACK, run.sequences, Status.RINVCMDID).tobytes())
            case command:
                _log.warning("sms.answer_unexpected", command=f"{command:#010x}")

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
