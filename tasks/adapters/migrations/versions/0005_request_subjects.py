"""Who is named in logged requests, as keyed hashes."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("requests", sa.Column("key_fingerprint", sa.String, nullable=False, server_default=""))
    op.create_table(
        "request_subjects",
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("request", sa.String, primary_key=True, index=True),
    )


def downgrade() -> None:
    op.drop_table("request_subjects")
    op.drop_column("requests", "key_fingerprint")
