from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.rendition.budget import parts
from broker.rendition.words import ended, listed, local_time, number_in_chinese, sentences, spoken

DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")}
UNITS = {"十": 10, "百": 100, "千": 1000}


def value_of(words: str) -> int:
    """Reads Chinese number words back, by another way than they were made."""
    if "万" in words:
        high, _, low = words.partition("万")
        return value_of(high) * 10_000 + value_of(low)
    total, digit = 0, None
    for char in words:
        if char in DIGITS:
            digit = DIGITS[char]
        else:
            total += (1 if digit is None else digit) * UNITS[char]
            digit = None
    return total + (digit or 0)


@given(st.integers(0, 99_999_999))
def test_chinese_number_words_read_back_as_the_number(value: int) -> None:
    assert value_of(number_in_chinese(value)) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "零"),
        (10, "十"),
        (12, "十二"),
        (105, "一百零五"),
        (110, "一百一十"),
        (1001, "一千零一"),
        (12000, "一万二千"),
    ],
)
def test_numbers_are_said_as_people_say_them(value: int, words: str) -> None:
    assert number_in_chinese(value) == words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("降雨80-100mm（合川）", "降雨八十到一百毫米，合川"),
        ("8月10日23时05分", "八月十日二十三时零五分"),
        ("2026年", "二零二六年"),
        ("23:30前", "二十三时三十分前"),
        ("3.5米", "三点五米"),
        ("概率30%", "概率百分之三十"),
        ("请拨打12379。", "请拨打一二三七九。"),
        ("2小时内12个镇", "两小时内十二个镇"),
        ("【重要】立即转移！", "重要，立即转移！"),
        ("听到“哨声”就走", "听到哨声就走"),
    ],
)
def test_a_loudspeaker_script_has_numbers_as_words_and_no_brackets(text: str, said: str) -> None:
    assert spoken(text, "zh-CN") == said


def test_english_scripts_keep_digits_and_lose_brackets_and_short_units() -> None:
    assert spoken("80 mm (heavy), go.", "en") == "80 millimetres, heavy, go."


@given(st.text("0123456789.-%mk（）()【】[]，。雨米年月日时分至a ", max_size=60))
def test_no_digit_and_no_bracket_ever_stays_in_a_chinese_script(text: str) -> None:
    assert not set(spoken(text, "zh-CN")) & set("0123456789（）()【】[]")


def test_times_are_local_and_in_words() -> None:
    instant = datetime(2025, 8, 10, 15, 5, tzinfo=UTC)
    assert local_time(instant, "zh-CN") == "8月10日23时05分"
    assert local_time(instant, "en") == "10 Aug 23:05"
    assert local_time(instant.replace(minute=0), "zh-CN") == "8月10日23时"


def test_whole_sentences_are_kept_while_they_fit() -> None:
    text = "立即转移。不要返回。听从指挥。"
    assert sentences(text, 10) == "立即转移。不要返回。"
    assert sentences(text, 100) == text
    assert sentences("Water is 1.5 m deep. Leave.", 22) == "Water is 1.5 m deep."


def test_a_sentence_that_does_not_fit_is_cut_at_a_clause_and_says_so() -> None:
    assert sentences("立即离开河边、低洼处，转移到高处的坚固房屋", 15) == "立即离开河边、低洼处…"
    assert sentences("Leave the river bank at once", 12) == "Leave the…"


@given(st.text("立即转移。，、；! .a1", max_size=80), st.integers(2, 40))
def test_sentences_never_exceed_the_limit(text: str, limit: int) -> None:
    assert len(sentences(text, limit)) <= limit


def test_places_beyond_the_limit_are_counted_and_never_dropped_silently() -> None:
    assert listed(["甲", "乙"], 3, "zh-CN") == "甲、乙"
    assert listed(["甲", "乙", "丙", "丁", "戊"], 3, "zh-CN") == "甲、乙、丙等5处"
    assert listed(["A", "B", "C", "D"], 3, "en") == "A, B, C and 1 more"


def test_a_text_ends_with_a_full_stop_once() -> None:
    assert ended("转移", "zh-CN") == "转移。"
    assert ended("转移！", "zh-CN") == "转移！"
    assert ended("Leave,", "en") == "Leave."
    assert ended("", "en") == ""


@pytest.mark.parametrize(
    ("text", "n"),
    [("", 1), ("雨" * 70, 1), ("雨" * 71, 2), ("雨" * 134, 2), ("雨" * 135, 3), ("雨" * 201, 3), ("雨" * 202, 4)],
)
def test_parts_of_a_short_message(text: str, n: int) -> None:
    assert parts(text) == n


def test_a_character_of_two_units_is_not_cut_in_two() -> None:
    assert parts("𠮷" * 35) == 1
    assert parts("雨" * 66 + "𠮷" + "雨" * 66) == 3
