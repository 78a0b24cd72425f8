"""`check` with CONFIRMATION=link."""

import asyncio
from pathlib import Path

from service.database.engine import Database
from tests.support.commands import run
from tests.support.ports import free_port
from tests.support.relay import ScriptedRelay


async def test_check_is_content_with_what_works_and_names_a_key_that_is_gone(
    relay: ScriptedRelay, database_url: str, database: Database, tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": relay.port,
        "CONFIRMATION": "link",
    }
    fine = await asyncio.to_thread(run, "check", folder=tmp_path, **environment)
    async with database.transaction() as connection:
        await connection.exec_driver_sql("DELETE FROM link_key")

    gone = await asyncio.to_thread(run, "check", folder=tmp_path, **environment)
    own = await asyncio.to_thread(run, "check", folder=tmp_path, **environment, LINK_KEY="swordfish" * 4)

    assert (fine.returncode, fine.stderr) == (0, "")
    assert gone.returncode == 1
    assert gone.stderr == (
        "No link can be signed: the table link_key is empty: restore its row, or set LINK_KEY.\n"
    )
    assert own.returncode == 0


def test_check_names_what_is_wrong_with_its_settings_and_templates(tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "confirm.de.txt").write_text("{{ lnk }}")
    (templates / "page.confrm.html").write_text("")
    environment = {"CONFIRMATION": "link", "TEMPLATES_DIR": templates, "UNCONFIRMED_DAYS": "1"}

    checked = run("check", folder=tmp_path, SMTP_PORT=free_port(), **environment, LINK_KEY="swordfish")

    for words in (
        "UNCONFIRMED_DAYS: raise it to at least CONFIRM_WITHIN, or users are deleted",
        "LINK_KEY is not valid: it takes 16 characters or more, such as `openssl rand -hex 32` makes.",
        "confirm.de.txt, line 1, cannot be used: 'lnk' is undefined.",
        "page.confrm.html is no template and is ignored: did you mean page.confirm.html?",
    ):
        assert words in checked.stderr
    assert "swordfish" not in checked.stderr
