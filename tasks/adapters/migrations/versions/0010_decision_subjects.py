"""Who is named in the correction of a row, as keyed hashes."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("row_decisions", sa.Column("subjects", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("row_decisions", "subjects")
