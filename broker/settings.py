"""The configuration of a broker: one YAML file, every key known, paths relative to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from broker.api.rates import RateLimit
from broker.dispatch.previews import PreviewSettings
from broker.feeds.settings import PublicFeeds
from broker.signing.settings import SigningSettings
from broker.transport.topology import PREFIX
from broker.types import ChannelName
from broker.yamlfile import load_yaml
from channels.app.settings import AppSettings
from channels.broadcast.settings import BroadcastSettings
from channels.signage.settings import SignageSettings
from channels.sms.settings import SmsSettings
from channels.worker import WorkerSettings

_Model = TypeVar("_Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(_Strict):
    """Where a face listens."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    """0 takes a free port."""


class Files(_Strict):
    """What the broker reads at start."""

    divisions: Path = Path("regions/divisions.csv")
    districts: Path = Path("regions/districts.geojson")
    events: Path = Path("events.yaml")
    departments: Path = Path("departments.yaml")
    policies: Path = Path("../policies")
    templates: Path = Path("../templates")
    expiry: Path | None = None
    """How long what names no end stands; without it, a day."""
    feeds: Path | None = None
    """The feeds of others that are pulled; without it, none."""


class EmbeddedMqtt(_Strict):
    """The in-process MQTT server, for running everything in one process."""

    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=0, le=65_535)
    credentials: Path
    """File of client credentials."""
    journal: Path
    """Folder in which the server keeps what must outlive it."""


class Channels(_Strict):
    """The channels that this broker has; one that is left out is not served."""

    sms: SmsSettings | None = None
    broadcast: BroadcastSettings | None = None
    app: AppSettings | None = None
    signage: SignageSettings | None = None

    def names(self) -> tuple[ChannelName, ...]:
        """The channels that are configured."""
        return tuple(channel for channel in ChannelName if getattr(self, channel) is not None)


class Settings(_Strict):
    """The whole file."""

    data: Path = Path("../data")
    """Folder for what the broker keeps itself: the lock of the embedded form, keys, the embedded store."""
    store: str = "sqlite:///../data/fenghuo.db"
    """`sqlite:///PATH` or `postgresql://…`."""
    transport: str = "embedded:"
    """`embedded:` or `amqp://…`."""
    queue_prefix: str = Field(default=PREFIX, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """Begins the names of everything on RabbitMQ, so that several brokers can share a server."""
    shards: int = Field(default=1, ge=1, le=64)
    """Receipt queues; every role must have the same number."""
    address_keys: Path = Path("../data/keys/address.keys")
    """Keys that seal addresses; the environment variable FENGHUO_ADDRESS_KEYS goes before the file."""
    listen: Listen = Listen()
    """The API, and in the embedded form the dashboard with it."""
    dashboard: Listen = Listen(port=8090)
    """The dashboard where it runs as a role of its own."""
    max_body_bytes: int = Field(default=512 * 1024, ge=1024)
    """Largest alert that is taken."""
    grace_seconds: float = Field(default=600.0, ge=0)
    """How long after an alert's end receipts are still waited for."""
    files: Files = Files()
    previews: PreviewSettings = PreviewSettings()
    """What is shown before release, and how long it holds."""
    rate: RateLimit | None = RateLimit()
    """How many requests a department may make; null is no limit. Cancels are never limited."""
    signing: SigningSettings = SigningSettings()
    """Signs what is published."""
    feeds: PublicFeeds = PublicFeeds()
    """How the feeds that the public reads present themselves."""
    embedded_mqtt: EmbeddedMqtt | None = None
    channels: Channels = Channels()
    workers: dict[ChannelName, WorkerSettings] = Field(default_factory=dict)
    """How each channel's worker runs; those left out run with the defaults."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file. Raises ConfigError with every problem as file:line."""
        return load_yaml(path, cls).resolved(path.resolve().parent)

    def resolved(self, folder: Path) -> Self:
        """The same with every relative path taken from `folder`."""
        return _resolve(self, folder)

    @property
    def embedded(self) -> bool:
        """Whether queues live in this process, so that it must hold all roles."""
        return self.transport.startswith("embedded")


def _resolve(model: _Model, folder: Path) -> _Model:
    changes: dict[str, object] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Path):
            changes[name] = (folder / value).resolve()
        elif isinstance(value, BaseModel):
            changes[name] = _resolve(value, folder)
        elif name == "store" and isinstance(value, str) and value.startswith("sqlite:///"):
            path = value.removeprefix("sqlite:///")
            changes[name] = value if path == ":memory:" else f"sqlite:///{(folder / path).resolve()}"
    return model.model_copy(update=changes)
