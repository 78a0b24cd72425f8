"""The engine, and everything that differs between SQLite and PostgreSQL."""

import asyncio
import contextlib
import math
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from typing import cast as typed

import asyncpg
from sqlalchemy import (
    ColumnElement,
    Text,
    cast,
    event,
    func,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import AdaptedConnection, DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlmodel import SQLModel
from sqlmodel.sql.sqltypes import UTCDateTime

from service.database.models import table
from service.database.outage_log import OutageLog
from service.database.url import connect_arguments, describe, parse_url
from service.runtime.private_files import create_private_file
from service.settings import Settings

Insert = postgresql.Insert | sqlite.Insert

POOL_SIZE = 6  # two for signups, outcomes, audit, worker, and one for reading
TRANSACTION_TIMEOUT = 10.0  # s; then the transaction is given up
CHECKOUT_TIMEOUT = 2.0  # s to wait for a connection, from the pool or new
READ_TIMEOUT = 2.0  # s for a query, when somebody waits for its answer
PING_AFTER_IDLE = 1.0  # s that a connection may be idle and still be used without a check
CLOSE_TIMEOUT = 0.3  # s to say goodbye to the server
LAST_TRANSACTIONS_TIMEOUT = 0.5  # s that transactions under way have to finish when the database is closed
BUSY_TIMEOUT_MS = 5_000  # SQLite: how long to wait for another process's write

NO_TIME = timedelta(0)
SQLITE_TIMESTAMP: ColumnElement[str] = literal_column(
    "'%Y-%m-%d %H:%M:%f000'"
)  # SQLAlchemy's format, to the millisecond
# sqlstate classes whose texts name only things of the server. Others may quote a row, as triggers do.
QUOTABLE = ("", "08", "0A", "25", "28", "3D", "3F", "42", "53", "55", "57", "58", "XX")
DATA_ERRORS = ("22", "23")  # sqlstate classes: data exception, integrity violation
DRIVER_ERRORS = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError),  # when we use the driver directly
    # SQLAlchemy passes these on as they are when a connection breaks while it is given back.
    *(AsyncAdapt_asyncpg_dbapi.Error, sqlite3.Error),
)
UNDEFINED_TABLE = "42P01"
NOT_MIGRATED = "it was not migrated: run `signup-service migrate`"
CONFLICTS = ("40001", "40P01")  # serialization failure, deadlock: nothing happened, try again


class DatabaseUnavailable(Exception):
    """The database is not reachable, not ready or too slow. The statement may have been executed."""


class DataRejected(Exception):
    """The database never accepts these values. Nothing was written."""


class TransactionConflict(DatabaseUnavailable):
    """Another transaction was in the way. Nothing was written; a retry may succeed at once."""


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg brings no types
    """Says goodbye to the server, but does not wait forever for its answer on a half-open connection."""

    async def close(self, **_: object) -> None:
        # Long enough to tell the server to cancel a query that waits for a lock. Otherwise the query would
        # keep its place among max_connections as long as the lock is held.
        with contextlib.suppress(TimeoutError):
            await super().close(timeout=CLOSE_TIMEOUT)


POSTGRESQL_ARGUMENTS: dict[str, Any] = {
    # Prepared statements outlive a transaction, but behind PgBouncer the next transaction may run on
    # another connection: 129 of 240 transactions failed with caches on.
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": str,  # the unnamed statement
    "connection_class": _Connection,
    "timeout": CHECKOUT_TIMEOUT,
}


