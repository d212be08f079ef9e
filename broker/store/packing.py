"""Arrays as the store keeps them: little-endian bytes, whatever the machine."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

U1: Final = "<u1"
U2: Final = "<u2"
U4: Final = "<u4"
U8: Final = "<u8"
I8: Final = "<i8"
F8: Final = "<f8"


def pack(array: NDArray[Any], form: str) -> bytes:
    """The bytes of `array` in `form`."""
    return np.ascontiguousarray(array, form).tobytes()


def pack_optional(array: NDArray[Any] | None, form: str) -> bytes | None:
    """The same, where None stays None."""
    return None if array is None else pack(array, form)


def unpack(data: bytes, form: str) -> NDArray[Any]:
    """The array in `data`, read-only and without a copy."""
    return np.frombuffer(data, form)


def unpack_optional(data: bytes | None, form: str) -> NDArray[Any] | None:
    """The same, where None stays None."""
    return None if data is None else unpack(data, form)
