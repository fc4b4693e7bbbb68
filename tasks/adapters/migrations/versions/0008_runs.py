"""What belongs to runs beside Prefect's history: outputs, processes, tags, notes."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "run_outputs",
        sa.Column("run", sa.String, primary_key=True),
        sa.Column("stage", sa.String, primary_key=True),
        sa.Column("output", sa.String, primary_key=True),
        sa.Column("about", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "run_processes",
        sa.Column("run", sa.String, primary_key=True),
        sa.Column("host", sa.String, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
    )
    op.create_table(
        "run_tags",
        sa.Column("run", sa.String, primary_key=True),
        sa.Column("tag", sa.String, primary_key=True),
    )
    op.create_table(
        "run_notes",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("run", sa.String, nullable=False, index=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    for name in ("run_notes", "run_tags", "run_processes", "run_outputs"):
        op.drop_table(name)
