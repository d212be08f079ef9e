"""Configuration files in YAML: read with line numbers, checked against a model, every problem said with its place.

What YAML 1.1 does behind a writer's back is refused rather than repaired: a key that comes twice, a tag that
would build an object, a date or number where a text is meant.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from broker.errors import ConfigError, Problem

Model = TypeVar("Model", bound=BaseModel)
Path_ = tuple[str | int, ...]
"""Where in a document: keys and positions from the top down."""

_CLOSE: Final = 0.6
_QUOTED: Final = re.compile(r"'([^']*)'")
_DEEPEST: Final = 64


@dataclass(slots=True)
class Document:
    """A YAML file as plain data, and the line on which everything in it stands."""

    name: str
    data: Any
    lines: dict[Path_, int] = field(default_factory=dict)

    def place(self, *path: str | int) -> str:
        """`file:line` of the thing at `path`, or of the nearest thing around it that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.name}:{self.lines.get(path, 1)}"

    def validate(self, model: type[Model]) -> Model:
        """The document as `model`. Raises ConfigError with every problem, each at its line."""
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            details = error.errors(include_url=False)
            problems = [self._problem(model, detail) for detail in details if not _echoes(detail, details)]
            raise ConfigError(sorted(problems, key=_by_line)) from error

    def _problem(self, model: type[BaseModel], detail: ErrorDetails) -> Problem:
        path = self._path_in_file(detail["loc"])
        rule = f"yaml.{detail['type']}"
        given = detail["input"]
        where = _written(path)
        match detail["type"]:
            case "extra_forbidden":
                known = _keys_of(model, path[:-1])
                message = f"unknown key {str(path[-1])!r}{_in(path[:-1])}{suggestion(str(path[-1]), known)}"
                if known:
                    message += f"; known keys: {', '.join(sorted(known))}"
            case "missing":
                message = f"the key {str(path[-1])!r} is missing{_in(path[:-1])}"
            case "enum" | "literal_error":
                allowed = _QUOTED.findall(str(detail.get("ctx", {}).get("expected", "")))
                message = f"{given!r} is not a value of {where}{suggestion(str(given), allowed)}"
                message += f"; allowed: {', '.join(allowed)}" if allowed else ""
            case "string_type" if isinstance(given, bool | int | float | date):
                message = f"{where} must be a text; put {given!s} in quotes, else YAML reads it as something else"
            case "value_error" | "assertion_error":
                message = f"{where}: {detail.get('ctx', {}).get('error', detail['msg'])}"
            case "tuple_type" | "list_type" | "set_type" | "frozen_set_type":
                message = f"{where} must be a list"
            case "model_type" | "dict_type" | "model_attributes_type":
                message = f"{where} must hold keys and values"
            case "too_short":
                message = f"{where} must not be empty"
            case _:
                message = f"{where}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
        value = str(given) if isinstance(given, str | int | float) else None
        return Problem(self.place(*path), rule, message, value)

    def _path_in_file(self, location: tuple[int | str, ...]) -> Path_:
        """The location without what pydantic adds to it for unions; the last word stays, it may be missing."""
        path: Path_ = ()
        for position, part in enumerate(location):
            last = position == len(location) - 1
            if (*path, part) in self.lines or (last and not self._is_leaf(path)):
                path = (*path, part)
        return path or tuple(location)

    def _is_leaf(self, path: Path_) -> bool:
        """Whether nothing can stand below `path` in this file."""
        here = self.data
        for part in path:
            here = here[part]
        return not isinstance(here, Mapping)


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read `path` as `model`. Raises ConfigError with every problem as `file:line`."""
    return read_yaml(path).validate(model)


def read_yaml(path: Path) -> Document:
    """Read a YAML file into plain data with line numbers. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), "yaml.encoding", f"not UTF-8 at byte {error.start}")]) from error
    except OSError as error:
        raise ConfigError([Problem(str(path), "yaml.file", f"cannot be read: {error.strerror}")]) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Document:
    """Read YAML text; `name` stands for the file in problems. Raises ConfigError."""
    loader: Any = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        reading = _Reading(name, loader)
        data = reading.value(root, (), frozenset()) if root is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError([Problem(f"{name}:{line}", "yaml.syntax", f"not YAML: {said}")]) from error
    except yaml.YAMLError as error:
        said = str(error).splitlines()[0]
        raise ConfigError([Problem(f"{name}:1", "yaml.syntax", f"not YAML: {said}")]) from error
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(data, dict):
        reading.problems.append(Problem(f"{name}:1", "yaml.mapping", "the file must hold keys and values"))
    if reading.problems:
        raise ConfigError(sorted(reading.problems, key=_by_line))
    return Document(name, data, reading.lines)


