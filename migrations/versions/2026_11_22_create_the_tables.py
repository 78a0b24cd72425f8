"""create the tables

Revision: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UtcTime = sa.DateTime(timezone=True)
PENDING = sa.text("status = 'pending'")
FAILED = sa.text("status = 'failed'")
TAGGED = sa.text("untagged_email IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("canonical_email", sa.String(254), nullable=False),
        sa.Column("untagged_email", sa.String(254)),
        sa.Column("name", sa.String(100)),
        sa.Column("locale", sa.String(35)),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("canonical_email", name="uq_users_canonical_email"),
        sa.UniqueConstraint("idempotency_key", name="uq_users_idempotency_key"),
    )
    op.create_index(
        "ix_users_untagged_email",
        "users",
        ["untagged_email", "created_at"],
        postgresql_where=TAGGED,
        sqlite_where=TAGGED,
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("recipient", sa.String(320), nullable=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("name", sa.String(100)),
        sa.Column("locale", sa.String(35)),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("status", sa.String(7), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("deferrals", sa.Integer, nullable=False),
        sa.Column("due_at", UtcTime, nullable=False),
        sa.Column("give_up_at", UtcTime, nullable=False),
        sa.Column("last_reply", sa.String(1000)),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("finished_at", UtcTime),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("user_id", name="uq_outbox_user_id"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_outbox_user_id_users", ondelete="CASCADE"
        ),
        sa.CheckConstraint("status IN ('pending', 'sent', 'failed')", name="ck_outbox_status"),
    )
    op.create_index("ix_outbox_due", "outbox", ["due_at"], postgresql_where=PENDING, sqlite_where=PENDING)
    op.create_index(
        "ix_outbox_domain", "outbox", ["domain", "due_at"], postgresql_where=PENDING, sqlite_where=PENDING
    )
    op.create_index(
        "ix_outbox_failed", "outbox", ["finished_at"], postgresql_where=FAILED, sqlite_where=FAILED
    )
    op.create_table(
        "audit_log",
        sa.Column("instance", sa.Uuid, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("occurred_at", UtcTime, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("method", sa.String(32), nullable=False),
        sa.Column("route", sa.String(200)),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("duration_us", sa.BigInteger, nullable=False),
        sa.Column("response_bytes", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.Uuid),
        sa.Column("client_network", sa.String(43)),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("instance", "seq", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_occurred_at", "audit_log", ["occurred_at"])
    op.create_index("ix_audit_log_request_id", "audit_log", ["request_id"])
    op.create_table(
        "audit_instances",
        sa.Column("instance", sa.Uuid, nullable=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("instance", name="pk_audit_instances"),
    )
    op.create_table(
        "rate_counts",
        sa.Column("ends_at", UtcTime, nullable=False),
        sa.Column("scope", sa.String(300), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("ends_at", "scope", name="pk_rate_counts"),
    )
    op.create_table(
        "shared_counters",
        sa.Column("process", sa.Uuid, nullable=False),
        sa.Column("counted", sa.Text, nullable=False),
        sa.Column("updated_at", UtcTime, nullable=False),
        sa.Column("is_folded", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("process", name="pk_shared_counters"),
    )


def downgrade() -> None:
    for table in ("shared_counters", "rate_counts", "audit_instances", "audit_log", "outbox", "users"):
        op.drop_table(table)
