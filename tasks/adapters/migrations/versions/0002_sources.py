"""Sources: what every sync saw of them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "data_sources",
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("shown", sa.String, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "source_documents",
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("address", sa.String, primary_key=True),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("present", sa.Boolean, nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "source_changes",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("source", sa.String, nullable=False, index=True),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("change", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("previous", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "source_records",
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("key", sa.LargeBinary(16), primary_key=True),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
    )


def downgrade() -> None:
    for table in ("source_records", "source_changes", "source_documents", "data_sources"):
        op.drop_table(table)
