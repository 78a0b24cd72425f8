"""The bare SMTP pool: sends one prepared message over and over, by the service's own connections and without
its outbox.

python -m bench.smtp_pool SMTP_PORT
"""

import asyncio
import sys
import time
from uuid import uuid4

import uvloop

from service.mail.message import Message, Messages
from service.mail.relay import Relay
from service.outbox.row import Email
from service.settings import Settings


async def main(port: int) -> None:
    settings = Settings(smtp_host="127.0.0.1", smtp_port=port)
    message, relay = _prepare_message(settings), Relay(settings)
    await asyncio.gather(*(_send_forever(relay, message) for _ in range(settings.smtp_connections)))


async def _send_forever(relay: Relay, message: Message) -> None:
    while True:
        await relay.send(message)


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
