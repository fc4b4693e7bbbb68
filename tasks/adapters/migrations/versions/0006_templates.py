"""Settings saved under a name."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "templates",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("sections", sa.Text, nullable=False),
        sa.Column("saved_from", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("templates")
