"""The United States profile: CAP 1.2 as IPAWS, and through it EAS, WEA and weather radio, take it."""

from __future__ import annotations

import re

from broker.cap import values
from broker.cap.collector import Collector
from broker.cap.findings import Grade, Rule
from broker.cap.profiles.common import (
    ABOUT_EARLIER,
    categories,
    event_codes,
    named,
    plain,
    report_differing,
    text_of,
    value_node,
)
from broker.cap.profiles.profile import Profile, catalogue
from broker.cap.tree import Node

CODE = "IPAWSv1.0"
"""The `code` by which a message claims this profile."""

_E, _W, _I = Grade.ERROR, Grade.WARNING, Grade.INFO
_DOC = "CAP 1.2 IPAWS Profile 1.0"
_EAS = "47 CFR 11"
_WEA = "WEA text rules"

RULES = catalogue(
    Rule("ipaws.code", f"A code is {CODE}.", _DOC, _E, _W),
    Rule("ipaws.status.broadcast", "Only a message of status Actual is broadcast.", _DOC, _I, _I),
    Rule("ipaws.info.required", "A message has an info.", _DOC, _E, _W),
    Rule("ipaws.references.all", "Update and Cancel name every related message not yet expired.", _DOC, _I, _I),
    Rule("ipaws.infos.category", "All infos have the same categories.", _DOC, _E, _W),
    Rule("ipaws.infos.eventCode", "All infos have the same event codes.", _DOC, _E, _W),
    Rule("ipaws.expires.required", "An info says when it expires.", _DOC, _E, _W),
    Rule("ipaws.area.required", "An info has an area.", _DOC, _E, _W),
    Rule("ipaws.same.code", "An info has exactly one eventCode SAME.", _DOC, _E, _W),
    Rule("ipaws.same.code.format", "The SAME event code is three capital letters.", _DOC, _E, _W),
    Rule("ipaws.same.geocode", "An area has a geocode SAME.", _DOC, _W, _W),
    Rule("ipaws.same.geocode.format", "A SAME geocode is six digits, PSSCCC.", _DOC, _E, _W),
    Rule("ipaws.same.geocode.many", "An info has at most 31 SAME geocodes.", _EAS, _E, _W),
    Rule("ipaws.eas-org", "EAS-ORG is given once, as EAS, CIV, WXR or PEP.", _DOC, _E, _W),
    Rule("ipaws.eas-org.absent", "What may go to EAS names its originator in EAS-ORG.", _DOC, _W, _I),
    Rule("ipaws.blockchannel", "BLOCKCHANNEL names a channel of IPAWS.", _DOC, _W, _W),
    Rule("ipaws.cmamtext.length", "CMAMtext has at most 90 characters.", _WEA, _E, _W),
    Rule("ipaws.cmamlongtext.length", "CMAMlongtext has at most 360 characters.", _WEA, _E, _W),
    Rule("ipaws.cmam.characters", "Texts for phones use the GSM 7-bit alphabet.", _WEA, _E, _W),
    Rule("ipaws.polygon.nodes", "A polygon has fewer than 100 points.", _WEA, _E, _W),
)

_ORIGINATORS = ("EAS", "CIV", "WXR", "PEP")
_CHANNELS = ("CMAS", "EAS", "NWEM", "PUBLIC")
_TEXTS = (("CMAMtext", "ipaws.cmamtext.length", 90), ("CMAMlongtext", "ipaws.cmamlongtext.length", 360))
_MOST_LOCATIONS = 31
_MOST_POINTS = 99
_EVENT = re.compile(r"[A-Z]{3}")
_LOCATION = re.compile(r"[0-9]{6}")

_GSM_7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_7_EXTENSION = frozenset("\f^{}\\[~]|€")
"""Reached by an escape, so that each takes the room of two characters (3GPP TS 23.038, 6.2.1.1)."""


