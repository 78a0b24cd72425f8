"""One server for each database, kept for all inputs."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from service.settings import Settings
from tests.inputs.live import ORIGIN, PROXY, Live
from tests.support.database import execute, with_database


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def live(
    request: pytest.FixtureRequest,
    postgres_url: str,
    migrated_template: str,
    migrated_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Live]:
    folder, name = tmp_path_factory.mktemp("live"), f"live_{uuid4().hex}"
    url = ""
    if request.param == "sqlite":
        shutil.copy(migrated_file, folder / "service.db")
    else:
        asyncio.run(execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {migrated_template}"))
        url = with_database(postgres_url, name)
    live = Live(
        Settings(
            database_url=url,
            data_dir=folder,
            cors_origins=ORIGIN,
            trusted_proxies=PROXY,
            public_url="https://engines.example.com",
            signup_rate_limit="",  # all inputs come from one address
            mailbox_rate_limit="",
        )
    )
    yield live
    # Of our own ids: examples may choose the same one.
    twice = live.rows(
        "SELECT request_id FROM audit_log WHERE length(request_id) = 32"
        " GROUP BY request_id HAVING count(*) > 1"
    )
    live.stop()
    assert twice == []
    if url:
        asyncio.run(execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))
