"""Logging. Lines are events with fields, and never contain an address, a name, a body or a secret."""

import logging
import re
import sys
from typing import TextIO, cast

import structlog

from service.observability.log_stream import LogStream
from service.settings import Settings

ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+")


def redact_addresses(text: str) -> str:
    return ADDRESS.sub("…", text) if "@" in text else text


def configure(settings: Settings) -> None:
    """Sends our own events and those of libraries to standard error, in one format."""
    stream = cast("TextIO", LogStream(sys.stderr))
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # A safety net: texts of a relay or a library may quote what they were given.
    quiet: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, _redact_addresses]
    is_json = settings.effective_log_format == "json"
    renderer: structlog.typing.Processor = (
        # `repr` leaves out what our classes leave out of theirs: addresses and names.
        structlog.processors.JSONRenderer(default=repr)
        if is_json
        # Plain: the pretty traceback shows local variables, and so addresses and names.
        else structlog.dev.ConsoleRenderer(
            colors=settings.logs_to_terminal, exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[*shared, *quiet, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    library_lines = logging.StreamHandler(stream)
    library_lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *quiet, renderer],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[library_lines], force=True)


def _redact_addresses(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {
        name: redact_addresses(value) if isinstance(value, str) else value for name, value in event.items()
    }
