"""One shape for every error, and one list of their types."""

import asyncio
import functools
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.database.engine import Database
from service.database.group_commit import GroupCommit
from service.person.reason import Reason
from service.settings import Settings
from service.web.problems import ProblemType
from tests.support.app import running
from tests.support.database import rows
from tests.support.eventually import eventually

API_PAGE = Path(__file__).parents[2] / "docs/api.md"
WRITERS_WAIT = {True: "SELECT 1", False: "LOCK TABLE users IN ACCESS EXCLUSIVE MODE"}  # by whether SQLite
SIGNUP = {"email": "ada@example.com"}
TOO_LARGE = {"content": b" " * 20_000, "headers": {"Content-Type": "application/json"}}


def test_the_api_page_lists_every_type_with_its_status() -> None:
    listed = re.findall(r"^\| `(/problems/[a-z-]+)` \| (\w+)", API_PAGE.read_text("utf-8"), re.MULTILINE)

    assert listed == [(kind.uri, str(kind.status) if kind.status else "any") for kind in ProblemType]


def test_the_api_page_lists_every_reason_for_an_invalid_field() -> None:
    listed = re.findall(
        r"^\| `([a-z_]+)` \|", API_PAGE.read_text("utf-8").partition("errors[].type")[2], re.MULTILINE
    )

    assert listed[: len(Reason)] == list(Reason)


@pytest.mark.parametrize(
    ("request_", "status", "kind"),
    [
        ({"json": SIGNUP}, 503, "/problems/paused"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 503, "/problems/paused"),
        (
            {"content": b"{}", "headers": {"Content-Type": "text/plain"}},
            415,
            "/problems/unsupported-media-type",
        ),
        (TOO_LARGE, 413, "/problems/too-large"),
    ],
)
async def test_paused_signups_are_refused_after_what_is_no_signup(
    settings: Settings, database: Database, request_: dict[str, Any], status: int, kind: str
) -> None:
    async with running(settings.model_copy(update={"signups_paused": True})) as live:
        answer = await live.client.post("/signup", **request_)
        health = await live.client.get("/readyz")

    assert (answer.status_code, answer.json()["type"]) == (status, kind)
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert health.status_code == 200
    assert await rows(database, "SELECT * FROM users") == []


async def test_f42_more_than_can_wait_is_refused_at_once_and_audited(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "service.signup.registration.GroupCommit", functools.partial(GroupCommit, capacity=10)
    )
    async with running(settings) as live:
        async with database.transaction() as connection:
            await connection.exec_driver_sql(WRITERS_WAIT[database.is_sqlite])
            signups = [
                asyncio.create_task(live.client.post("/signup", json={"email": f"user{number}@example.com"}))
                for number in range(30)
            ]
            await eventually(lambda: sum(signup.done() for signup in signups) >= 19)

        answers = await asyncio.gather(*signups)

        refused = [answer for answer in answers if answer.status_code == 503]
        assert {answer.json()["type"] for answer in refused} == {"/problems/overloaded"}
        assert all(answer.headers["Retry-After"] for answer in refused)
        assert len(refused) + len(await rows(database, "SELECT * FROM users")) == 30
        await eventually(lambda: _audited(database, refused))


async def _audited(database: Database, answers: list[httpx.Response]) -> bool:
    entries = await rows(database, "SELECT request_id FROM audit_log WHERE status = 503")
    return {entry["request_id"] for entry in entries} == {answer.json()["request_id"] for answer in answers}
