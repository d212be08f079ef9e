"""What pages are told: a change applied to the old view is the new view, and it holds nothing that stayed."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from broker.dashboard.views import Names, View, difference, facts, original
from broker.demo import alerts as demo_alerts
from broker.geo.events import EventCatalogue
from tests.support.dashboard import CONFIG
from tests.support.storing import an_alert

counts = st.lists(st.integers(0, 4), min_size=2, max_size=2)
cells = st.dictionaries(
    st.sampled_from(["sms", "app"]),
    st.dictionaries(st.sampled_from(["500117", "500156"]), counts, min_size=1),
    max_size=2,
)
points = st.lists(st.integers(0, 3), max_size=5).map(
    lambda steps: [[place, sum(steps[: place + 1])] for place in range(len(steps))]
)
curves = st.dictionaries(
    st.sampled_from(["sms", "app"]),
    st.dictionaries(st.sampled_from(["sent", "delivered"]), points, min_size=1),
    max_size=2,
)
views = st.fixed_dictionaries(
    {"id": st.just("A"), "state": st.sampled_from(["sending", "completed"]), "cells": cells, "curve": curves}
)


def applied(old: View, patch: dict[str, Any] | None) -> View:
    """What static/js/picture.js does."""
    view = copy.deepcopy(old) or {"id": "A", "cells": {}, "curve": {}}
    if patch is None:
        return view
    view |= patch.get("set", {})
    for channel, districts in patch.get("cells", {}).items():
        view["cells"].setdefault(channel, {}).update(districts)
    for channel, milestones in patch.get("curve", {}).items():
        for name, change in milestones.items():
            mine = view["curve"].setdefault(channel, {})
            mine[name] = mine.get(name, [])[: change["keep"]] + change["points"]
    return view


@given(st.one_of(st.just({}), views), views)
def test_the_old_view_and_the_difference_give_the_new_view(old: View, new: View):
    told = applied(old, difference(old, new))
    # An empty curve is told by leaving it out.
    told["curve"] = {channel: {k: v for k, v in each.items() if v} for channel, each in told["curve"].items()}
    wanted = {channel: {k: v for k, v in each.items() if v} for channel, each in new["curve"].items()}
    assert {channel: each for channel, each in told["curve"].items() if each} == {
        channel: each for channel, each in wanted.items() if each
    }
    assert told | {"curve": None} == new | {"curve": None}


@given(views)
def test_equal_views_tell_nothing(view: View):
    assert difference(view, copy.deepcopy(view)) is None


def test_only_the_cell_and_the_end_of_the_curve_that_changed_are_told():
    old = {
        "id": "A",
        "state": "sending",
        "cells": {"sms": {"500117": [5, 1], "500156": [7, 0]}, "app": {"500117": [1, 0]}},
        "curve": {"sms": {"delivered": [[1, 5], [2, 9]]}},
    }
    new = copy.deepcopy(old)
    new["cells"]["sms"]["500117"] = [5, 2]  # type: ignore[index]
    new["curve"]["sms"]["delivered"] = [[1, 5], [2, 11], [3, 12]]  # type: ignore[index]
    assert difference(old, new) == {
        "id": "A",
        "cells": {"sms": {"500117": [5, 2]}},
        "curve": {"sms": {"delivered": {"keep": 1, "points": [[2, 11], [3, 12]]}}},
    }


def test_headline_and_area_are_read_in_both_languages_and_shapes_come_once():
    demo = next(iter(demo_alerts.day(datetime.now(UTC))))
    view = original(an_alert(body=demo.body))
    assert view["headlines"].keys() == {"zh", "en"}
    assert view["headlines"]["en"].startswith("Hechuan")
    assert len(view["areas"]["zh"]) == 1
    assert len(view["shapes"]) == 1
    first = demo.body.decode().partition("<polygon>")[2].split()[0]
    assert view["shapes"][0]["polygon"][0] == [float(number) for number in first.split(",")]


def test_a_body_that_cannot_be_read_still_shows_what_the_record_knows():
    view = original(replace(an_alert(body=b"not xml"), headline="暴雨"))
    assert view == {"headline": "暴雨", "headlines": {}, "areas": {}, "shapes": []}


def test_names_fall_back_to_codes_and_never_fail():
    names = Names(EventCatalogue.load(CONFIG / "events.yaml"))
    view = facts(replace(an_alert(), event="11B03"), names)
    assert view["event"] == {"code": "11B03", "zh": "暴雨", "en": "Rainstorm"}
    assert facts(replace(an_alert(), event="99X99"), names)["event"]["en"] == "99X99"
    assert view["department"] == {"id": "meteorology", "zh": "meteorology", "en": "meteorology"}
