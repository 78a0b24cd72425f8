"""confirm addresses

Revision: 0003
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UtcTime = sa.DateTime(timezone=True)
UNCONFIRMED = sa.text("confirmed_at IS NULL AND confirmation_asked_at IS NOT NULL")
KEY_BYTES = 32


def upgrade() -> None:
    op.add_column("users", sa.Column("confirmation_asked_at", UtcTime))
    op.add_column("users", sa.Column("confirmed_at", UtcTime))
    op.create_index(
        "ix_users_confirmation_asked_at",
        "users",
        ["confirmation_asked_at"],
        postgresql_where=UNCONFIRMED,
        sqlite_where=UNCONFIRMED,
    )
    op.add_column("outbox", sa.Column("renewals", sa.Integer))
    keys = op.create_table(
        "link_key",
        sa.Column("key", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_link_key"),
    )
    op.bulk_insert(keys, [{"key": secrets.token_hex(KEY_BYTES)}])


def downgrade() -> None:
    op.execute("DELETE FROM outbox WHERE kind IN ('confirmation', 'user.confirmed')")
    op.drop_table("link_key")
    op.drop_column("outbox", "renewals")
    op.drop_index("ix_users_confirmation_asked_at", "users")
    op.drop_column("users", "confirmed_at")
    op.drop_column("users", "confirmation_asked_at")
