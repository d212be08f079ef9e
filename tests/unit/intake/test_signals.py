"""Signals that contradict each other are held; words that only sound like it are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from broker.cap import read
from broker.cap.compose import compose, geocode_area
from broker.cap.level import Level
from broker.cap.model import Alert, MsgType, ResponseType, Status, Urgency
from broker.demo.alerts import day
from broker.intake.signals import RULE, problems

NOW = datetime(2026, 6, 18, 9, 30, tzinfo=UTC)


def an_alert(
    headline: str = "合川区气象台发布暴雨红色预警",
    *,
    description: str = "预计未来3小时强降雨持续。",
    instruction: str = "立即转移到高处。",
    **changes: object,
) -> Alert:
    return compose(
        "a-1",
        "hechuan-met@warning.example",
        NOW,
        "11B03",
        "暴雨",
        Level.RED,
        headline,
        description,
        instruction,
        areas=[geocode_area("合川", ["500117"])],
        expires=NOW + timedelta(hours=6),
        **changes,  # type: ignore[arg-type]
    )


def places(alert: Alert) -> list[str]:
    found = problems(alert)
    assert {problem.rule for problem in found} <= {RULE}
    return [problem.place for problem in found]


HEADLINE = ["/alert/info[1]/headline"]


@pytest.mark.parametrize(
    "headline",
    [
        "重庆市气象台解除暴雨红色预警",
        "暴雨红色预警已解除",
        "合川区气象台2026年6月18日9时30分解除暴雨橙色预警信号",
        "Strong monsoon signal(Black ball) was cancelled at 2025-04-13 06:00.",
        "The observatory lifts the red rainstorm warning",
        "Red rainstorm warning lifted",
        "ALL CLEAR for Hechuan",
        "Cancellation of the rainstorm warning",
    ],
)
def test_an_alert_that_lifts_a_warning_is_held_and_a_cancel_or_update_that_does_is_not(headline: str) -> None:
    assert places(an_alert(headline)) == HEADLINE
    assert places(an_alert(headline, msg_type=MsgType.CANCEL)) == []
    assert places(an_alert(headline, msg_type=MsgType.UPDATE)) == []


@pytest.mark.parametrize(
    "headline",
    [
        "预警解除前请勿返回",
        "暴雨红色预警尚未解除，请继续避险",
        "直到解除都不要下河",
        "Stay out until the danger has passed",
        "Dense fog lifts over the river only slowly",
        "暴雨红色预警信号",
    ],
)
def test_advice_that_waits_for_the_lifting_is_no_lifting(headline: str) -> None:
    assert places(an_alert(headline)) == []


@pytest.mark.parametrize(
    ("description", "held"),
    [
        ("我台现解除暴雨红色预警。", True),
        ("暴雨红色预警已解除。", True),
        ("决定解除今天发布的暴雨红色预警信号。", True),
        ("预警解除前不要返回。", False),
        ("暴雨预警解除之后方可返回。", False),
        ("橙色预警升级为红色，接到解除通知后方可返回。", False),
        ("雨已下了三小时，险情没有解除。", False),
    ],
)
def test_a_description_that_lifts_the_warning_is_held_and_instructions_are_not(
    description: str, held: bool
) -> None:
    assert places(an_alert(description=description)) == (["/alert/info[1]/description"] if held else [])
    assert places(an_alert(instruction=description)) == []


def test_an_alert_of_which_every_info_is_over_is_held() -> None:
    alert = an_alert(response_types=[ResponseType.ALL_CLEAR])
    assert places(alert) == ["/alert/msgType"]
    assert places(replace(alert, msg_type=MsgType.UPDATE)) == []
    past = an_alert(urgency=Urgency.PAST)
    assert places(past) == ["/alert/msgType"]
    [over], [standing] = past.infos, an_alert().infos
    assert places(replace(past, infos=(over, standing))) == [], "one part of it still warns"
    assert places(replace(past, infos=())) == []


@pytest.mark.parametrize(
    "headline",
    [
        "【演练】合川区气象台发布暴雨红色预警",
        "暴雨红色预警（测试）",
        "EXERCISE: rainstorm in Hechuan",
        "[Exercise] Rainstorm in Hechuan",
        "Test: rainstorm in Hechuan",
        "*** TEST MESSAGE *** rainstorm",
        "This is a drill. Rainstorm in Hechuan",
        "这不是演练！暴雨红色预警",
    ],
)
@pytest.mark.parametrize("msg_type", [MsgType.ALERT, MsgType.UPDATE])
def test_what_is_actual_may_not_say_that_it_is_a_drill(headline: str, msg_type: MsgType) -> None:
    assert places(an_alert(headline, msg_type=msg_type)) == HEADLINE
    assert places(an_alert(headline.replace("这不是", ""), status=Status.EXERCISE, msg_type=msg_type)) == []


@pytest.mark.parametrize(
    "headline", ["Exercise caution: rainstorm", "The greatest rainstorm of the year", "Latest"]
)
def test_words_that_only_sound_like_a_drill_are_let_through(headline: str) -> None:
    assert places(an_alert(headline)) == []


@pytest.mark.parametrize(
    ("note", "held"),
    [
        ("“渝安2026”应急演练", True),
        ("Exercise Yangtze 2026", True),
        ("drill of the district", True),
        ("Exercise caution near the river", False),
        ("请转发", False),
        (None, False),
    ],
)
def test_what_is_actual_may_not_name_an_exercise_in_its_note(note: str | None, held: bool) -> None:
    assert places(an_alert(note=note)) == (["/alert/note"] if held else [])
    assert places(an_alert(note=note, status=Status.EXERCISE)) == []


def test_a_cancel_may_say_that_a_drill_went_out_by_mistake() -> None:
    cancel = an_alert("误发演练信息，现予取消", msg_type=MsgType.CANCEL, note="演练信息误发，请勿恐慌")
    assert places(cancel) == []


@pytest.mark.parametrize("status", [Status.EXERCISE, Status.TEST])
@pytest.mark.parametrize("words", ["这不是演练", "This is not a drill", "并非演习"])
def test_a_drill_may_not_say_that_it_is_none(status: Status, words: str) -> None:
    assert places(an_alert(words, status=status)) == HEADLINE
    assert places(an_alert(description=words, status=status)) == ["/alert/info[1]/description"]
    assert places(an_alert(instruction=words, status=status)) == ["/alert/info[1]/instruction"]


def test_the_warnings_of_the_demo_contradict_nothing() -> None:
    for each in day(NOW):
        alert = read(each.body, "xml", now=NOW).alert
        assert alert is not None
        assert problems(alert) == []
