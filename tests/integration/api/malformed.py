"""More than two hundred ways to post an alert wrongly: what is sent, and the rule that must be named."""

from __future__ import annotations

from collections.abc import Iterator

from tests.integration.api import wrong_content, wrong_form, wrong_xml
from tests.integration.api.wrong import Case


def cases() -> Iterator[Case]:
    """All of them."""
    yield from wrong_xml.not_text()
    yield from wrong_xml.not_well_formed()
    yield from wrong_xml.document_types()
    yield from wrong_xml.not_cap()
    yield from wrong_xml.structure()
    yield from wrong_content.values()
    yield from wrong_content.times()
    yield from wrong_content.whole_message()
    yield from wrong_content.shapes()
    yield from wrong_content.codes()
    yield from wrong_content.authority()
    yield from wrong_form.json_form()
    yield from wrong_form.http()
