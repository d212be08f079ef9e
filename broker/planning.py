"""What planning, previews and corrections share in one process: policies, templates, the registry in memory."""

from __future__ import annotations

from dataclasses import dataclass

from broker.audience.index import LiveIndex
from broker.audience.policies import load_policies
from broker.dispatch.corrections import Corrections
from broker.dispatch.planner import Planner
from broker.dispatch.previews import Previews
from broker.dispatch.proposal import Proposer
from broker.dispatch.versions import digest_of
from broker.errors import ConfigError
from broker.rendition.lint import missing
from broker.rendition.templates import TemplateSet
from broker.sealing import Keyring
from broker.settings import Settings
from broker.store.contract import Store
from broker.world import World


@dataclass(frozen=True, slots=True)
class Planning:
    """Made once in each process that plans or previews."""

    planner: Planner
    index: LiveIndex
    previews: Previews
    corrections: Corrections

    @classmethod
    def load(cls, settings: Settings, world: World, store: Store, keyring: Keyring) -> Planning:
        """Read policies and templates. Raises ConfigError with everything wrong in them."""
        files = settings.files
        policies, templates = load_policies(files.policies), TemplateSet.load(files.templates)
        wrong = policies.check(
            departments=[department.id for department in world.departments],
            events=world.events,
            regions=world.regions,
        )
        if problems := [*wrong, *missing(templates, policies.templates())]:
            raise ConfigError(problems)
        version = digest_of((files.policies, files.templates))
        planner = Planner(policies, templates, world.regions, world.districts, version)
        index = LiveIndex(store)
        proposer = Proposer(store, planner, keyring, index)
        return cls(
            planner, index, Previews(store, proposer, index, settings.previews), Corrections(store, proposer)
        )
