"""owe events beside emails

Revision: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PENDING = sa.text("status = 'pending'")
STATUSES = sa.CheckConstraint("status IN ('pending', 'sent', 'failed')", name="ck_outbox_status")


def upgrade() -> None:
    _drop_indexes_of_pending()
    # SQLite makes the table anew, and would forget its constraint.
    with op.batch_alter_table("outbox", table_args=(STATUSES,)) as outbox:
        # With defaults, for processes of the release before.
        outbox.add_column(sa.Column("channel", sa.String(7), nullable=False, server_default="mail"))
        outbox.add_column(sa.Column("kind", sa.String(20), nullable=False, server_default="welcome"))
        outbox.add_column(sa.Column("subject_id", sa.Uuid))
        outbox.add_column(sa.Column("reason", sa.String(1000)))
        outbox.alter_column("user_id", existing_type=sa.Uuid, nullable=True)
        outbox.drop_constraint("uq_outbox_user_id", type_="unique")
    op.create_index("ix_outbox_user_id", "outbox", ["user_id"])
    _create_indexes_of_pending("channel")


def downgrade() -> None:
    op.execute("DELETE FROM outbox WHERE channel <> 'mail'")
    _drop_indexes_of_pending()
    op.drop_index("ix_outbox_user_id", "outbox")
    with op.batch_alter_table("outbox", table_args=(STATUSES,)) as outbox:
        outbox.create_unique_constraint("uq_outbox_user_id", ["user_id"])
        outbox.alter_column("user_id", existing_type=sa.Uuid, nullable=False)
        for column in ("reason", "subject_id", "kind", "channel"):
            outbox.drop_column(column)
    _create_indexes_of_pending()


def _drop_indexes_of_pending() -> None:
    op.drop_index("ix_outbox_due", "outbox")
    op.drop_index("ix_outbox_domain", "outbox")


def _create_indexes_of_pending(*first: str) -> None:
    for name, columns in (("ix_outbox_due", ["due_at"]), ("ix_outbox_domain", ["domain", "due_at"])):
        op.create_index(name, "outbox", [*first, *columns], postgresql_where=PENDING, sqlite_where=PENDING)
