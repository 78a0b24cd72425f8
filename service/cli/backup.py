"""The command `backup`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import CommandFailed, progress, run_with_database
from service.cli.output import say

if TYPE_CHECKING:
    from service.database.engine import Database
    from service.settings import Settings


def backup(
    file: Annotated[Path, typer.Argument(help="The copy. It must not exist.", show_default=False)],
) -> None:
    """Copy the SQLite database to a file, while the service runs."""

    async def copy(database: "Database", _: "Settings") -> None:
        from service.database.backup import BackupFailed, back_up

        if not database.is_sqlite:
            raise CommandFailed(
                f'PostgreSQL has its own command: pg_dump --format=custom --file={file} "$DATABASE_URL"'
            )
        try:
            with progress() as bar:
                bar.add_task("Copying", total=None)
                await back_up(database, to=file)
        except BackupFailed as exc:
            raise CommandFailed(str(exc)) from exc
        say(f"The database was copied to {file}.")

    run_with_database(copy)
