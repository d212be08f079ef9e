"""The tables. What PostgreSQL and SQLite share is said once; how they differ is said beside the column.

The migrations in `broker/store/migrations` build the same tables step by step; a test compares the two.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

Big: Final = sa.BigInteger
RowId: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite counts up by itself only in a column that is exactly INTEGER PRIMARY KEY."""


def _id() -> sa.Column[int]:
    return sa.Column("id", RowId, primary_key=True, autoincrement=True)


def _alert(*, index: bool = False) -> sa.Column[str]:
    return sa.Column("alert", sa.Text, sa.ForeignKey("alerts.id"), nullable=False, index=index)


def _bytes(name: str, *, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _int(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=nullable)


def _big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, Big, nullable=nullable)


alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _text("sender"),
    _text("identifier"),
    _big("sent"),
    _text("department"),
    _text("status"),
    _text("msg_type"),
    _text("level", nullable=True),
    _text("event"),
    _text("headline"),
    _text("content_type"),
    _bytes("digest"),
    _bytes("body"),
    _big("received"),
    _big("expires"),
    _text("state"),
    _text("author"),
    _big("released", nullable=True),
    _big("planned", nullable=True),
    _big("completed", nullable=True),
    _text("reason", nullable=True),
    _text("scope"),
    _text("preview", nullable=True),
    _int("round"),
    sa.UniqueConstraint("sender", "identifier", "sent", name="uq_alerts_identity"),
    sa.Index("ix_alerts_state", "state", "id"),
    sa.Index("ix_alerts_digest", "digest"),
    sa.Index("ix_alerts_released", "released", "id"),
)

alert_events = sa.Table(
    "alert_events",
    metadata,
    _id(),
    _alert(index=True),
    _big("at"),
    _text("state"),
    _text("who"),
    _text("why"),
)

