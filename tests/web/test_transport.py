"""How answers leave, and how long a client may leave its answer unread."""

import asyncio
import socket
from unittest.mock import Mock, call

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


@pytest.fixture
def connection() -> Mock:
    connection = Mock(asyncio.Transport)
    connection.is_closing.return_value = False
    connection.get_write_buffer_size.return_value = 0
    return connection


async def test_head_and_body_of_an_answer_leave_in_one_packet(connection: Mock) -> None:
    client = ClientTransport(connection, is_unread=lambda: False)

    client.write(b"head ")
    client.write(b"body")
    await asyncio.sleep(0)
    client.write(b"next")
    await asyncio.sleep(0)

    assert connection.write.mock_calls == [call(b"head body"), call(b"next")]


async def test_what_was_written_leaves_before_the_connection_is_closed(connection: Mock) -> None:
    client = ClientTransport(connection, is_unread=lambda: False)

    client.write(b"the last answer")
    client.close()

    sent = [one for one in connection.mock_calls if one in (call.write(b"the last answer"), call.close())]
    assert sent == [call.write(b"the last answer"), call.close()]


async def test_an_answer_whose_client_leaves_meanwhile_is_dropped(connection: Mock) -> None:
    """uvloop raises for what is written to a closed connection."""
    client = ClientTransport(connection, is_unread=lambda: False)

    client.write(b"too late")
    connection.is_closing.return_value = True
    await asyncio.sleep(0)

    assert not connection.write.called


async def test_a_long_answer_is_not_gathered_in_memory(connection: Mock) -> None:
    """The app is told to wait by what the connection cannot take, so that has to learn of it."""
    client = ClientTransport(connection, is_unread=lambda: False)

    for _ in range(9):
        client.write(bytes(transport.MAX_UNSENT // 4))

    assert connection.write.called
