"""What programs that parse the log rely on."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def logged(says: str) -> bytes:
    program = f"""
import logging, structlog
from service.observability import logs
from service.settings import Settings
logs.configure(Settings(log_format="json", log_level="info"))
{says}
"""
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, check=True
    ).stderr


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
def test_a_line_is_one_json_object_in_ascii(says: str, fields: dict[str, object]) -> None:
    line = logged(says)

    assert line.isascii()
    assert line.endswith(b"\n")
    written = json.loads(line)
    timestamp = written.pop("timestamp")
    assert written == fields
    assert timestamp.endswith("Z")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(timestamp)) < timedelta(minutes=1)


def test_a_traceback_stands_in_its_line() -> None:
    line = logged("structlog.get_logger().error('odd', exc_info=ValueError('so odd'))")

    assert json.loads(line)["exception"].endswith("ValueError: so odd")
