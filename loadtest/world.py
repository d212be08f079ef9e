"""A broker's files, registry and accounts for one run, and an alert that reaches every recipient."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import yaml

from broker.audience.recipients import write_recipients
from broker.cap.compose import Translation, compose, geocode_area
from broker.cap.level import Level
from broker.cap.xml import to_xml
from broker.dashboard.accounts import new_person
from broker.demo.world import DUTY_GROUP, PUBLIC_GROUP, Names, Size, build
from broker.geo.regions import Regions
from broker.intake import tokens
from broker.ports import free_ports
from broker.privately import write_private
from broker.sealing import Keyring
from broker.settings import Settings
from broker.store.contract import Store
from broker.types import ChannelName, Kind

_ROOT: Final = Path(__file__).resolve().parent.parent
DEPARTMENTS: Final = _ROOT / "config/departments.yaml"
DEPARTMENT: Final = "meteorology"
_CITY: Final = "500000000000"
_BATCHES_IN_HAND: Final = 16


@dataclass(frozen=True, slots=True)
class World:
    """Where everything of a run is."""

    config: Path
    settings: Settings
    token: str = field(default="", repr=False)
    """The department's, for posting."""
    person: str = "viewer"
    password: str = field(default="", repr=False)
    """The dashboard's."""


def lay_out(
    folder: Path,
    *,
    store: str | None,
    transport: str | None,
    prefix: str | None,
    departments: Path = DEPARTMENTS,
) -> World:
    """Write keys and the configuration file: the city's own policies, templates and regions, phones only."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = folder / "address.keys"
    write_private(keys, Keyring.new_line() + "\n")
    api, dashboard = free_ports(2)
    config = {
        "data": str(folder / "broker"),
        "store": store or f"sqlite:///{folder / 'fenghuo.db'}",
        "transport": transport or "embedded:",
        "address_keys": str(keys),
        "listen": {"port": api},
        "dashboard": {"port": dashboard},
        # What is measured is what the broker can take, not what it allows.
        "rate": None,
        "files": {
            "divisions": str(_ROOT / "config/regions/divisions.csv"),
            "expiry": str(_ROOT / "config/expiry.yaml"),
            "districts": str(_ROOT / "config/regions/districts.geojson"),
            "events": str(_ROOT / "config/events.yaml"),
            "departments": str(departments),
            "policies": str(_ROOT / "policies"),
            "templates": str(_ROOT / "templates"),
        },
        # Never used: the last mile of a load test is a channel that answers at once.
        "channels": {"sms": {"password": secrets.token_hex(4)}},
        # Batches wait for commits, not for a far end: the more are in hand, the more share a commit.
        "workers": {"sms": {"concurrency_urgent": _BATCHES_IN_HAND}},
    }
    if prefix is not None:
        config["queue_prefix"] = prefix
    path = folder / "fenghuo.yaml"
    write_private(path, yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
    return World(path, Settings.load(path))


async def fill(world: World, store: Store, recipients: int) -> World:
    """Put phones into the registry, spread over all villages by population, and make the accounts."""
    keyring = Keyring.load(world.settings.address_keys)
    names = Names(
        groups=await store.add_names("group", [PUBLIC_GROUP, DUTY_GROUP]),
        languages=await store.add_names("language", ["zh-CN", "en"]),
    )
    regions = Regions.load(world.settings.files.divisions)
    channel, columns = next(build(regions, Size(phones=recipients), names))
    assert channel is ChannelName.SMS
    # Everybody is reached by a real alert, so that the number asked for is the number sent.
    everybody = replace(columns, kinds=np.full(recipients, Kind.PUBLIC, np.uint8))
    await write_recipients(store, keyring, channel, everybody)
    token, record = tokens.new(DEPARTMENT, days=1)
    await store.add_token(record)
    password = await new_person(store, world.person, "operator")
    return replace(world, token=token, password=password)


def red_alert(number: int) -> bytes:
    """A red rainstorm warning for the whole city, in two languages; `number` tells those of one run apart."""
    sent = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=-number)
    alert = compose(
        f"50000041600000_{sent:%Y%m%d%H%M%S}",
        "cq-met@warning.example",
        sent,
        "11B03",
        "暴雨",
        Level.RED,
        "重庆市气象台发布暴雨红色预警",
        "过去3小时全市大部降雨量已达100毫米以上，预计强降雨持续。",
        "立即离开河边、低洼处和陡坡，转移到高处的坚固房屋。",
        areas=[geocode_area("重庆市", [_CITY])],
        expires=sent + timedelta(hours=6),
        sender_name="重庆市气象台",
        translations=[
            Translation(
                "en",
                "Rainstorm",
                "Chongqing Meteorological Observatory issues a RED rainstorm warning",
                "More than 100 mm of rain fell in most of the city in the last 3 hours and heavy rain goes on.",
                "Leave river banks, low ground and steep slopes now for a solid building on high ground.",
                "Chongqing Meteorological Observatory",
                ("Chongqing",),
            )
        ],
    )
    return to_xml(alert)
