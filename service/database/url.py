"""`DATABASE_URL`, in the spellings that hosting companies hand out."""

import sqlite3
import ssl
from typing import Any
from urllib.parse import unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from service.settings import InvalidSettings, Settings

MIN_SQLITE = (3, 38)  # the first with the operator ->>
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
KNOWN_PARAMETERS = {"host", "port", "sslmode", "sslrootcert"}
# They only name or tune the client, or say what is so anyway: that there are no prepared statements, and
# that the server takes writes.
IGNORED_PARAMETERS = {
    "application_name",
    "channel_binding",
    "connect_timeout",
    "gssencmode",
    "keepalives",
    "keepalives_idle",
    "pgbouncer",
    "target_session_attrs",
}


def parse_url(settings: Settings) -> URL:
    """With the driver that we use. Raises InvalidSettings."""
    text = settings.database_url.get_secret_value()
    if "," in text.rpartition("@")[2].partition("/")[0]:
        raise InvalidSettings("DATABASE_URL names several hosts: name one, which takes writes.")
    try:
        url = make_url(text) if text else URL.create("sqlite", database=str(settings.sqlite_file))
    except (ArgumentError, ValueError) as exc:
        raise InvalidSettings("DATABASE_URL is not a URL: try postgresql://user:password@host/name.") from exc
    match url.drivername.partition("+")[0]:
        case "sqlite":
            return _sqlite_url(url)
        case "postgres" | "postgresql":
            return _postgresql_url(url)
        case _:
            raise InvalidSettings("DATABASE_URL must begin with postgresql:// or sqlite:///.")


def describe(url: URL) -> str:
    """For people: the file, or server and name; without user and password."""
    if url.get_backend_name() == "sqlite":
        return f"{url.database}"
    host = url.host or url.query.get("host") or "localhost"
    return f"{url.database} at {host}:{url.port or url.query.get('port') or 5432}"


def connect_arguments(url: URL) -> dict[str, Any]:
    """libpq's parameters for host and TLS, as asyncpg takes them. Raises InvalidSettings."""
    arguments: dict[str, Any] = {name: url.query[name] for name in ("host", "port") if name in url.query}
    mode, root = url.query.get("sslmode"), url.query.get("sslrootcert")
    if root is None or mode == "disable":
        return arguments | ({"ssl": mode} if mode else {})
    is_system = root == "system"  # the system's authorities; libpq then checks the name, too
    try:
        context = ssl.create_default_context(cafile=None if is_system else str(root))
    except OSError as exc:
        raise InvalidSettings(
            f"DATABASE_URL names a file as sslrootcert that cannot be used: {exc}."
        ) from exc
    context.check_hostname = is_system or mode == "verify-full"
    return arguments | {"ssl": context}


def _sqlite_url(url: URL) -> URL:
    if url.host:
        raise InvalidSettings(
            f"DATABASE_URL needs a third slash before a file: sqlite:///{url.host}/{url.database or ''}."
        )
    if not url.database or url.database == ":memory:":
        raise InvalidSettings("DATABASE_URL names no file: try sqlite:///data/service.db.")
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        raise InvalidSettings(
            f"This Python has SQLite {sqlite3.sqlite_version}, and 3.38 or newer is needed: set "
            "DATABASE_URL to a PostgreSQL database, or use a newer Python image."
        )
    return url.set(drivername="sqlite+aiosqlite")


def _postgresql_url(url: URL) -> URL:
    if unknown := set(url.query) - KNOWN_PARAMETERS - IGNORED_PARAMETERS:
        raise InvalidSettings(f"DATABASE_URL has a parameter this service does not know: {min(unknown)}.")
    for name in ("host", "port"):
        if "," in str(url.query.get(name, "")):
            raise InvalidSettings("DATABASE_URL names several hosts: name one, which takes writes.")
    mode = url.query.get("sslmode", "prefer")
    if mode not in SSL_MODES:
        raise InvalidSettings(f"DATABASE_URL has an unknown sslmode: it takes {', '.join(SSL_MODES)}.")
    if url.host and url.host.lower().startswith("%2f"):  # libpq's way to name the folder of a socket
        url = url.set(host="").update_query_dict({"host": unquote(url.host)})
    return url.set(drivername="postgresql+asyncpg")
