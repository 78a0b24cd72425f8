"""The command `migrate`."""

from typing import TYPE_CHECKING

from service.cli.common import progress, run_with_database
from service.cli.output import say

if TYPE_CHECKING:
    from service.database.engine import Database
    from service.settings import Settings


def migrate() -> None:
    """Bring the database to this release's schema."""
    run_with_database(_migrate, migrated=False)
    say("The database is up to date.")


async def _migrate(database: "Database", _: "Settings") -> None:
    from service.database import migrations

    with progress() as bar:
        bar.add_task("Migrating", total=None)
        await migrations.migrate(database)
