"""The bare SMTP pool: connections that send the same bytes over and over, pipelined as the service does.

python -m bench.smtp_pool SMTP_PORT
"""

import asyncio
import sys
import time
from uuid import uuid4

import uvloop

from service.mail.message import Message, Messages
from service.outbox.row import Email
from service.settings import Settings

REPLIES_TO_ENVELOPE = 3  # to MAIL, RCPT and DATA
LAST_LINE = b" "  # after the code of a reply's last line; the others have "-" (RFC 5321, section 4.2.1)


async def main(port: int) -> None:
    settings = Settings(smtp_host="127.0.0.1", smtp_port=port)
    message = _prepare_message(settings)
    await asyncio.gather(*(_send_forever(port, message) for _ in range(settings.smtp_connections)))


async def _send_forever(port: int, message: Message) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await _read_replies(reader, 1)  # the greeting
    writer.write(b"EHLO example.com\r\n")
    await _read_replies(reader, 1)
    envelope = f"MAIL FROM:<{message.sender}>\r\nRCPT TO:<{message.recipient}>\r\nDATA\r\n".encode()
    content = message.content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    while True:
        writer.write(envelope)
        await _read_replies(reader, REPLIES_TO_ENVELOPE)
        writer.write(content)
        await _read_replies(reader, 1)


async def _read_replies(reader: asyncio.StreamReader, count: int) -> None:
    """Reads so many replies. Raises ValueError for a refusal, because it would make the pool look faster."""
    while count:
        line = await reader.readuntil(b"\n")
        if line[:1] not in b"23":
            raise ValueError(line)
        count -= line[3:4] == LAST_LINE


def _prepare_message(settings: Settings) -> Message:
    """A message as the service makes it, made once."""
    email = Email(
        id=uuid4(),
        recipient="filled000001@example.com",
        name="Ada",
        request_id="",
        attempt=1,
        deferrals=0,
        held_until=time.monotonic(),
    )
    return Messages(settings).welcome(email)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
