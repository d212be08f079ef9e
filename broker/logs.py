"""Structured logs: one event name per line, JSON on standard error, no secrets and no addresses.

Every line has `action` (what happened, a stable name) and, where they apply, `alert`, `batch`, `attempt`,
`channel`. Values under keys that could hold an address or a secret are dropped by a last guard.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import structlog

_SECRET_KEYS: Final = frozenset(
    {"address", "addresses", "phone", "number", "msisdn", "password", "token", "secret", "key", "authorization"}
)
_OWN_KEYS: Final = frozenset({"alert"})
"""Our own ids: one in a thousand holds digits like a phone number's and would no longer be found by its id."""
_HIDDEN: Final = (
    # A mobile number of ours however it is written, and anything that is written as an international number.
    (re.compile(r"(?<!\d)(?:\+?86[ -]?)?1\d{2}[ -]?\d{4}[ -]?\d{4}(?!\d)|\+[1-9]\d{6,14}(?!\d)"), "***"),
    # A bearer token of a department.
    (re.compile(r"\bfh_[A-Za-z0-9_-]{20,}"), "fh_***"),
    # The name and the password in an address.
    (re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*@"), "***@"),
)


def scrub(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last guard: drop what is named like a secret, mask what looks like a phone number or a password.

    Looks into lists and tables too; anything else that is not a number or a truth value is taken as its text.
    """
    for key, value in event.items():
        if key not in _OWN_KEYS:
            event[key] = _clean(key, value)
    return event


def _clean(key: str, value: Any) -> Any:
    if key.lower() in _SECRET_KEYS:
        return "***"
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if _mask(str(value)) == str(value) else "***"
    if isinstance(value, Mapping):
        return {_mask(str(name)): _clean(str(name), part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(key, part) for part in value]
    return _mask(value if isinstance(value, str) else str(value))


def _mask(text: str) -> str:
    for pattern, instead in _HIDDEN:
        text = pattern.sub(instead, text)
    return text


def configure(level: str = "info", *, pretty: bool = False) -> None:
    """Set up structlog and the standard library's logging for a process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("action"),
        scrub,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(event_key="action", colors=sys.stderr.isatty())
        if pretty
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    numeric = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared[:-2],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.EventRenamer("action"),
                scrub,
                renderer,
            ],
        )
    )
    logging.basicConfig(level=max(numeric, logging.WARNING), handlers=[handler], force=True)


def get(**bound: Any) -> structlog.typing.FilteringBoundLogger:
    """A logger with `bound` on every line."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**bound)
    return logger
