"""For tests of feeds that are pulled: their messages, wrapped, and what takes them on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from broker.feeds.pull import Pull, PullReport
from broker.feeds.settings import FeedSource
from broker.geo.events import EventCatalogue
from broker.intake.authority import Authority
from broker.intake.departments import Departments
from broker.intake.foreign import ForeignIntake
from broker.store.contract import Store
from tests.support.outside import cap
from tests.support.places import ROOT, districts, regions

SENDER = "neighbour@warning.example"


@lru_cache
def departments() -> Departments:
    return Departments.load(ROOT / "config/departments.yaml")


@lru_cache
def authority() -> Authority:
    return Authority(regions(), districts(), EventCatalogue.load(ROOT / "config/events.yaml"))


def foreign(store: Store) -> ForeignIntake:
    return ForeignIntake(store, departments(), authority())


def recent(minutes: float = 1) -> str:
    """A CAP time some minutes ago."""
    return (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S-00:00")


def area_info(
    *, code: str = "11B03", expires: str | None = None, area: str | None = None, severity: str = "Severe"
) -> str:
    """An info of somebody else's warning, for Hechuan."""
    ends = expires if expires is not None else (datetime.now(UTC) + timedelta(hours=3)).strftime("%FT%T-00:00")
    area = area or "<geocode><valueName>GB/T 2260</valueName><value>500117</value></geocode>"
    return (
        "<info><language>zh-CN</language><category>Met</category><event>暴雨</event><urgency>Immediate</urgency>"
        f"<severity>{severity}</severity><certainty>Likely</certainty>"
        f"<eventCode><valueName>GB/T 35561</valueName><value>{code}</value></eventCode>"
        f"<expires>{ends}</expires><headline>邻市暴雨</headline>"
        f"<area><areaDesc>合川</areaDesc>{area}</area></info>"
    )


def message(*infos: str, sent: str | None = None, **more: str) -> bytes:
    """A message of the neighbour, a minute old."""
    told = {"sender": SENDER, "sent": sent or recent()} | more
    return cap(*(infos or (area_info(),)), **told)


def atom(*entries: tuple[str, str, str]) -> bytes:
    """A feed of (id, updated, href) each."""
    written = "".join(
        f"<entry><id>urn:x:{name}</id><title>{name}</title><updated>{updated}</updated><author><name>n</name></author>"
        f'<link type="application/cap+xml" href="{href}"/></entry>'
        for name, updated, href in entries
    )
    return (
        '<feed xmlns="http://www.w3.org/2005/Atom"><id>urn:x:feed</id><title>t</title>'
        f"<updated>2026-06-18T01:30:00Z</updated>{written}</feed>"
    ).encode()


def source(url: str, **how: object) -> FeedSource:
    """A feed on this machine."""
    told: dict[str, object] = {"name": "neighbour", "department": "met-hechuan", "allow_private": True} | how
    return FeedSource.model_validate(told | {"url": url})


async def pulled(store: Store, url: str, **how: object) -> PullReport:
    """A pull that a person asked for."""
    report = await Pull(store, foreign(store), source(url, **how)).run("test", due=False)
    assert report is not None
    return report


def rules(report: PullReport) -> list[set[str]]:
    """Rules of the errors of each item."""
    return [{str(f["rule"]) for f in item.findings if f["severity"] == "error"} for item in report.items]
