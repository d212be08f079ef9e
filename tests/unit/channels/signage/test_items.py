from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from broker.store.records import RenditionRecord
from broker.types import ChannelName
from channels.signage.item import COLOURS, signage_words
from tests.support.mailbox import a_content


def rendition(**changed: object) -> RenditionRecord:
    return RenditionRecord(1, "urn:1", 0, ChannelName.SIGNAGE, "zh-CN", "default", a_content(**changed))


def test_an_item_holds_what_a_screen_needs_and_nothing_else() -> None:
    item = json.loads(signage_words(rendition(secret="x")).message("5:1"))
    assert item.pop("expires") > 0
    assert item == {
        "id": "5:1",
        "alert": "urn:oid:2.49.0.0.156.1",
        "alert_id": "urn:1",
        "phase": "warning",
        "replaces": [],
        "level": "Red",
        "headline": "合川区气象台发布暴雨红色预警",
        "line": "立即停止户外活动",
        "crawl": "过去一小时降雨 80 毫米，请注意防范。",
        "event": "11B03",
        "event_name": "暴雨",
        "language": "zh-CN",
        "sender_name": "合川区气象台",
        "exercise": False,
        "colour": COLOURS["Red"],
    }


def test_warnings_come_before_exercises_and_graver_levels_before_lighter_ones() -> None:
    orders = [
        signage_words(rendition(level=level, exercise=exercise)).order
        for exercise in (False, True)
        for level in ("Red", "Orange", "Yellow", "Blue")
    ]
    assert orders == sorted(orders)
    assert len(set(orders)) == 8


@pytest.mark.parametrize("missing", ["headline", "line", "crawl", "level", "expires", "exercise", "alert"])
def test_a_rendition_that_lacks_something_is_refused(missing: str) -> None:
    content = a_content()
    del content[missing]
    record = RenditionRecord(1, "urn:1", 0, ChannelName.SIGNAGE, "zh-CN", "default", content)
    with pytest.raises(ValidationError, match=missing):
        signage_words(record)


def test_a_truth_value_is_not_guessed_from_text() -> None:
    with pytest.raises(ValidationError, match="exercise"):
        signage_words(rendition(exercise="false"))