class Database:
    """One engine with a small pool. Never hold a connection while anything else is awaited.

    Connecting creates an SQLite file that does not exist, unless `create` is false.
    """

    def __init__(self, settings: Settings, *, create: bool = True) -> None:
        url = parse_url(settings)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.file = Path(url.database or "")  # of SQLite
        self.engine: AsyncEngine = create_async_engine(
            url.set(query={}),
            connect_args={} if self.is_sqlite else POSTGRESQL_ARGUMENTS | connect_arguments(url),
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=CHECKOUT_TIMEOUT,
            hide_parameters=True,  # or every error text would contain the address and the name
        )
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self.address = describe(url)
        self._outages = OutageLog(self.address)
        # SQLite has one writer. Waiting for it here is fair; its own busy loop is not.
        self._writer: contextlib.AbstractAsyncContextManager[Any]
        if self.is_sqlite:
            self._writer = asyncio.Lock()
            self._read_only: dict[str, Any] = {"reading": True}
            _configure_sqlite(self.engine, self.file, create=create)
        else:
            self._writer = contextlib.nullcontext()
            self._read_only = {"isolation_level": "AUTOCOMMIT"}
            _configure_postgresql(self.engine)

    @contextlib.asynccontextmanager
    async def transaction(self, *, autocommit: bool = False) -> AsyncIterator[AsyncConnection]:
        """Commits at the end, or with `autocommit` after each statement.

        Raises DatabaseUnavailable, DataRejected or TransactionConflict.
        """
        with _translate_errors():
            try:
                async with (
                    asyncio.timeout(TRANSACTION_TIMEOUT),
                    self._writer,
                    (self._autocommit if autocommit else self.engine).begin() as connection,
                ):
                    yield connection
            except TimeoutError:
                # Perhaps no connection of the pool reaches the server any more, and each would take another
                # TRANSACTION_TIMEOUT to find out.
                await self.engine.dispose()
                raise

    @contextlib.asynccontextmanager
    async def unbounded_transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction without a timeout, for migrations. Raises DatabaseUnavailable."""
        with _translate_errors():
            async with self.engine.begin() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def read_only(self, *, timeout: float | None = READ_TIMEOUT) -> AsyncIterator[AsyncConnection]:  # noqa: ASYNC109  # for everything in the block
        """For queries only: takes no write lock. Commands use no timeout, because their progress is shown.

        Raises DatabaseUnavailable.
        """
        with _translate_errors():
            async with asyncio.timeout(timeout), self.engine.connect() as connection:
                await connection.execution_options(**self._read_only)
                yield connection

    def single_statement(self) -> contextlib.AbstractAsyncContextManager[AsyncConnection]:
        """A transaction of one statement, which PostgreSQL commits by itself. This saves two of four round
        trips. On SQLite there may be several statements."""
        return self.transaction(autocommit=not self.is_sqlite)

    @contextlib.contextmanager
    def tolerate_outage(self, part: str) -> Iterator[None]:
        """For a background loop, whose next round may find the database again."""
        try:
            yield
        except TransactionConflict:
            pass  # the next round may succeed at once
        except DatabaseUnavailable as exc:
            self._outages.report(part, str(exc))
        else:
            self._outages.recover(part)

    def clock(self, *, after: timedelta | ColumnElement[float] = NO_TIME) -> ColumnElement[datetime]:
        """The time `after` now (a column is in s), by the clock that all replicas share: the server's on
        PostgreSQL, the host's on SQLite."""
        seconds = literal_column(str(after.total_seconds())) if isinstance(after, timedelta) else after
        moment = (
            func.strftime(SQLITE_TIMESTAMP, literal_column("'now'"), cast(seconds, Text) + " seconds")
            if self.is_sqlite
            else func.now() + seconds * literal_column("interval '1 second'")
        )
        return type_coerce(moment, UTCDateTime())

    async def now(self, connection: AsyncConnection) -> datetime:
        moment: datetime = (await connection.execute(select(self.clock()))).scalar_one()
        return moment

    def insert(self, model: type[SQLModel]) -> postgresql.Insert:
        """An insert with `on_conflict_do_nothing` and `on_conflict_do_update`, which SQLite's has as well."""
        return (sqlite.insert if self.is_sqlite else postgresql.insert)(table(model))  # type: ignore[return-value]  # see above

    async def close(self) -> None:
        """Lets what is under way finish first: a connection that comes back later would stay open."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_TRANSACTIONS_TIMEOUT):
                while typed(QueuePool, self.engine.pool).checkedout():  # noqa: ASYNC110  # it has no event
                    await asyncio.sleep(0.005)
        await self.engine.dispose()


def _configure_sqlite(engine: AsyncEngine, file: Path, *, create: bool) -> None:
    @event.listens_for(engine.sync_engine, "do_connect")
    def on_do_connect(*_: object) -> None:
        # Before SQLite does it, for everybody to read.
        if create:
            create_private_file(file)
        elif not file.exists():
            raise DatabaseUnavailable("there is no such file")

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        _query_value(connection, f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if _switch_to_wal(connection) != "wal":
            raise DatabaseUnavailable(
                "this file system does not do SQLite's WAL: put DATA_DIR on a local disk"
            )
        _query_value(connection, "PRAGMA synchronous = FULL")
        _query_value(connection, "PRAGMA foreign_keys = ON")

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once with
        # SQLITE_BUSY_SNAPSHOT, whatever the timeout: take the lock first.
        deferred = connection.get_execution_options().get("reading")
        connection.exec_driver_sql("BEGIN" if deferred else "BEGIN IMMEDIATE")


def _switch_to_wal(connection: DBAPIConnection) -> object:
    """The journal mode. While another process writes to a new file, SQLite refuses without waiting."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            return _query_value(connection, "PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        typed(AdaptedConnection, connection).run_async(lambda _: asyncio.sleep(0.01))


