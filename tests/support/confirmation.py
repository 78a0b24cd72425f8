"""Addresses that wait to be confirmed: their links, and their time."""

import re
from datetime import timedelta

from sqlalchemy import update

from service.database.engine import Database
from service.database.models import USERS
from tests.support.eventually import eventually
from tests.support.relay import Envelope, ScriptedRelay

LINK = re.compile(r"https?://\S*/confirm/([0-9a-f]+)")


def text(envelope: Envelope) -> str:
    part = envelope.message.get_body(("plain",))
    assert part
    content: str = part.get_content()
    return content.replace("\r\n", "\n")


def links(relay: ScriptedRelay) -> dict[str, str]:
    """The token of everybody who was asked, by the recipient."""
    return {
        envelope.recipient: match[1] for envelope in relay.accepted if (match := LINK.search(text(envelope)))
    }


def tokens(relay: ScriptedRelay) -> list[str]:
    """Of the confirmation mails that the relay has taken, in their order."""
    return [match[1] for envelope in relay.accepted if (match := LINK.search(text(envelope)))]


async def new_token(relay: ScriptedRelay, *, count: int = 1) -> str:
    """The last one, once there are so many."""
    await eventually(lambda: len(tokens(relay)) >= count)
    return tokens(relay)[-1]


def welcomed(relay: ScriptedRelay) -> list[str]:
    """Who got a welcome mail, in its order, each time it was sent."""
    subject = "Welcome to "
    return [each.recipient for each in relay.accepted if each.message["Subject"].startswith(subject)]


async def time_passes(database: Database, passed: timedelta) -> None:
    """Since everybody who waits was asked."""
    asked_at = USERS.c.confirmation_asked_at
    async with database.transaction() as connection:
        found = (await connection.execute(USERS.select())).mappings().all()
        for user in found:
            if user["confirmation_asked_at"]:
                await connection.execute(
                    update(USERS)
                    .where(USERS.c.id == user["id"])
                    .values({asked_at: user["confirmation_asked_at"] - passed})
                )
