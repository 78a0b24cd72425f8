"""What programs that parse the log rely on."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.commands import run_program


def logged(says: str, folder: Path) -> str:
    program = f"""
import logging, structlog
from service.observability import logs
from service.settings import Settings
logs.configure(Settings(log_format="json", log_level="info"))
{says}
"""
    return run_program(program, folder=folder)


@pytest.mark.parametrize(
    ("says", "fields"),
    [
        (
            "structlog.get_logger().info('outbox.sent', email_id='1', attempt=2)",
            {"event": "outbox.sent", "level": "info", "email_id": "1", "attempt": 2},
        ),
        (
            "structlog.get_logger().error('relay.paused', reason='verärgert\\n')",
            {"event": "relay.paused", "level": "error", "reason": "verärgert\n"},
        ),
        (
            "structlog.get_logger().error('relay.paused', reason='\\udcff of bytes')",
            {"event": "relay.paused", "level": "error", "reason": "\udcff of bytes"},
        ),
        (
            "from service.mail.message import Message\n"
            "structlog.get_logger().warning('odd', thing=Message('from', recipient='Ada', content=b''))",
            {"event": "odd", "level": "warning", "thing": "Message(sender='from')"},
        ),
        (
            "logging.getLogger('library').warning('it is %s', 'verärgert')",
            {"event": "it is verärgert", "level": "warning"},
        ),
    ],
)
def test_a_line_is_one_json_object_in_ascii(says: str, fields: dict[str, object], tmp_path: Path) -> None:
    line = logged(says, tmp_path)

    assert line.isascii()
    assert line.endswith("\n")
    written = json.loads(line)
    timestamp = written.pop("timestamp")
    assert written == fields
    assert timestamp.endswith("Z")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(timestamp)) < timedelta(minutes=1)


def test_a_traceback_stands_in_its_line(tmp_path: Path) -> None:
    line = logged("structlog.get_logger().error('odd', exc_info=ValueError('so odd'))", tmp_path)

    assert json.loads(line)["exception"].endswith("ValueError: so odd")
