"""Whether a signup can be stored. `/readyz` and `check` both ask here."""

import asyncio
import os
import tempfile

from sqlalchemy import text

from service.database import migrations
from service.database.engine import READ_TIMEOUT, Database, DatabaseUnavailable

FILES = ("", "-wal", "-shm")  # that SQLite writes
ROOM = 256 * 1024  # bytes that must be free

# A function's rows are kept in a temporary file as soon as they are more than work_mem. That notices a full
# disk, and unlike an insert leaves nothing behind, in the table, its indexes or the log.
SPILL = text("SELECT count(*) FROM generate_series(1, 10000)")
STATE = text(
    "SELECT pg_is_in_recovery() AS is_standby, current_user AS username,"
    " current_setting('transaction_read_only') = 'on' AS is_read_only,"
    " has_table_privilege('users', 'INSERT') AND has_table_privilege('outbox', 'INSERT') AS may_insert"
)


async def find_problem(database: Database) -> str | None:
    """Why a signup cannot be stored, or None. Raises DatabaseUnavailable."""
    try:
        async with asyncio.timeout(READ_TIMEOUT):
            if database.is_sqlite:
                problem = await asyncio.to_thread(find_file_problem, database)
                return problem or await migrations.find_problem(database)
            return await migrations.find_problem(database) or await _find_server_problem(database)
    except TimeoutError as exc:
        raise DatabaseUnavailable("no answer in time") from exc


def find_file_problem(database: Database) -> str | None:
    """What keeps SQLite from writing its file."""
    file = database.file
    try:
        for path in (file.parent, *(file.with_name(file.name + suffix) for suffix in FILES)):
            if path.exists() and not os.access(path, os.W_OK, effective_ids=True):
                return f"{path} cannot be written by the user of this process: change its owner."
        with tempfile.TemporaryFile(dir=file.parent) as probe:
            probe.write(bytes(ROOM))
    except OSError as exc:
        return f"{file.parent} cannot be written ({exc.strerror}): make room there, or change its owner."
    return None


async def _find_server_problem(database: Database) -> str | None:
    async with database.transaction() as connection:
        state = (await connection.execute(STATE)).one()
        if state.is_standby:
            return "The database server is a standby, which stores nothing: set DATABASE_URL to the primary."
        if state.is_read_only:
            return "The database is read-only: set default_transaction_read_only to off."
        if not state.may_insert:
            return f"The database user {state.username} may not insert into users and outbox: GRANT it that."
        await connection.execute(text("SET LOCAL work_mem = '64kB'"))
        await connection.execute(SPILL)
    return None


async def find_damage(database: Database) -> str | None:
    """What is wrong inside an SQLite file, as after a restore beside the -wal of a killed process, or None.
    Reads all of it."""
    if not database.is_sqlite:
        return None
    try:
        async with database.read_only(timeout=None) as connection:
            found = await connection.scalar(text("PRAGMA quick_check(1)"))
    except DatabaseUnavailable as exc:
        found = str(exc)
    if found == "ok":
        return None
    return f"{database.address} is damaged ({found}): restore a backup, without the old -wal and -shm."
