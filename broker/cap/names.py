"""The names this broker gives to things that CAP leaves open: namespaces, code systems, value names."""

from __future__ import annotations

from typing import Final

CAP_1_2: Final = "urn:oasis:names:tc:emergency:cap:1.2"
CAP_1_1: Final = "urn:oasis:names:tc:emergency:cap:1.1"
CAP_1_0: Final = "http://www.incident.com/cap/1.0"
XML_SIGNATURE: Final = "http://www.w3.org/2000/09/xmldsig#"
XML_SCHEMA: Final = "http://www.w3.org/2001/XMLSchema"
XML_SCHEMA_INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance"

VERSIONS: Final = {CAP_1_2: "1.2", CAP_1_1: "1.1", CAP_1_0: "1.0"}
"""Namespace → version of CAP, for every version that is read."""

OLD_CERTAINTY: Final = "Very Likely"
"""The certainty of CAP 1.0 that later versions treat as Likely (CAP 1.2, 3.2.2)."""

EVENT_CODE_NAME: Final = "GB/T 35561"
"""`eventCode/valueName` under which our departments give the national event code, for example 11B03.

CAP asks that the valueName identify the code system; GB/T 35561 is the national standard of emergency
event classification, so its number is the name.
"""

EVENT_CODE_NAMES: Final = (EVENT_CODE_NAME,)
"""Every `eventCode/valueName` that is read as a national event code, the preferred one first."""

GEOCODE_NAME: Final = "GB/T 2260"
"""`geocode/valueName` under which a region is given: 6, 9 or 12 digits of the national division code."""

GEOCODE_NAMES: Final = (GEOCODE_NAME, "CPEAS Geographic Code")
"""Every `geocode/valueName` that is read as a region.

The second is how the national meteorological administration names the same codes in its international feed.
"""

DEFAULT_LANGUAGE: Final = "en-US"
"""What an `info` without `language` is written in (CAP 1.2, 3.2.2)."""
