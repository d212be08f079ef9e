"""What every process reads from files at start: who may warn, and where things are."""

from __future__ import annotations

from dataclasses import dataclass

from broker.geo.districts import Districts
from broker.geo.events import EventCatalogue
from broker.geo.regions import Regions
from broker.intake.departments import Departments
from broker.settings import Settings


@dataclass(frozen=True, slots=True)
class World:
    """Regions, districts, events and departments."""

    regions: Regions
    districts: Districts
    events: EventCatalogue
    departments: Departments

    @classmethod
    def load(cls, settings: Settings) -> World:
        """Read the files. Raises ConfigError."""
        files = settings.files
        return cls(
            Regions.load(files.divisions),
            Districts.load(files.districts),
            EventCatalogue.load(files.events),
            Departments.load(files.departments),
        )