# What an alert refers to is found by identity, for the one it names may be accepted later, or never.
alert_references = sa.Table(
    "alert_references",
    metadata,
    sa.Column("alert", sa.Text, sa.ForeignKey("alerts.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    _text("sender"),
    _text("identifier"),
    _big("sent"),
    sa.Index("ix_alert_references_identity", "identifier", "sender", "sent"),
)

previews = sa.Table(
    "previews",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _alert(index=True),
    _text("author"),
    _big("made"),
    _big("valid_until"),
    sa.Column("content", sa.JSON, nullable=False),
    _bytes("recipients"),
)

renditions = sa.Table(
    "renditions",
    metadata,
    sa.Column("id", Big, primary_key=True, autoincrement=False),
    _alert(index=True),
    _int("segment"),
    _text("channel"),
    _text("language"),
    _text("template"),
    sa.Column("content", sa.JSON, nullable=False),
)

batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", Big, primary_key=True, autoincrement=False),
    _alert(),
    _int("segment"),
    _text("channel"),
    _text("lane"),
    sa.Column("rendition", Big, sa.ForeignKey("renditions.id"), nullable=False),
    _int("district"),
    _int("round"),
    _big("expires"),
    _bytes("recipients"),
    _bytes("addresses"),
    sa.Index("ix_batches_alert", "alert", "channel"),
)

work = sa.Table(
    "work",
    metadata,
    sa.Column("batch", Big, sa.ForeignKey("batches.id"), primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    _text("channel"),
    _text("lane"),
    _big("not_before"),
    _bytes("ordinals", nullable=True),
    _big("published_at", nullable=True),
    _text("owner", nullable=True),
    _big("lease_until", nullable=True),
    # How often it was taken: a worker that lost its lease and got it again must not act on the former claim.
    _int("taken"),
    _int("low"),
    _int("high"),
    _bytes("retry", nullable=True),
    _big("closed_at", nullable=True),
    # Only what waits for the relay: the index stays small however many batches history holds.
    sa.Index(
        "ix_work_unpublished",
        "lane",
        "not_before",
        "batch",
        "attempt",
        postgresql_where=sa.text("published_at IS NULL AND closed_at IS NULL"),
        sqlite_where=sa.text("published_at IS NULL AND closed_at IS NULL"),
    ),
)

far_ids = sa.Table(
    "far_ids",
    metadata,
    _id(),
    _text("channel"),
    sa.Column("batch", Big, sa.ForeignKey("batches.id"), nullable=False, index=True),
    _int("attempt"),
    _bytes("ordinals"),
    _int("width"),
    _bytes("ids"),
)

ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("batch", Big, sa.ForeignKey("batches.id"), primary_key=True, autoincrement=False),
    # Copied from the alert and the batch, so that a merge needs no join to know whose counters move.
    _alert(),
    _text("channel"),
    _int("district"),
    _big("received"),
    _big("base"),
    _int("size"),
    # NULL until first set: a plan writes no arrays at all, and a milestone never reached costs nothing.
    _bytes("states", nullable=True),
    _bytes("sent", nullable=True),
    _bytes("delivered", nullable=True),
    _bytes("presented", nullable=True),
    _bytes("acknowledged", nullable=True),
    sa.Index("ix_ledger_alert", "alert", "channel"),
    # The arrays live beside the row, so the row itself is small and changes often: leave room to do it in place.
    postgresql_with={"fillfactor": 70},
)

# Counters, curve and versions are sums over slots: mergers that run at the same time take different slots and
# do not wait for each other's commit.
counters = sa.Table(
    "counters",
    metadata,
    sa.Column("alert", sa.Text, sa.ForeignKey("alerts.id"), primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("district", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
    _big("planned"),
    _big("sent"),
    _big("delivered"),
    _big("presented"),
    _big("acknowledged"),
    _big("failed"),
    _big("withheld"),
    _big("expired"),
    _big("final"),
    postgresql_with={"fillfactor": 70},
)

curve = sa.Table(
    "curve",
    metadata,
    sa.Column("alert", sa.Text, sa.ForeignKey("alerts.id"), primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("milestone", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("second", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
    _big("n"),
    postgresql_with={"fillfactor": 70},
)

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
    _big("value"),
    postgresql_with={"fillfactor": 50},
)

sequences = sa.Table(
    "sequences",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _big("next"),
)

pages = sa.Table(
    "pages",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("number", Big, primary_key=True, autoincrement=False),
    _int("size"),
    _bytes("ids"),
    _bytes("holders"),
    _bytes("lon"),
    _bytes("lat"),
    _bytes("regions"),
    _bytes("kinds"),
    _bytes("groups"),
    _bytes("languages"),
    _bytes("addresses"),
)

names = sa.Table(
    "names",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    _int("number"),
    sa.UniqueConstraint("kind", "number", name="uq_names_number"),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _text("department"),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("scopes", sa.JSON, nullable=False),
    _big("created"),
    _big("expires", nullable=True),
    _big("revoked", nullable=True),
    _text("realm"),
)

persons = sa.Table(
    "persons",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _text("password"),
    _text("role"),
    _big("created"),
)

parked = sa.Table(
    "parked",
    metadata,
    _id(),
    _text("queue"),
    _text("reason"),
    _big("parked"),
    sa.Column("headers", sa.JSON, nullable=False),
    _bytes("body"),
    # An id that a person has read is never given to another message.
    sqlite_autoincrement=True,
)

feeds = sa.Table(
    "feeds",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _text("shown"),
    _big("tried", nullable=True),
    _big("succeeded", nullable=True),
    _int("failures"),
    _int("listed"),
    _big("seen"),
    _big("imported"),
    _big("refused"),
    _text("error", nullable=True),
    _big("next_try"),
    _text("etag", nullable=True),
    _text("last_modified", nullable=True),
    _text("owner", nullable=True),
    _big("lease_until", nullable=True),
)

feed_items = sa.Table(
    "feed_items",
    metadata,
    sa.Column("feed", sa.Text, sa.ForeignKey("feeds.name"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    _text("place"),
    _text("outcome"),
    _big("first_seen"),
    _big("last_seen"),
    _int("tries"),
    _text("identifier", nullable=True),
    _text("sender", nullable=True),
    _bytes("digest", nullable=True),
    _text("alert", nullable=True),
    sa.Column("findings", sa.JSON, nullable=False),
    _bytes("body", nullable=True),
    sa.Index("ix_feed_items_first_seen", "feed", "first_seen"),
)

callbacks = sa.Table(
    "callbacks",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _text("department"),
    _text("shown"),
    _bytes("sealed"),
    sa.Column("states", sa.JSON, nullable=False),
    _big("created"),
    _big("cursor"),
)

callback_deliveries = sa.Table(
    "callback_deliveries",
    metadata,
    _id(),
    sa.Column("callback", sa.Text, sa.ForeignKey("callbacks.id"), nullable=False),
    sa.Column("event", Big, sa.ForeignKey("alert_events.id"), nullable=False),
    _text("alert"),
    _text("state"),
    _big("at"),
    _text("why"),
    _big("created"),
    _big("next_try"),
    _int("attempts"),
    _int("taken"),
    _big("lease_until", nullable=True),
    _text("outcome"),
    _big("closed", nullable=True),
    _int("status", nullable=True),
    _text("error", nullable=True),
    sa.UniqueConstraint("callback", "event", name="uq_callback_deliveries_event"),
    # Only what waits: the index stays small however many deliveries history holds.
    sa.Index(
        "ix_callback_deliveries_waiting",
        "callback",
        "alert",
        "event",
        postgresql_where=sa.text("outcome = 'waiting'"),
        sqlite_where=sa.text("outcome = 'waiting'"),
    ),
    # A delivery that was read must not be taken for a later one with its id.
    sqlite_autoincrement=True,
)
