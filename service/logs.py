"""Log lines are events with fields. They never carry an address, a name, a body or a secret."""

import logging
import re
import sys

import structlog

from service.settings import Settings

ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+")


def without_addresses(text: str) -> str:
    return ADDRESS.sub("…", text) if "@" in text else text


def configure(settings: Settings) -> None:
    """Sends our own events and those of the libraries to standard error, in one format."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # A net beneath: texts that others write, such as a relay or a library, may quote what was handed to them.
    quiet: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, _without_addresses]
    renderers: list[structlog.typing.Processor] = (
        [*quiet, structlog.processors.JSONRenderer()]
        if settings.effective_log_format == "json"
        # Plain, because the pretty traceback shows local variables: addresses and names.
        else [
            *quiet,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    library_lines = logging.StreamHandler(sys.stderr)
    library_lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[library_lines], force=True)


def _without_addresses(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {
        name: without_addresses(value) if isinstance(value, str) else value for name, value in event.items()
    }
