"""Every string of the pages, one catalogue file per language."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

LANGUAGES: Final = ("zh", "en")
"""The first is the default."""
TAGS: Final = {"zh": "zh-CN", "en": "en"}
"""What stands in `<html lang>`."""
_FOLDER: Final = Path(__file__).parent / "words"


class Words:
    """The strings of one language, by key; `{name}` stands for a value."""

    def __init__(self, language: str, strings: Mapping[str, str]) -> None:
        self.language = language
        self.strings = dict(strings)

    @classmethod
    def load(cls, language: str) -> Words:
        """Read the catalogue of a language of LANGUAGES."""
        return cls(language, json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8")))

    def __call__(self, key: str, **values: object) -> str:
        """The string; KeyError for a key that is not in the catalogue, since that is a fault of ours."""
        return self.strings[key].format(**values)
