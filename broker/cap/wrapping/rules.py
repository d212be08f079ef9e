"""The rules of wrappings: what Atom, RSS and EDXL-DE ask of themselves, and what must hold for an alert in them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from broker.cap.findings import Grade, Rule

_E, _W, _I = Grade.ERROR, Grade.WARNING, Grade.INFO
_HOUSE = "house rule"
_DE = "EDXL-DE, 3.2"

_ALL = (
    Rule("wrap.stray", "Alerts stand where the wrapping has its content.", _HOUSE, _E, _W),
    Rule("wrap.list", "Alerts come one by one or in a wrapping that a standard describes.", _HOUSE, _W, _W),
    Rule("wrap.rewritten", "An alert can be cut out byte for byte.", _HOUSE, _I, _I),
    Rule("wrap.escaped", "An alert stands in the wrapping as XML, not as escaped text.", _HOUSE, _W, _I),
    Rule("wrap.content", "Content said to be an alert can be decoded.", _HOUSE),
    Rule("wrap.nothing", "An entry holds an alert or a link to one.", _HOUSE, _W, _W),
    Rule("wrap.empty", "The wrapping holds anything at all.", _HOUSE, _I, _I),
    Rule("wrap.link.address", "A link is an absolute http or https address.", _HOUSE, _W, _W),
    Rule("wrap.repeated", "An id is given to one entry only.", _HOUSE, _W, _I),
    Rule("wrap.atom.id", "Feed and entry have one id, not empty.", "RFC 4287, 4.2.6", _E, _W),
    Rule("wrap.atom.title", "Feed and entry have one title.", "RFC 4287, 4.2.14", _E, _W),
    Rule(
        "wrap.atom.updated",
        "Feed and entry have one updated, a time of RFC 3339.",
        "RFC 4287, 3.3",
        _E,
        _W,
    ),
    Rule("wrap.atom.author", "An entry has an author, its own or its feed's.", "RFC 4287, 4.2.1", _W, _I),
    Rule("wrap.atom.element", "Only elements of Atom stand in its namespace.", "RFC 4287, 6.3", _W, _I),
    Rule("wrap.rss.channel", "A channel has title, link and description.", "RSS 2.0, channel", _E, _W),
    Rule("wrap.rss.item", "An item has a title or a description.", "RSS 2.0, item", _E, _W),
    Rule("wrap.rss.date", "Dates are written as RFC 822 has them.", "RSS 2.0, item", _W, _I),
    Rule("wrap.rss.guid", "An item has a guid by which it is told apart.", "RSS 2.0, item", _W, _I),
    Rule("wrap.edxl.required", "Every element that a distribution requires is there.", _DE, _E, _W),
    Rule("wrap.edxl.time", "Times are YYYY-MM-DDThh:mm:ss±hh:mm.", _DE, _E, _W),
    Rule("wrap.edxl.status", "A distribution and the alert in it agree on whether it is real.", _HOUSE),
)

RULES: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in _ALL})
"""The catalogue of wrappings: rule id → rule."""
