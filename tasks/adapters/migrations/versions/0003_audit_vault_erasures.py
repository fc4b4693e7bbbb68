"""Audit log, vault of originals, journal of erasures."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("object", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("previous_digest", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
    )
    op.create_table(
        "vault_items",
        sa.Column("row_id", sa.String, primary_key=True),
        sa.Column("item", sa.String, nullable=False, unique=True),
        sa.Column("wrapped_key", sa.String, nullable=False),
        sa.Column("key_fingerprint", sa.String, nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, index=True),
    )
    op.create_table(
        "vault_subjects",
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("row_id", sa.String, primary_key=True),
    )
    op.create_table(
        "erasures",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("marks", sa.Text, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("done", sa.Text, nullable=False),
    )


def downgrade() -> None:
    for table in ("erasures", "vault_subjects", "vault_items", "audit_log"):
        op.drop_table(table)