def check(root: Node, report: Collector) -> None:
    """Report what a message lacks for IPAWS."""
    if CODE not in (plain(code) for code in root.all("code")):
        report.at(root, "ipaws.code", f"no code is {CODE}", "")
    status = root.first("status")
    if status is not None and plain(status) != "Actual":
        report.at(status, "ipaws.status.broadcast", "a message of this status must not be broadcast")
    references = root.first("references")
    if references is not None and text_of(root, "msgType") in ABOUT_EARLIER:
        message = "not checked: which related messages have not expired is not known here"
        report.at(references, "ipaws.references.all", message)
    infos = root.all("info")
    if not infos:
        report.at(root, "ipaws.info.required", "the message has no info", "")
    report_differing(root, report, "ipaws.infos.category", "category", categories)
    report_differing(root, report, "ipaws.infos.eventCode", "eventCode", event_codes)
    for info in infos:
        _info(info, report)


def _info(info: Node, report: Collector) -> None:
    if not text_of(info, "expires"):
        report.at(info.first("expires") or info, "ipaws.expires.required", "the info does not say when it expires")
    _event(info, report)
    _parameters(info, report)
    areas = info.all("area")
    if not areas:
        report.at(info, "ipaws.area.required", "the info has no area", "")
    codes = [code for area in areas for code in named(area, "geocode", "SAME")]
    if len(codes) > _MOST_LOCATIONS:
        message = f"{len(codes)} SAME geocodes; a header of EAS holds {_MOST_LOCATIONS}"
        report.at(codes[_MOST_LOCATIONS], "ipaws.same.geocode.many", message, "")
    for area in areas:
        _area(area, report)


def _event(info: Node, report: Collector) -> None:
    codes = named(info, "eventCode", "SAME")
    if not codes:
        report.at(info, "ipaws.same.code", "no eventCode is named SAME", "")
    for code in codes[1:]:
        report.at(code, "ipaws.same.code", "a second eventCode is named SAME", text_of(code, "value"))
    for code in codes:
        if not _EVENT.fullmatch(text_of(code, "value")):
            report.at(value_node(code), "ipaws.same.code.format", "a SAME event code is three capital letters")


def _parameters(info: Node, report: Collector) -> None:
    blocked = set()
    for item in named(info, "parameter", "BLOCKCHANNEL"):
        blocked.add(text_of(item, "value"))
        if text_of(item, "value") not in _CHANNELS:
            report.at(value_node(item), "ipaws.blockchannel", f"not one of {', '.join(_CHANNELS)}")
    originators = named(info, "parameter", "EAS-ORG")
    if not originators and "EAS" not in blocked:
        report.at(info, "ipaws.eas-org.absent", "neither is EAS blocked, nor is its originator named", "")
    for item in originators:
        if text_of(item, "value") not in _ORIGINATORS:
            report.at(value_node(item), "ipaws.eas-org", f"not one of {', '.join(_ORIGINATORS)}")
    for item in originators[1:]:
        report.at(item, "ipaws.eas-org", "EAS-ORG is given a second time", text_of(item, "value"))
    for value_name, rule, most in _TEXTS:
        for item in named(info, "parameter", value_name):
            _phone_text(value_node(item), value_name, rule, most, report)


def _phone_text(node: Node, value_name: str, rule: str, most: int, report: Collector) -> None:
    text = node.text
    strange = sorted(set(text) - _GSM_7 - _GSM_7_EXTENSION)
    if strange:
        listed = " ".join(strange[:10])
        report.at(node, "ipaws.cmam.characters", f"{value_name} has characters that GSM 7-bit lacks", listed)
    length = len(text) + sum(char in _GSM_7_EXTENSION for char in text)
    if length > most:
        report.at(node, rule, f"{value_name} takes {length} characters, {most} are allowed")


def _area(area: Node, report: Collector) -> None:
    codes = named(area, "geocode", "SAME")
    if not codes:
        report.at(area, "ipaws.same.geocode", "no geocode is named SAME", "")
    for code in codes:
        if not _LOCATION.fullmatch(text_of(code, "value")):
            report.at(value_node(code), "ipaws.same.geocode.format", "a SAME geocode is six digits, PSSCCC")
    for polygon in area.all("polygon"):
        points = len(values.words(polygon.text))
        if points > _MOST_POINTS:
            report.at(polygon, "ipaws.polygon.nodes", f"the polygon has {points} points, fewer than 100 are taken")


IPAWS = Profile("ipaws", "USA: IPAWS Profile 1.0", RULES, check)
