"""count for limits

Revision: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TAGGED = sa.text("untagged_email IS NOT NULL")


def upgrade() -> None:
    op.add_column("users", sa.Column("untagged_email", sa.String(254)))
    op.create_index(
        "ix_users_untagged_email",
        "users",
        ["untagged_email", "created_at"],
        postgresql_where=TAGGED,
        sqlite_where=TAGGED,
    )
    op.create_table(
        "rate_counts",
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("scope", sa.String(300), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("ends_at", "scope", name="pk_rate_counts"),
    )


def downgrade() -> None:
    op.drop_table("rate_counts")
    op.drop_index("ix_users_untagged_email", "users")
    # Not in a batch, which would make SQLite's table anew: dropping the old one takes all emails with it.
    op.drop_column("users", "untagged_email")
