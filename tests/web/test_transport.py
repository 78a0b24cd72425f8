"""How long a client may leave its answer unread."""

import asyncio
import socket
from unittest.mock import Mock

import pytest

from service.web import transport
from service.web.transport import ClientTransport


@pytest.mark.parametrize(
    ("unread", "is_cut"),
    [
        pytest.param([3, 2, 1, 0], False, id="slowly, to its end"),
        pytest.param([3, 2, 2], True, id="slowly, and then no more"),
        pytest.param([3, 3], True, id="nothing"),
        pytest.param([3, 4], True, id="less than is written"),
    ],
)
async def test_a_client_that_reads_slowly_is_kept_and_one_that_reads_nothing_is_cut(
    monkeypatch: pytest.MonkeyPatch, unread: list[int], is_cut: bool
) -> None:
    """`unread` is what is left of its answer each time we look."""
    monkeypatch.setattr(transport, "STALLED_SECONDS", 0)
    with socket.socket() as sock:
        connection = Mock(asyncio.Transport)
        looks = [size for size in unread for _ in range(2)][1:]  # to compare with the last, and for the next
        connection.get_write_buffer_size.side_effect = looks
        connection.get_extra_info.return_value = sock

        ClientTransport(connection, is_unread=lambda: False).watch_reading()
        for _ in looks:
            await asyncio.sleep(0.001)

    assert connection.abort.called == is_cut
