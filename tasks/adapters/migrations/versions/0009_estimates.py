"""Estimates of trainings beside what they took, to correct later ones."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "estimates",
        sa.Column("training", sa.String, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("device", sa.String, nullable=False, index=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("estimated_seconds", sa.Float, nullable=False),
        sa.Column("actual_seconds", sa.Float, nullable=False),
        sa.Column("estimated_bytes", sa.BigInteger, nullable=False),
        sa.Column("actual_bytes", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("estimates")
