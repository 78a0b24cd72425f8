"""Logging. Lines are events with fields, and never contain an address, a name, a body or a secret."""

import json
import logging
import re
import sys

import structlog

from service.settings import Settings

# One encoder for all lines: `json.dumps` with a default makes a new one each time. `repr` leaves out what
# our classes leave out of theirs; faster serializers write all fields of dataclasses, addresses included.
_ENCODER = json.JSONEncoder(default=repr)
ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+")


def redact_addresses(text: str) -> str:
    return ADDRESS.sub("…", text) if "@" in text else text


def configure(settings: Settings) -> None:
    """Sends our own events and those of libraries to standard error, in one format."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # A safety net: texts of a relay or a library may quote what they were given.
    quiet: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, _redact_addresses]
    is_json = settings.effective_log_format == "json"
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if is_json
        # Plain: the pretty traceback shows local variables, and so addresses and names.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[*shared, *quiet, _json if is_json else renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Without standard error there is no buffer, and structlog writes to standard output.
        logger_factory=structlog.BytesLoggerFactory(getattr(sys.stderr, "buffer", None))
        if is_json
        else structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    library_lines = logging.StreamHandler(sys.stderr)
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


def _json(_: object, __: str, event: structlog.typing.EventDict) -> bytes:
    return _ENCODER.encode(event).encode()
