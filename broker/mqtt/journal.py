"""What the embedded MQTT server promises to keep: sessions, and messages not yet acknowledged by their readers.

An append-only file of checked records. A record of a message is on the disk (fdatasync, one for all that came
meanwhile) before its publisher gets the PUBACK; acknowledgements of readers are only written, for losing one
costs no more than a repetition, which QoS 1 allows. At start the file is read back, a torn tail is cut off,
and what still matters is written anew.

A record is `length (4) | CRC-32 of the body (4) | body`; a body begins with its kind.
"""

from __future__ import annotations

import asyncio
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker.errors import FenghuoError

_HEAD: Final = struct.Struct("<II")
_CLIENT: Final = struct.Struct("<cI")
_FILTER: Final = struct.Struct("<cIB")
_MESSAGE: Final = struct.Struct("<cQHI")
_ACK: Final = struct.Struct("<cIQ")
MAGIC: Final = b"FHMQ1\n"


class JournalError(FenghuoError):
    """The journal of the MQTT server could not be written or is not one."""


@dataclass(slots=True)
class Stored:
    """A session as the journal knows it."""

    index: int
    filters: dict[str, int] = field(default_factory=dict)
    pending: dict[int, None] = field(default_factory=dict)
    """Ids of messages not yet acknowledged, oldest first."""


@dataclass(slots=True)
class Recovered:
    """Everything that a journal held."""

    sessions: dict[str, Stored] = field(default_factory=dict)
    messages: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    """Topic and payload by message id, of messages that some session still waits for."""
    next_message: int = 1
    next_index: int = 1


def client_record(index: int, name: str) -> bytes:
    """A session begins (again): earlier ones of this name are forgotten."""
    return _CLIENT.pack(b"C", index) + name.encode()


def gone_record(index: int) -> bytes:
    """A session and all that waits for it are given up."""
    return _CLIENT.pack(b"D", index)


def filter_record(index: int, name: str, qos: int) -> bytes:
    """A subscription."""
    return _FILTER.pack(b"S", index, qos) + name.encode()


def unfilter_record(index: int, name: str) -> bytes:
    """A subscription ends."""
    return _FILTER.pack(b"U", index, 0) + name.encode()


def message_record(number: int, topic: str, payload: bytes, readers: Iterable[int]) -> bytes:
    """A message with the sessions that shall get it."""
    name, indexes = topic.encode(), list(readers)
    head = _MESSAGE.pack(b"M", number, len(name), len(indexes))
    return head + struct.pack(f"<{len(indexes)}I", *indexes) + name + payload


def ack_record(index: int, number: int) -> bytes:
    """A session has acknowledged a message, or is no longer to get it."""
    return _ACK.pack(b"A", index, number)


class Journal:
    """Writes records in groups. Without a path nothing is kept and everything counts as durable."""

    def __init__(self, path: Path | None, *, sync: bool = True) -> None:
        self._path = path
        self._sync = sync
        self._file = -1
        self._buffer: list[bytes] = []
        self._waiting: list[Callable[[], None]] = []
        self._running: asyncio.Task[None] | None = None
        self.failure: Exception | None = None
        """Why nothing can be kept any more; from then on nothing is confirmed."""
        self.on_failure: Callable[[], None] = lambda: None

    def open(self) -> Recovered:
        """Read what there is, write it anew without what is over, and be ready. Raises JournalError."""
        if self._path is None:
            return Recovered()
        try:
            found = read(self._path)
            part = self._path.with_name(self._path.name + ".part")
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(MAGIC)
                for body in _living(found):
                    file.write(_sealed(body))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise JournalError(f"{self._path}: {error.strerror}") from error
        return found

    def append(self, body: bytes) -> None:
        """Write a record soon, in order."""
        if self._path is not None:
            self._buffer.append(_sealed(body))
            self._start()

    def when_kept(self, then: Callable[[], None]) -> None:
        """Call `then` once everything appended so far is kept; never, if it cannot be."""
        self._waiting.append(then)
        self._start()

    def _start(self) -> None:
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while (self._buffer or self._waiting) and self.failure is None:
            data, waiting = b"".join(self._buffer), self._waiting
            self._buffer, self._waiting = [], []
            try:
                _write_all(self._file, data)
                if self._sync and waiting and self._file >= 0:
                    await loop.run_in_executor(None, os.fdatasync, self._file)
            except OSError as error:
                self.failure = error
                self.on_failure()
                break
            for then in waiting:
                then()
        self._running = None

    async def close(self) -> None:
        """Write what is left and close the file."""
        while self._running is not None:
            await asyncio.wait([self._running])
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read(path: Path) -> Recovered:
    """What a journal file holds; reading ends at the first torn record. Raises JournalError, OSError."""
    found = Recovered()
    if not path.exists():
        return found
    data = path.read_bytes()
    if data and not data.startswith(MAGIC) and not MAGIC.startswith(data):
        raise JournalError(f"{path} is not a journal of the MQTT server")
    names: dict[int, str] = {}
    for body in _bodies(data):
        _apply(found, names, body)
    wanted = {number for session in found.sessions.values() for number in session.pending}
    found.messages = {number: found.messages[number] for number in sorted(wanted)}
    return found


def _bodies(data: bytes) -> Iterator[bytes]:
    at = len(MAGIC)
    while at + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(body) < length or not body or zlib.crc32(body) != check:
            return
        yield body
        at += _HEAD.size + length


def _apply(found: Recovered, names: dict[int, str], body: bytes) -> None:
    kind = body[:1]
    if kind == b"M":
        _, number, length, count = _MESSAGE.unpack_from(body)
        indexes = struct.unpack_from(f"<{count}I", body, _MESSAGE.size)
        at = _MESSAGE.size + 4 * count
        found.messages[number] = (body[at : at + length].decode(), body[at + length :])
        found.next_message = max(found.next_message, number + 1)
        for index in indexes:
            if index in names:
                found.sessions[names[index]].pending[number] = None
        return
    if kind == b"A":
        _, index, number = _ACK.unpack_from(body)
        if index in names:
            found.sessions[names[index]].pending.pop(number, None)
        return
    index = int.from_bytes(body[1:5], "little")
    if kind == b"C":
        name = body[_CLIENT.size :].decode()
        earlier = found.sessions.get(name)
        if earlier is not None:
            names.pop(earlier.index, None)
        names[index] = name
        found.sessions[name] = Stored(index)
        found.next_index = max(found.next_index, index + 1)
    elif index not in names:
        return
    elif kind == b"D":
        del found.sessions[names.pop(index)]
    elif kind == b"S":
        found.sessions[names[index]].filters[body[_FILTER.size :].decode()] = body[5]
    elif kind == b"U":
        found.sessions[names[index]].filters.pop(body[_FILTER.size :].decode(), None)


def _living(found: Recovered) -> Iterator[bytes]:
    readers: dict[int, list[int]] = {}
    for name, session in found.sessions.items():
        yield client_record(session.index, name)
        for topics, qos in session.filters.items():
            yield filter_record(session.index, topics, qos)
        for number in session.pending:
            readers.setdefault(number, []).append(session.index)
    for number, (topic, payload) in found.messages.items():
        yield message_record(number, topic, payload, readers[number])


def _sealed(body: bytes) -> bytes:
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view and file >= 0:
        view = view[os.write(file, view) :]
