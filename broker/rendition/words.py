"""How numbers, times, places and sentences are put into words: the filters that templates may use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

LOCAL: Final = ZoneInfo("Asia/Shanghai")

_DIGITS: Final = "零一二三四五六七八九"
_FULL_WIDTH: Final = str.maketrans("０１２３４５６７８９．％", "0123456789.%")
_SENTENCE: Final = re.compile(r"[^。！？!?；;.]*(?:\.(?=\d)[^。！？!?；;.]*)*[。！？!?；;.]?")
_CLAUSE_ENDS: Final = "，、,：:"
_BRACKETS: Final = re.compile(r"[（(【\[〔{][^\S\n]*|[^\S\n]*[）)】\]〕}]")
_QUOTES: Final = re.compile(r"[“”‘’《》〈〉「」\"]")
_PAUSES: Final = re.compile(r"[，、,]+([，。！？；：、,.!?;:])|([，。！？；：])[，、,]+")
_TWO_THINGS: Final = re.compile(r"二(?=小时|个|天|次|处|米|公里|户|分钟|秒|万|千)")
_UNITS_ZH: Final = (
    (re.compile(r"(?<=\d)\s*(?:mm|毫米)"), "毫米"),
    (re.compile(r"(?<=\d)\s*cm"), "厘米"),
    (re.compile(r"(?<=\d)\s*km"), "公里"),
    (re.compile(r"(?<=\d)\s*m/s"), "米每秒"),
    (re.compile(r"(?<=\d)\s*m(?![a-z])"), "米"),
    (re.compile(r"(?<=\d)\s*(?:℃|°C)"), "摄氏度"),
)
_UNITS_EN: Final = (
    (re.compile(r"(?<=\d)\s*mm\b"), " millimetres"),
    (re.compile(r"(?<=\d)\s*km\b"), " kilometres"),
    (re.compile(r"(?<=\d)\s*m/s\b"), " metres per second"),
    (re.compile(r"(?<=\d)\s*(?:℃|°C)"), " degrees"),
)
_YEAR: Final = re.compile(r"(\d{4})(?=年)")
_CLOCK: Final = re.compile(r"(?<!\d)([01]?\d|2[0-4]):([0-5]\d)(?!\d)")
_RANGE: Final = re.compile(r"(?<=[\d%])\s*(?:-|–|—|~|～|至)\s*(?=\d)")
_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?)%")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def chinese(language: str) -> bool:
    """Whether a language tag names Chinese."""
    return language.casefold().partition("-")[0] == "zh"


def local_time(instant: datetime, language: str) -> str:
    """An instant in local time: 8月10日23时05分, 8月10日23时, 10 Aug 23:05."""
    local = instant.astimezone(LOCAL)
    if chinese(language):
        minutes = f"{local.minute:02d}分" if local.minute else ""
        return f"{local.month}月{local.day}日{local.hour}时{minutes}"
    return f"{local.day} {_MONTHS[local.month - 1]} {local.hour:02d}:{local.minute:02d}"


def number_in_chinese(value: int) -> str:
    """A number from 0 to 99,999,999 as Chinese words: 80 → 八十, 105 → 一百零五, 12000 → 一万二千."""
    if not 0 <= value < 100_000_000:
        raise ValueError(f"{value} is not between 0 and 99,999,999")
    high, low = divmod(value, 10_000)
    if not high:
        return _below_ten_thousand(low).removeprefix("一") if 10 <= low < 20 else _below_ten_thousand(low)
    words = _below_ten_thousand(high)
    words = (words.removeprefix("一") if 10 <= high < 20 else words) + "万"
    if low:
        words += ("零" if low < 1000 else "") + _below_ten_thousand(low)
    return words


def _below_ten_thousand(value: int) -> str:
    if value == 0:
        return "零"
    words, gap = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, value = divmod(value, unit)
        if digit:
            words += ("零" if gap and words else "") + _DIGITS[digit] + name
            gap = False
        else:
            gap = True
    return words


def spoken(text: str, language: str) -> str:
    """`text` as it can be read aloud: numbers and units as words, brackets and quotes as pauses."""
    text = _QUOTES.sub("", text.translate(_FULL_WIDTH))
    if not chinese(language):
        for pattern, word in _UNITS_EN:
            text = pattern.sub(word, text)
        text = re.sub(r"\s+,", ",", _BRACKETS.sub(", ", text))
        return re.sub(r",\s*(?=[,.!?;:]|$)", "", text).strip(" ,")
    text = _BRACKETS.sub("，", text)
    for pattern, word in _UNITS_ZH:
        text = pattern.sub(word, text)
    text = _YEAR.sub(lambda match: _digit_by_digit(match[1]), text)
    text = _CLOCK.sub(lambda match: f"{match[1]}时{match[2]}分" if match[2] != "00" else f"{match[1]}时", text)
    text = _RANGE.sub("到", text)
    text = _PERCENT.sub(lambda match: f"百分之{_quantity(match[1])}", text)
    text = _NUMBER.sub(lambda match: _quantity(match[0]), text)
    text = re.sub(r"(?<![一二三四五六七八九十百千万零点])" + _TWO_THINGS.pattern, "两", text)
    for _ in range(2):  # a pause may stand on both sides of a stop
        text = _PAUSES.sub(lambda match: match[1] or match[2], text)
    return text.strip("，、 ")


def _digit_by_digit(digits: str) -> str:
    return "".join(_DIGITS[int(digit)] for digit in digits)


def _quantity(text: str) -> str:
    """A number as people say it: telephone numbers digit by digit, everything else as an amount."""
    whole, _, fraction = text.partition(".")
    if fraction:
        return f"{_quantity(whole)}点{_digit_by_digit(fraction)}"
    if whole.startswith("0") and len(whole) > 1:
        return _digit_by_digit(whole)
    if len(whole) >= 5 and (len(whole) > 8 or not whole.endswith("000")):
        return _digit_by_digit(whole)
    return number_in_chinese(int(whole))


def sentences(text: str, limit: int) -> str:
    """As many whole sentences from the beginning as fit into `limit` characters.

    When not even the first fits, it ends after the last clause that does, and an ellipsis says so.
    """
    kept = ""
    for match in _SENTENCE.finditer(text.strip()):
        if len(kept) + len(match[0]) > limit:
            break
        kept += match[0]
    kept = kept.strip()
    if kept or not text.strip():
        return kept
    head = text.strip()[: limit - 1]
    cut = max((head.rfind(mark) for mark in _CLAUSE_ENDS), default=-1)
    if cut <= 0:
        cut = head.rfind(" ")
    return (head[:cut] if cut > 0 else head) + "…"


def ended(text: str, language: str) -> str:
    """`text` with a full stop at its end, if it has none, so that the next sentence does not run into it."""
    if not text or text[-1] in "。！？；….!?;":
        return text
    return text.rstrip("，,、：: ") + ("。" if chinese(language) else ".")


def listed(items: Sequence[str], limit: int, language: str) -> str:
    """The first `limit` items as a list in words; how many more there are is said."""
    shown = list(items[:limit])
    rest = len(items) - len(shown)
    if chinese(language):
        return "、".join(shown) + (f"等{len(items)}处" if rest else "")
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
