"""keep the language

Revision: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("users", "outbox"):
        op.add_column(table, sa.Column("locale", sa.String(35)))


def downgrade() -> None:
    for table in ("outbox", "users"):
        op.drop_column(table, "locale")
