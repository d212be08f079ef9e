"""The catalogues: complete in both languages, and every key that a page uses is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import broker.dashboard
from broker.cap.level import Level
from broker.cap.model import Status
from broker.dashboard.words import LANGUAGES, Words
from broker.ledger.arrays import Milestone
from broker.types import CHANNELS, AlertState

FOLDER = Path(broker.dashboard.__file__).parent


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def used_keys() -> set[str]:
    keys: set[str] = set()
    for path in [*FOLDER.glob("templates/*.html"), *FOLDER.glob("static/js/*.js"), *FOLDER.glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        keys |= set(re.findall(r"""\bt\(["']([a-z_.A-Z]+[a-zA-Z])["']""", text))
        keys |= set(re.findall(r'error="([a-z_.]+)"', text))
    keys |= {f"state.{state}" for state in AlertState}
    keys |= {f"channel.{channel}" for channel in [*CHANNELS, "all"]}
    keys |= {f"count.{milestone.name.lower()}" for milestone in Milestone if milestone != Milestone.ACKNOWLEDGED}
    for level in [*Level, "none"]:
        keys |= {f"level.{level}", f"level.{level}.short"}
    for status in Status:
        if status != Status.ACTUAL:
            keys |= {f"status.{status}", f"status.banner.{status}"}
    return keys


def test_both_languages_say_everything_with_the_same_values():
    chinese, english = (Words.load(language).strings for language in LANGUAGES)
    assert chinese.keys() == english.keys()
    for key, text in chinese.items():
        assert placeholders(text) == placeholders(english[key]), key
        assert text.strip()
        assert english[key].strip()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_key_that_is_used_is_in_the_catalogue(language: str):
    keys = used_keys()
    assert len(keys) > 60
    assert keys - Words.load(language).strings.keys() == set()


def test_nothing_on_the_pages_is_inline_script_or_style():
    for path in FOLDER.glob("templates/*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\sstyle=|<style|\son\w+=", text), path.name
        for script in re.findall(r"<script[^>]*>", text):
            assert "src=" in script or 'type="application/json"' in script, path.name


def test_no_page_asks_another_server_for_anything():
    for path in [*FOLDER.glob("templates/*.html"), *FOLDER.glob("static/*.*"), *FOLDER.glob("static/js/*.js")]:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|src=\"//", text), path.name
