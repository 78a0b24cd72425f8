"""The whole journey of one signup: the answer, the mail and the audit entry."""

import httpx

from service.database.engine import Database
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.relay import ScriptedRelay


async def test_ada_signs_up_is_answered_gets_her_mail_and_is_audited(
    client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
) -> None:
    answer = await client.post(
        "/signup", json={"email": "Ada@Example.com", "name": "Ada"}, headers={"X-Request-ID": "story-1"}
    )

    assert answer.status_code == 201
    confirmation = answer.json()
    assert confirmation["email"] == "Ada@Example.com"
    assert confirmation["name"] == "Ada"
    assert confirmation["welcome_email"] == "pending"
    assert answer.headers["Location"] == f"/signup/{confirmation['id']}"
    assert answer.headers["X-Request-ID"] == "story-1"

    await eventually(lambda: relay.accepted)
    [envelope] = relay.accepted
    assert envelope.recipient == "Ada@example.com"
    assert "Hello Ada," in envelope.message.get_body(("plain",)).get_content()  # type: ignore[union-attr]  # multipart

    async def sent() -> bool:
        return bool((await client.get(answer.headers["Location"])).json()["welcome_email"] == "sent")

    await eventually(sent)

    again = await client.post("/signup", json={"email": "ada@EXAMPLE.com"})
    assert again.status_code == 409
    assert again.json()["type"] == "/problems/address-taken"

    async def entries() -> list[tuple[str, int]]:
        found = await rows(
            database, "SELECT method, status FROM audit_log WHERE route = '/signup' ORDER BY seq"
        )
        return [(entry["method"], entry["status"]) for entry in found]

    await eventually(lambda: _equals(entries, [("POST", 201), ("POST", 409)]))
    assert len(relay.accepted) == 1


async def _equals(read: object, expected: object) -> bool:
    return bool(await read() == expected)  # type: ignore[operator]  # a coroutine function
