"""A text for people in the two languages of the pages."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import Field


class Said(NamedTuple):
    """The same in English and in Chinese."""

    en: str
    zh: str

    def in_(self, language: str) -> str:
        """The text in `zh` or, for anything else, in English."""
        return self.zh if language == "zh" else self.en


CHINESE = "x-zh"
"""Where the schemas hold the Chinese description: OpenAPI 3.1, 4.9 leaves names that begin with x- to us."""


def said(en: str, zh: str, **options: Any) -> Any:
    """A pydantic field that is described in both languages; `options` are those of `pydantic.Field`."""
    return Field(description=en, json_schema_extra={CHINESE: zh}, **options)
