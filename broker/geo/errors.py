"""What can go wrong with places: data that contradicts itself, codes nobody knows, shapes that enclose nothing."""

from __future__ import annotations

from broker.errors import ConfigError, NotFound, Problem, ProblemsError


class GeoDataError(ConfigError):
    """A file of regions, polygons or event codes is wrong; `problems` lists everything with file:line."""


class UnknownRegion(NotFound):
    """No division has this code; `nearest` are the codes that the sender may have meant."""

    def __init__(self, code: str, reason: str, nearest: tuple[str, ...] = (), hint: str = "") -> None:
        self.code = code
        self.reason = reason
        self.nearest = nearest
        super().__init__(f"region {code!r}: {reason}{f'; nearest known: {hint}' if hint else ''}")


class UnknownEvent(NotFound):
    """No event has this code or name; `nearest` are the ones that look like it."""

    def __init__(self, given: str, nearest: tuple[str, ...] = ()) -> None:
        self.given = given
        self.nearest = nearest
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(f"event {given!r} is not in the catalogue{hint}")


class ShapeError(ProblemsError):
    """A polygon or circle cannot be used for targeting; `problems` says all that is wrong with it."""

    def __init__(self, place: str, complaints: list[str]) -> None:
        super().__init__([Problem(place, "cap.area.shape", complaint) for complaint in complaints])
