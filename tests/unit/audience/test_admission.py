"""Whom a message may reach at all: every status with every scope, written out a second time by hand."""

from __future__ import annotations

from itertools import product

import pytest

from broker.audience.admission import ADMITTED, admitted
from broker.cap.model import Scope, Status
from broker.types import Kind

EXPECTED = {
    "Actual Public": "public duty",
    "Actual Restricted": "duty",
    "Actual Private": "",
    "Exercise Public": "duty training",
    "Exercise Restricted": "duty training",
    "Exercise Private": "",
    "Test Public": "training",
    "Test Restricted": "training",
    "Test Private": "",
    "System Public": "",
    "System Restricted": "",
    "System Private": "",
    "Draft Public": "",
    "Draft Restricted": "",
    "Draft Private": "",
}


@pytest.mark.parametrize(("status", "scope"), [*product(Status, Scope)])
def test_a_status_and_a_scope_admit_exactly_the_kinds_of_the_table(status: Status, scope: Scope) -> None:
    reached = {kind.name.lower() for kind in admitted(status, scope)}
    assert reached == set(EXPECTED[f"{status} {scope}"].split())


def test_every_pair_of_the_standard_has_an_answer() -> None:
    assert set(ADMITTED) == set(product(Status, Scope))


def test_only_what_is_actual_and_public_reaches_the_public() -> None:
    assert [pair for pair, kinds in ADMITTED.items() if Kind.PUBLIC in kinds] == [(Status.ACTUAL, Scope.PUBLIC)]


def test_nothing_reaches_the_public_and_training_at_once() -> None:
    assert not [pair for pair, kinds in ADMITTED.items() if {Kind.PUBLIC, Kind.TRAINING} <= kinds]
