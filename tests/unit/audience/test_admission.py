from __future__ import annotations

import pytest

from broker.audience.admission import ADMITTED, admitted
from broker.cap.model import Status
from broker.types import Kind

EXPECTED = {
    ("Actual", "PUBLIC"): True,
    ("Actual", "DUTY"): True,
    ("Actual", "TRAINING"): False,
    ("Exercise", "PUBLIC"): False,
    ("Exercise", "DUTY"): True,
    ("Exercise", "TRAINING"): True,
    ("Test", "PUBLIC"): False,
    ("Test", "DUTY"): False,
    ("Test", "TRAINING"): True,
    ("System", "PUBLIC"): False,
    ("System", "DUTY"): False,
    ("System", "TRAINING"): False,
    ("Draft", "PUBLIC"): False,
    ("Draft", "DUTY"): False,
    ("Draft", "TRAINING"): False,
}


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("kind", Kind)
def test_a_status_admits_exactly_the_kinds_of_the_table(status: Status, kind: Kind) -> None:
    assert (kind in admitted(status)) is EXPECTED[status.value, kind.name]


def test_every_status_of_the_standard_has_an_answer() -> None:
    assert set(ADMITTED) == set(Status)
