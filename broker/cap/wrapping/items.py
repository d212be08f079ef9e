"""What comes out of a wrapping: alerts as bytes of their own, links to alerts, and findings."""

from __future__ import annotations

from dataclasses import dataclass

from broker.cap.findings import Finding


@dataclass(frozen=True, slots=True)
class Link:
    """Where an alert can be fetched, and what the wrapping says of it; nothing here is verified.

    `href` is absolute wherever the wrapping or the caller gave a base. `updated` is kept as written: RFC 3339
    in Atom, RFC 822 in RSS.
    """

    href: str
    title: str | None = None
    updated: str | None = None
    id: str | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class Wrapped:
    """One alert of a wrapping, or the link to one.

    `data` is a document of its own; None when there is only `link`. `exact` says that it is, byte for byte, what
    stood in the wrapping, so that a signature over it verifies as it did before; where it is False a finding
    says what had to be rewritten. `place` is where it stood, `line` the line there, counted from 1.
    """

    place: str
    line: int
    data: bytes | None
    exact: bool = False
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """Everything in a document, in order, and what is wrong with the wrapping itself.

    `form` is `alert`, `json`, `atom`, `rss`, `edxl-de` or `list`; `alert` also stands for whatever cannot be
    taken apart, for whoever reads the alert will say why.
    """

    form: str
    items: tuple[Wrapped, ...]
    findings: tuple[Finding, ...]

    @property
    def alerts(self) -> tuple[Wrapped, ...]:
        """The items that are there as bytes."""
        return tuple(item for item in self.items if item.data is not None)

    @property
    def links(self) -> tuple[Link, ...]:
        """The links of the items that have to be fetched."""
        return tuple(item.link for item in self.items if item.data is None and item.link is not None)
