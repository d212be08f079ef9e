"""What may import what: the ground nobody, a step the ground and the steps before it, channels the ground."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GROUND = {
    f"broker.{name}"
    for name in (
        "cap",
        "clock",
        "errors",
        "geo",
        "ledger",
        "logs",
        "metrics",
        "mqtt",
        "ports",
        "privately",
        "sealing",
        "signing",
        "store",
        "transport",
        "types",
        "webaddress",
        "yamlfile",
    )
}
STEPS = ["intake", "release", "audience", "rendition", "dispatch", "tracking"]
"""In the order of the way: each may import those before it."""
FACES = {"broker.api", "broker.callbacks", "broker.dashboard", "broker.feeds"}
KNOW_EVERYTHING = {
    "broker.api_role",
    "broker.app",
    "broker.cli",
    "broker.commands",
    "broker.demo",
    "broker.planning",
    "broker.settings",
    "broker.world",
}
"""They put the parts together; nobody but they (and the load tests) may know the whole."""
CHANNELS = ["app", "broadcast", "signage", "sms"]


def part_of(module: str) -> str:
    """The part that a module belongs to: `broker.store.sql` → `broker.store`."""
    return ".".join(module.split(".")[:2])


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """(module, line) of everything that a file imports, wherever in it."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(word for word in (base, node.module) if word)
            if module in ("broker", "channels"):
                yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


@lru_cache
def imports(top: str) -> tuple[tuple[str, str, str], ...]:
    """(part, imported part, place) for every import of one part of the project by another."""
    found = []
    for path in sorted((ROOT / top).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for name, line in imported(path):
            if name.split(".")[0] in ("broker", "channels", "loadtest", "tests") and part_of(name) != part_of(
                module
            ):
                found.append((part_of(module), part_of(name), f"{path.relative_to(ROOT)}:{line} imports {name}"))
    return tuple(found)


def offences(top: str, of: str, allowed: set[str]) -> list[str]:
    return [place for part, target, place in imports(top) if part == of and target not in allowed]


def parts(top: str) -> set[str]:
    found = {f"{top}.{path.name}" for path in (ROOT / top).iterdir() if (path / "__init__.py").exists()}
    return found | {f"{top}.{path.stem}" for path in (ROOT / top).glob("*.py") if path.stem != "__init__"}


def test_every_part_of_the_broker_has_its_place_in_these_rules() -> None:
    steps = {f"broker.{step}" for step in STEPS}
    assert parts("broker") == GROUND | steps | FACES | KNOW_EVERYTHING


def test_these_rules_see_imports_at_all() -> None:
    seen = {(part, target) for part, target, _ in imports("broker")}
    assert {
        ("broker.tracking", "broker.release"),
        ("broker.dispatch", "broker.audience"),
        ("broker.commands", "broker.demo"),  # imported within a function
        ("broker.settings", "channels.sms"),
        ("broker.tracking", "broker.logs"),  # from broker import logs
    } <= seen


@pytest.mark.parametrize("ground", sorted(GROUND))
def test_the_ground_imports_only_the_ground(ground: str) -> None:
    assert offences("broker", ground, GROUND) == []


@pytest.mark.parametrize("step", STEPS)
def test_a_step_imports_the_ground_and_the_steps_before_it(step: str) -> None:
    before = {f"broker.{earlier}" for earlier in STEPS[: STEPS.index(step)]}
    assert offences("broker", f"broker.{step}", GROUND | before) == []


@pytest.mark.parametrize("face", sorted(FACES))
def test_a_face_imports_the_ground_the_steps_and_other_faces(face: str) -> None:
    assert offences("broker", face, GROUND | FACES | {f"broker.{step}" for step in STEPS}) == []


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_channel_imports_the_ground_and_what_channels_share(channel: str) -> None:
    shared = {f"channels.{name}" for name in ("channel", "mailbox", "simulating")}
    assert offences("channels", f"channels.{channel}", GROUND | shared) == []


@pytest.mark.parametrize("part", ["channel", "holding", "mailbox", "pacing", "simulating", "stops", "worker"])
def test_what_channels_share_knows_no_channel(part: str) -> None:
    shared = {f"channels.{name}" for name in ("channel", "holding", "pacing", "simulating", "stops")}
    assert offences("channels", f"channels.{part}", GROUND | shared) == []


def test_every_part_of_the_channels_has_its_place_in_these_rules() -> None:
    shared = ["channel", "holding", "mailbox", "pacing", "simulating", "stops", "worker"]
    assert parts("channels") == {f"channels.{name}" for name in (*CHANNELS, *shared)}


def test_only_those_who_put_the_parts_together_know_channels_and_each_other() -> None:
    strangers = [
        place
        for part, target, place in imports("broker")
        if part not in KNOW_EVERYTHING and (target in KNOW_EVERYTHING or target.startswith("channels."))
    ]
    assert strangers == []


def test_the_product_imports_no_tests_and_no_load_tests() -> None:
    found = [
        place
        for top in ("broker", "channels")
        for _, target, place in imports(top)
        if target.startswith(("tests", "loadtest"))
    ]
    assert found == []


def test_no_module_is_longer_than_six_hundred_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): n
        for top in ("broker", "channels", "loadtest", "tests")
        for path in (ROOT / top).rglob("*.py")
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert long == {}
