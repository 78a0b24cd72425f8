"""What `serve` and `worker` log before they start."""

from urllib.parse import urlsplit

import structlog

from service import __version__
from service.cli.common import find_database_problem
from service.database.engine import Database
from service.settings import Settings
from service.settings.loading import find_env_file_problems
from service.templating.misspelled_files import find_misspelled_templates

log = structlog.get_logger()


async def announce(command: str, settings: Settings, **details: object) -> None:
    """One line with what the command runs with, and one for everything about it that looks wrong."""
    database = Database(settings, create=False)
    try:
        log.info(
            f"{command}.starting",
            version=__version__,
            database=database.address,
            relay=f"{settings.smtp_host}:{settings.smtp_port}",
            smtp_security=settings.smtp_security,
            confirmation=settings.confirmation,
            webhook=urlsplit(settings.webhook_url).hostname or "off",
            **details,
        )
        for ignored in (*find_env_file_problems(), *find_misspelled_templates(settings.templates_dir)):
            log.warning("settings.ignored", reason=ignored)
        if problem := await find_database_problem(database, storing=True):
            log.error("database.not_ready", reason=problem)
    finally:
        await database.close()
