"""Structured logs: one event name per line, JSON on standard error, no secrets and no addresses.

Every line has `action` (what happened, a stable name) and, where they apply, `alert`, `batch`, `attempt`,
`channel`. Values under keys that could hold an address or a secret are dropped by a last guard.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

_SECRET_KEYS: Final = frozenset(
    {"address", "addresses", "phone", "number", "msisdn", "password", "token", "secret", "key", "authorization"}
)
_PHONE: Final = re.compile(r"(?<!\d)(?:\+?86)?1\d{10}(?!\d)")


def scrub(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last guard: drop what is named like a secret, mask what looks like a phone number."""
    for key, value in event.items():
        if key.lower() in _SECRET_KEYS:
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = _PHONE.sub("***", value)
    return event


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
