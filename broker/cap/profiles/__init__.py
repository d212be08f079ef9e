"""Profiles over CAP 1.2, one file each: what a country or a community asks beyond the standard."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from broker.cap.profiles.cap_cp import CAP_CP
from broker.cap.profiles.ipaws import IPAWS
from broker.cap.profiles.national import NATIONAL
from broker.cap.profiles.profile import Profile as Profile
from broker.cap.profiles.wmo import WMO

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {profile.name: profile for profile in (NATIONAL, WMO, IPAWS, CAP_CP)}
)
"""Every profile by its name."""
