"""The feeds that are pulled (config/feeds.yaml), and what our own feeds say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from yarl import URL

from broker.cap.profiles import PROFILES
from broker.errors import ConfigError, Problem
from broker.yamlfile import load_yaml

FEED_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FeedSource(_Strict):
    """One feed of others."""

    name: Annotated[str, StringConstraints(pattern=FEED_NAME)]
    """Names it in commands, metrics, and as author `feed:NAME` of what it brings."""
    url: str
    """An alert, a list of alerts, Atom, RSS or EDXL-DE, by http or https."""
    department: str
    """The department whose people look at its alerts and release them; none may say more than it may."""
    profile: str | None = None
    """A profile whose rules hold too, or `national` for a feed in the national format."""
    every_seconds: Annotated[float, Field(ge=10, le=86_400)] = 300.0
    posture: Literal["lenient"] = "lenient"
    """Others' messages are read with their findings; what could not be planned is refused all the same."""
    certificates: tuple[Path, ...] = ()
    """PEM files; with any, only messages that are signed by one of them are taken."""
    allow_private: bool = False
    """Whether the feed and its links may lead to addresses that are not of the open Internet."""
    max_items: Annotated[int, Field(ge=1, le=2_000)] = 500
    """How many new entries one pull takes; the rest is for the next one."""

    @field_validator("url")
    @classmethod
    def _web(cls, url: str) -> str:
        try:
            parsed = URL(url)
            good = parsed.scheme in ("http", "https") and bool(parsed.host)
        except ValueError:
            good = False
        if not good:
            # It is not repeated: it may hold a secret.
            raise ValueError("a feed has an http or https address")
        return url

    @field_validator("profile")
    @classmethod
    def _known(cls, profile: str | None) -> str | None:
        if profile is not None and profile not in PROFILES:
            raise ValueError(f"there is no profile {profile!r}; there are {', '.join(PROFILES)}")
        return profile


class FeedsFile(_Strict):
    """config/feeds.yaml."""

    feeds: tuple[FeedSource, ...] = ()

    def get(self, name: str) -> FeedSource | None:
        """The feed of a name."""
        return next((feed for feed in self.feeds if feed.name == name), None)


class PublicFeeds(_Strict):
    """What our own feeds say of themselves."""

    title: str = "Fenghuo 烽火"
    author: str = "Fenghuo"
    """Who publishes, as people know them."""
    public_url: str | None = None
    """Where the public reaches us, without a slash at the end; links are relative without it."""


def load_feeds(path: Path) -> FeedsFile:
    """Read the file; certificates are taken from its folder. A file that does not exist names no feeds.

    Raises ConfigError with file and line of everything that is wrong.
    """
    if not path.exists():
        return FeedsFile()
    found = load_yaml(path, FeedsFile)
    names = [feed.name for feed in found.feeds]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            [Problem(str(path), "feeds.unique", f"two feeds have the name {name!r}") for name in twice]
        )
    folder = path.resolve().parent
    feeds = (
        feed.model_copy(update={"certificates": tuple((folder / each).resolve() for each in feed.certificates)})
        for feed in found.feeds
    )
    return FeedsFile(feeds=tuple(feeds))
