"""The departments and their authority: which senders, events, regions and levels (config/departments.yaml)."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from broker.errors import ConfigError, NotFound, Problem
from broker.geo.events import is_pattern, pattern_covers
from broker.yamlfile import load_yaml

Level = Literal["Red", "Orange", "Yellow", "Blue"]
RegionPrefix = Annotated[str, StringConstraints(pattern=r"^(\d{2}|\d{6}|\d{9}|\d{12})$")]


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class ReleaseMode(StrEnum):
    """What an accepted alert needs before it goes out."""

    NONE = "none"
    SECOND_PERSON = "second_person"
    MACHINE = "machine"
    """What a machine posts within its limits goes out at once; everything else needs a second person."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SignatureRule(_Strict):
    """What a department's signatures must be (CAP 1.2, 3.3.4.1: enveloped XML signatures)."""

    required: bool = False
    """Whether an alert without a signature is refused."""
    certificates: tuple[Path, ...] = ()
    """PEM files of the certificates whose keys sign for the department; relative ones from the file's folder."""

    @model_validator(mode="after")
    def _verifiable(self) -> Self:
        if self.required and not self.certificates:
            raise ValueError("signatures are required, but no certificate is named to verify them with")
        return self


class Bounds(_Strict):
    """Between what a measured value is plausible, both included."""

    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("min, max or both are needed")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")
        return self


class MachineLimits(_Strict):
    """What sensors and other machines may send without a person; all of it must hold."""

    events: Annotated[tuple[str, ...], Field(min_length=1)]
    """Event codes, or patterns such as `11B*`."""
    levels: Annotated[tuple[Level, ...], Field(min_length=1)]
    max_area_km2: Annotated[Number, Field(gt=0)]
    """Of all areas together; a geocode below a district counts as the whole district."""
    max_districts: Annotated[int, Field(ge=1, strict=True)]
    max_per_hour: Annotated[int, Field(ge=1, strict=True)]
    """Warnings that machines of the department post within an hour, this one included."""
    parameters: dict[str, Bounds] = Field(default_factory=dict)
    """CAP `parameter` values, by valueName, that every info must carry as a number within bounds."""

    @field_validator("events")
    @classmethod
    def _patterns(cls, events: tuple[str, ...]) -> tuple[str, ...]:
        return _checked(events)


class Department(_Strict):
    """One issuer and its authority. What is not listed is not allowed."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]
    name_zh: str
    name_en: str
    senders: Annotated[tuple[str, ...], Field(min_length=1)]
    """CAP `sender` values that are this department's."""
    sender_code: str | None = None
    """14-character code of the national platform (GB/T 35965.1)."""
    events: Annotated[tuple[str, ...], Field(min_length=1)]
    """Event codes, or patterns such as `11B*`."""
    regions: Annotated[tuple[RegionPrefix, ...], Field(min_length=1)]
    """Prefixes of the division codes that it may warn."""
    levels: Annotated[tuple[Level, ...], Field(min_length=1)]
    posture: Literal["strict"] = "strict"
    release: dict[Level, ReleaseMode] = Field(default_factory=dict)
    """By level; a level that is not named needs a second person."""
    machine: MachineLimits | None = None
    """Without them, whatever a machine posts waits for a second person."""
    signature: SignatureRule = SignatureRule()

    @field_validator("events")
    @classmethod
    def _patterns(cls, events: tuple[str, ...]) -> tuple[str, ...]:
        return _checked(events)

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if self.machine is None and ReleaseMode.MACHINE in self.release.values():
            raise ValueError("release says machine, so the limits of machines must stand under the key 'machine'")
        return self

    def release_mode(self, level: str | None) -> ReleaseMode:
        """What release asks for at a level; where nothing is said, a second person."""
        return next((mode for name, mode in self.release.items() if name == level), ReleaseMode.SECOND_PERSON)

    def may_warn_of(self, event: str) -> bool:
        """Whether the event code is this department's business."""
        return any(pattern_covers(pattern, event) for pattern in self.events)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The region prefixes, shortened to their significant digits."""
        return tuple(_significant(region) for region in self.regions)

    def covers(self, code: str) -> bool:
        """Whether a 12-digit division code lies in the department's regions."""
        return any(code.startswith(prefix) for prefix in self.prefixes)


class _File(_Strict):
    departments: tuple[Department, ...]


class Departments:
    """All departments by id."""

    def __init__(self, departments: tuple[Department, ...], place: str = "departments") -> None:
        self._by_id = {department.id: department for department in departments}
        problems = []
        senders: dict[str, str] = {}
        if len(self._by_id) != len(departments):
            problems.append(Problem(place, "departments.unique", "two departments have the same id"))
        for department in departments:
            for sender in department.senders:
                other = senders.setdefault(sender, department.id)
                if other != department.id:
                    message = f"sender {sender!r} belongs to {other} and to {department.id}"
                    problems.append(Problem(place, "departments.sender", message))
        if problems:
            raise ConfigError(problems)

    @classmethod
    def load(cls, path: Path) -> Departments:
        """From a YAML file; the certificates' paths are taken from its folder. Raises ConfigError."""
        folder = path.resolve().parent
        listed = load_yaml(path, _File).departments
        return cls(tuple(_resolved(department, folder) for department in listed), str(path))

    def __iter__(self) -> Iterator[Department]:
        """In the order of the file."""
        return iter(self._by_id.values())

    def get(self, department: str) -> Department:
        """Raises NotFound."""
        try:
            return self._by_id[department]
        except KeyError:
            known = ", ".join(self._by_id)
            raise NotFound(f"no department {department!r}; there are {known}") from None


def _checked(events: tuple[str, ...]) -> tuple[str, ...]:
    for event in events:
        if not is_pattern(event):
            raise ValueError(f"{event!r} is neither an event code nor a pattern such as 11B*")
    return events


def _resolved(department: Department, folder: Path) -> Department:
    rule = department.signature
    certificates = tuple((folder / path).resolve() for path in rule.certificates)
    return department.model_copy(update={"signature": rule.model_copy(update={"certificates": certificates})})


def _significant(code: str) -> str:
    """The digits of a division code that select: 500117000000 → 500117."""
    code = code.ljust(12, "0")
    if code[2:] == "0" * 10:
        return code[:2]
    for end in (6, 9):
        if code[end:] == "0" * (12 - end):
            return code[:end]
    return code
