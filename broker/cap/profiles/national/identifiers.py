"""Identifiers of the national format: who, and the second, and which of several in that second."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from broker.cap import values

BEIJING = timezone(timedelta(hours=8))
"""China Standard Time, the zone of every time without an offset in an identifier or a file name."""

_SENDER_CODE = re.compile(r"[0-9]{9}[0-9A-Z]{5}")
_IDENTIFIER = re.compile(r"([0-9]{9}[0-9A-Z]{5})_([0-9]{14})(?:_([0-9]))?")


def is_sender_code(text: str) -> bool:
    """Whether `text` is ZZZZZZDDDUUUXX: division, kind of organisation, unit, extension (GB/T 35965.1)."""
    return _SENDER_CODE.fullmatch(text) is not None


def digits_of(moment: datetime) -> str:
    """`yyyyMMddHHmmss` in Beijing time."""
    return moment.astimezone(BEIJING).strftime("%Y%m%d%H%M%S").zfill(14)


@dataclass(frozen=True, slots=True)
class NationalIdentifier:
    """`ZZZZZZDDDUUUXX_YYYYMMDDhhmmss[_N]` (GB/T 35965.1).

    `moment` is aware, in Beijing time, to the second; `serial`, 0 to 9, tells messages of one unit and one
    second apart.
    """

    sender_code: str
    moment: datetime
    serial: int | None = None

    @property
    def text(self) -> str:
        """The identifier as it is written: 29 characters, or 31 with a serial."""
        serial = "" if self.serial is None else f"_{self.serial}"
        return f"{self.sender_code}_{digits_of(self.moment)}{serial}"

    @property
    def sent(self) -> str:
        """The moment as CAP 1.2 writes it."""
        return self.moment.astimezone(BEIJING).isoformat()

    @classmethod
    def parse(cls, text: str) -> NationalIdentifier | None:
        """Read an identifier; None when it has another structure or its digits are no time."""
        match = _IDENTIFIER.fullmatch(text)
        if match is None:
            return None
        year, rest = match[2][:4], [match[2][at : at + 2] for at in range(4, 14, 2)]
        month, day, *clock = rest
        moment = values.parse_time(f"{year}-{month}-{day}T{':'.join(clock)}+08:00")
        if moment is None:
            return None
        return cls(match[1], moment.astimezone(BEIJING), None if match[3] is None else int(match[3]))