def _configure_postgresql(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "checkin")
    def on_checkin(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def on_checkout(connection: Any, record: ConnectionPoolEntry, _: object) -> None:
        # A server that was restarted while a connection was idle must not cost anybody an error. Pinging at
        # every checkout, as `pool_pre_ping` does, cost a tenth of all signups under load.
        if connection.driver_connection.is_closed():
            raise InvalidatePoolError
        if time.monotonic() - record.info.get("idle_since", math.inf) > PING_AFTER_IDLE:
            try:
                connection.ping()
            except Exception as exc:
                raise InvalidatePoolError from exc

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        if _query_value(connection, "SHOW synchronous_commit") == "off":
            raise DatabaseUnavailable(
                "synchronous_commit is off, and a crash would lose accepted signups: set it to on"
            )
        if _query_value(connection, "SHOW server_encoding") != "UTF8":
            raise DatabaseUnavailable("this database cannot hold every name: create it with ENCODING 'UTF8'")


def _query_value(connection: DBAPIConnection, statement: str) -> object:
    cursor = connection.cursor()
    cursor.execute(statement)
    row = cursor.fetchone() if cursor.description else None
    cursor.close()
    return row[0] if row else None


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, *DRIVER_ERRORS, OSError, TimeoutError) as exc:
        sqlstate = _sqlstate(exc)
        # The server's text may quote the row's values. So a data error keeps only its number, and not its
        # cause, which a logged traceback would show.
        if sqlstate in CONFLICTS:
            raise TransactionConflict(sqlstate) from None
        if sqlstate.startswith(DATA_ERRORS):
            raise DataRejected(sqlstate) from None
        if sqlstate == UNDEFINED_TABLE:
            raise DatabaseUnavailable(NOT_MIGRATED) from None
        if sqlstate[:2] not in QUOTABLE:
            raise DatabaseUnavailable(f"the server refused with error {sqlstate}") from None
        raise DatabaseUnavailable(_first_line(exc)) from exc


def _first_line(exc: BaseException) -> str:
    cause = getattr(exc, "orig", None) or exc
    words = str(cause)
    if isinstance(cause, OSError) and cause.strerror and cause.filename is None:
        words = cause.strerror  # without the system's number for it
    lines = words.splitlines() or ["no answer in time"]
    return lines[0].removeprefix("<class 'asyncpg.exceptions.").replace("'>:", ":")


def _sqlstate(exc: BaseException) -> str:
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    if found := getattr(cause, "sqlstate", None):
        return str(found)
    # SQLite has no sqlstate; its names say as much.
    if str(cause).startswith("no such table"):
        return UNDEFINED_TABLE
    name = getattr(cause, "sqlite_errorname", "")
    return "23000" if name.startswith(("SQLITE_CONSTRAINT", "SQLITE_TOOBIG", "SQLITE_MISMATCH")) else ""