class _Reading:
    """Turns YAML's nodes into plain data, remembering lines and collecting what is refused."""

    def __init__(self, name: str, loader: Any) -> None:
        self._name = name
        self._loader = loader
        self.lines: dict[Path_, int] = {}
        self.problems: list[Problem] = []

    def value(self, node: Any, path: Path_, above: frozenset[int]) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in above or len(path) > _DEEPEST:
            self._refuse(node, "yaml.depth", "an alias leads back into itself, or the nesting is too deep")
            return None
        inside = above | {id(node)}
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i), inside) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, inside)
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
            self._refuse(node, "yaml.tag", f"the tag {node.tag} is not allowed here")
            return None
        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self._refuse(node, "yaml.value", f"{node.value!r} cannot be read: {str(error).splitlines()[0]}")
            return None

    def _mapping(self, node: Any, path: Path_, inside: frozenset[int]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        first_line: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                self._refuse(key_node, "yaml.key", "a key must be a plain text")
                continue
            key = str(key_node.value)
            if key in found:
                message = f"the key {key!r} comes twice; it stands first on line {first_line[key]}"
                self._refuse(key_node, "yaml.duplicate_key", message)
                continue
            first_line[key] = line
            self.lines[(*path, key)] = line
            found[key] = self.value(value_node, (*path, key), inside)
        return found

    def _refuse(self, node: Any, rule: str, message: str) -> None:
        self.problems.append(Problem(f"{self._name}:{node.start_mark.line + 1}", rule, message))


def suggestion(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` when one of the known words is close to `word`; otherwise nothing."""
    by_folded = {name.casefold(): str(name) for name in known}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=_CLOSE)
    return f", did you mean {by_folded[close[0]]!r}?" if close else ""


def _keys_of(model: type[BaseModel], path: Sequence[str | int]) -> set[str]:
    """The keys that the model knows at `path`; empty where the path leads to no model."""
    annotation: Any = model
    for part in path:
        annotation = _step(annotation, part)
    found = _models_in(annotation)
    return {info.alias or name for each in found for name, info in each.model_fields.items()}


def _step(annotation: Any, part: str | int) -> Any:
    """The annotation of what stands under `part`."""
    for model in _models_in(annotation):
        for name, info in model.model_fields.items():
            if part in (name, info.alias):
                return info.annotation
    for candidate in _alternatives(annotation):
        arguments = get_args(candidate)
        if not arguments or get_origin(candidate) is Literal:
            continue
        if isinstance(part, str) and len(arguments) == 2 and _is_mapping(candidate):
            return arguments[1]
        if isinstance(part, int):
            return arguments[0]
    return None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    return [each for each in _alternatives(annotation) if isinstance(each, type) and issubclass(each, BaseModel)]


def _alternatives(annotation: Any) -> list[Any]:
    """The members of a union (Annotated unpacked); a single annotation alone."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [inner for part in get_args(annotation) for inner in _alternatives(part)]
    return [annotation]


def _is_mapping(annotation: Any) -> bool:
    origin: Hashable = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _echoes(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """Whether a list is called too short only because its items were refused, which is said already."""
    here = detail["loc"]
    return detail["type"] == "too_short" and any(
        other["loc"][: len(here)] == here and len(other["loc"]) > len(here) for other in details
    )


def _written(path: Path_) -> str:
    """The path as people write it: rules[2].match.levels."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "the file"


def _in(path: Path_) -> str:
    return f" in {_written(path)}" if path else ""


def _by_line(problem: Problem) -> tuple[str, int]:
    name, _, line = problem.place.rpartition(":")
    return name, int(line) if line.isdigit() else 0
