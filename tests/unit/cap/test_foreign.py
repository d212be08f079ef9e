"""Alerts as other countries write them: read as far as they can be, and each habit found by its rule."""

from __future__ import annotations

import pytest

from broker.cap import Grade, Posture, parse_json, read, to_json, to_xml
from broker.cap.build import alert_of
from tests.unit.cap.foreign import FOREIGN, MEXICO, OVERRULED, Foreign
from tests.unit.cap.samples import NOW

each = pytest.mark.parametrize("foreign", FOREIGN, ids=lambda foreign: foreign.style)


@each
def test_what_is_wrong_with_it_is_found_and_nothing_else(foreign: Foreign) -> None:
    reading = read(foreign.text.encode(), "xml", posture=Posture.LENIENT, now=NOW)
    grave = {finding.rule for finding in reading.findings if finding.severity is not Grade.INFO}
    assert grave == foreign.found
    assert reading.valid is foreign.valid
    assert reading.schema_valid is foreign.schema_valid


@each
def test_what_can_be_built_survives_both_forms(foreign: Foreign) -> None:
    alert = read(foreign.text.encode(), "xml", posture=Posture.LENIENT, now=NOW).alert
    unreadable = {"cap.sent.format", "cap.sender.missing", "cap.category.value"}
    assert (alert is None) is bool(foreign.found & unreadable)
    if alert is not None:
        assert read(to_xml(alert), "xml", now=NOW).alert == alert
        root = parse_json(to_json(alert)).root
        assert root is not None
        assert alert_of(root) == alert


def test_an_info_that_overrules_an_earlier_one_of_its_time_is_found_and_one_of_another_time_is_not() -> None:
    for foreign in FOREIGN:
        reading = read(foreign.text.encode(), "xml", now=NOW)
        places = [finding.place for finding in reading.findings if finding.rule == "cap.info.override"]
        overruled = ["/alert/info[2]/severity", "/alert/info[4]/severity"]
        assert places == (overruled if foreign is OVERRULED else []), foreign.style


def test_a_text_of_another_country_is_kept_with_its_odd_spaces() -> None:
    alert = read(MEXICO.text.encode(), "xml", posture=Posture.LENIENT, now=NOW).alert
    assert alert is not None
    (area,) = alert.infos[0].areas
    assert area.polygons[0].text.startswith("\n\t17.5")
    assert len(area.polygons[0].points) == 4
