"""One server for each database, kept for all inputs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import Settings
from tests.inputs.live import ORIGIN, PROXY, Live
from tests.support.database import copy_database


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest) -> Live:
    live: Live = request.getfixturevalue(f"live_on_{request.param}")
    return live


@pytest.fixture(scope="session")
def live_on_sqlite(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    shutil.copy(migrated_file, folder / "service.db")
    yield from _live("", folder)


@pytest.fixture(scope="session")
def live_on_postgresql(
    postgres_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    with copy_database(postgres_url, migrated_template) as url:
        yield from _live(url, tmp_path_factory.mktemp("live"))


def _live(url: str, folder: Path) -> Iterator[Live]:
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
