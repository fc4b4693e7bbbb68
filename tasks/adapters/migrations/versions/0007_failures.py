"""Failures of the past, for the statistics of errors."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "failures",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("code", sa.String, nullable=False, index=True),
        sa.Column("subject", sa.String, nullable=False, index=True),
        sa.Column("step", sa.Integer, nullable=True),
        sa.Column("change", sa.String, nullable=False),
        sa.Column("repaired", sa.Boolean, nullable=True),
    )


def downgrade() -> None:
    op.drop_table("failures")
