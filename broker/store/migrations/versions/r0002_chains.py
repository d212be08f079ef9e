"""Chains of alerts, previews, rounds, and credentials for drills."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0002"
down_revision = "r0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and tables; what stands there was public, live and planned once."""
    op.add_column("alerts", sa.Column("scope", sa.Text(), nullable=False, server_default="Public"))
    op.add_column("alerts", sa.Column("preview", sa.Text(), nullable=True))
    op.add_column("alerts", sa.Column("round", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE alerts SET round = 1 WHERE planned IS NOT NULL")
    op.add_column("tokens", sa.Column("realm", sa.Text(), nullable=False, server_default="live"))
    op.create_table(
        "alert_references",
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("identifier", sa.Text(), nullable=False),
        sa.Column("sent", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["alert"], ["alerts.id"], name=op.f("fk_alert_references_alert")),
        sa.PrimaryKeyConstraint("alert", "position", name=op.f("pk_alert_references")),
    )
    op.create_index("ix_alert_references_identity", "alert_references", ["identifier", "sender", "sent"])
    op.create_table(
        "previews",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("made", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("recipients", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["alert"], ["alerts.id"], name=op.f("fk_previews_alert")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_previews")),
    )
    op.create_index(op.f("ix_previews_alert"), "previews", ["alert"])
