"""Every error that Fenghuo raises on purpose.

FenghuoError
├── ConfigError            a file of configuration, policies or templates is wrong; lists every problem
├── InputRefused           what came from outside is refused; lists every problem (HTTP 4xx)
├── NotAllowed             the caller may not do this (HTTP 401/403)
├── NotFound               no such thing (HTTP 404)
├── Conflict               the thing is in another state than the call supposes (HTTP 409)
├── StoreError             the durable state could not be read or written
│   └── ClaimLost          another worker has taken over the claim
├── TransportError         the queues could not take or give a message
│   └── Unroutable         no queue for this message
└── ChannelError           a channel cannot work at all (not: one recipient failed)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where it is, and the rule that it breaks."""

    place: str
    """Where: `file:line`, an XPath, a JSON Pointer, a CSV line, a header."""
    rule: str
    """Stable id of the rule, e.g. `cap.polygon.closed`."""
    message: str
    value: str | None = None

    def __str__(self) -> str:
        """Render as one line for terminals and logs."""
        return f"{self.place}: {self.message} [{self.rule}]"


class FenghuoError(Exception):
    """Base of all errors; a class's docstring is its default message, so that none is ever empty."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or type(self).__name__).strip())


class ProblemsError(FenghuoError):
    """Something has one or more problems, all of them listed."""

    def __init__(self, problems: list[Problem], message: str | None = None) -> None:
        self.problems = problems
        super().__init__(message or "\n".join(str(problem) for problem in problems) or None)


class ConfigError(ProblemsError):
    """The configuration is wrong."""


class InputRefused(ProblemsError):
    """The input is refused."""

    def __init__(self, problems: list[Problem], message: str | None = None, *, status: int = 422) -> None:
        self.status = status
        super().__init__(problems, message)


class NotAllowed(FenghuoError):
    """Not allowed."""


class NotFound(FenghuoError):
    """Not found."""


class Conflict(FenghuoError):
    """The request conflicts with the present state."""


class StoreError(FenghuoError):
    """The store failed."""


class ClaimLost(StoreError):
    """Another worker holds this claim now."""


class TransportError(FenghuoError):
    """The transport failed."""


class Unroutable(TransportError):
    """No queue takes this message."""


class ChannelError(FenghuoError):
    """The channel cannot work."""
