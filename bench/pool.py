"""The mail floor: ten kept connections of aiosmtplib that send the same prepared bytes over and over.

python -m bench.pool SMTP_PORT
"""

import asyncio
import sys
import time
from uuid import uuid4

import uvloop
from aiosmtplib import SMTP

from service.mail.message import Message, Messages
from service.outbox.row import Email
from service.settings import Settings


async def main(port: int) -> None:
    settings = Settings(smtp_host="127.0.0.1", smtp_port=port)
    message = _prepared(settings)
    await asyncio.gather(*(_send_for_ever(settings, message) for _ in range(settings.smtp_connections)))


async def _send_for_ever(settings: Settings, message: Message) -> None:
    async with SMTP(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        local_hostname="example.com",
        use_tls=False,
        start_tls=False,
    ) as connection:
        while True:
            await connection.sendmail(message.sender, [message.recipient], message.content)


def _prepared(settings: Settings) -> Message:
    """The service's own bytes, made once."""
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
