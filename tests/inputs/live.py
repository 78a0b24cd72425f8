"""A real server in a thread, and clients that say exactly what they are told to say."""

import inspect
import json
import re
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from service.app import create_app
from service.database.engine import Database
from service.person import reason
from service.settings import Settings
from service.signup import body, preconditions
from service.web import problems
from service.web.server import Server, config
from tests.support.database import rows
from tests.support.http import Answer, Connection
from tests.support.loop_thread import LoopThread
from tests.support.relay import Envelope, ScriptedRelay

Result = TypeVar("Result")

MOST_ANSWERED = 4096  # bytes
ECHO = 8  # characters of the input that no problem may repeat
LOOKED_AT = 20_000  # bytes of it
OWN_WORDS = "".join(map(inspect.getsource, (problems, reason, body, preconditions)))
SENTENCES = {each.value: each.sentence for each in reason.Reason}
ORIGIN = "https://app.example.com"
PROXY = "127.0.0.2"


@dataclass(frozen=True)
class Stored:
    users: int
    emails: int
    entries: list[int]  # statuses of the audit entries of one request


class Live:
    """The API with its own loop, database and relay."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.relay = ScriptedRelay()
        self._thread = LoopThread()
        self.do(self.relay.start())
        settings = settings.model_copy(update={"smtp_host": "127.0.0.1", "smtp_port": self.relay.port})
        self._database = Database(settings)
        self._server = _Guest(config(create_app(settings), keep_alive=settings.keep_alive))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._serving = self._thread.start(self._server.serve([self._listener]))

    def stop(self) -> None:
        self._server.should_exit = True
        self._serving.result(30)
        self.do(self._database.close())
        self.do(self.relay.stop())
        self._thread.stop()

    def do(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return self._thread.do(coroutine)

    def rows(self, statement: str) -> list[Any]:
        return self.do(rows(self._database, statement))

    def is_stored(self, email: str) -> bool:
        return bool(self.rows(f"SELECT id FROM users WHERE email = '{email}'"))

    def newest_user(self) -> Any:
        [user] = self.rows("SELECT * FROM users ORDER BY id DESC LIMIT 1")
        return user

    def stored(self, request_id: str = "") -> Stored:
        [counts] = self.rows(
            "SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM outbox) AS emails"
        )
        entries = self._audited_statuses(request_id) if request_id else []
        return Stored(counts["users"], counts["emails"], entries)

    def audited(self, request_id: str) -> Stored:
        """What is stored once the request's entry is."""
        eventually(lambda: self._audited_statuses(request_id), until=bool)
        return self.stored(request_id)

    def _audited_statuses(self, request_id: str) -> list[int]:
        entries = self.rows(f"SELECT status FROM audit_log WHERE request_id = '{request_id}'")
        return [entry["status"] for entry in entries]

    def mailed_to(self, mailbox: str) -> Envelope:
        def found() -> Envelope | None:
            return next((mail for mail in self.relay.accepted if mail.recipient == mailbox), None)

        envelope = eventually(found, until=bool)
        assert envelope
        return envelope

    def counted(self, result: str) -> float:
        """The answers to signups with this result, as /metrics has them."""
        metrics = self.ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").content.decode()
        found = re.search(rf'^signups_total{{result="{result}"}} (.+)$', metrics, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def connection(self, *, source: str = "127.0.0.1", receive_buffer: int = 0) -> Connection:
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(15)
        connection.bind((source, 0))
        connection.connect(("127.0.0.1", self.port))
        return Connection(connection)

    def ask(self, *pieces: bytes, source: str = "127.0.0.1") -> Answer:
        with self.connection(source=source) as connection:
            connection.send(*pieces)
            return connection.read(has_body=not pieces[0].startswith(b"HEAD "))

    def is_refused(self, *pieces: bytes, status: int, kind: str, audited: bool = True) -> Answer:
        """A problem that repeats nothing; nothing stored, nothing mailed, one entry in the audit."""
        before = self.stored()

        answer = self.ask(*pieces)

        assert (answer.status, kind) == (status, is_problem(answer)["type"]), answer.content
        repeats_nothing(answer, *pieces)
        after = self.audited(answer.request_id) if audited else self.stored(answer.request_id)
        assert (after.users, after.emails) == (before.users, before.emails)
        assert after.entries == ([status] if audited else [])
        return answer

    def is_accepted(self, *pieces: bytes) -> Answer:
        before = self.stored()

        answer = self.ask(*pieces)

        assert answer.status == 201, answer.content
        after = self.audited(answer.request_id)
        assert (after.users, after.emails) == (before.users + 1, before.emails + 1)
        assert after.entries == [201]
        return answer


class _Guest(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are for the main thread


def is_problem(answer: Answer) -> Any:
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json
    assert set(problem) - {"errors"} == {"type", "title", "status", "detail", "instance", "request_id"}
    assert problem["status"] == answer.status
    assert problem["request_id"] == answer.request_id
    assert len(answer.content) <= MOST_ANSWERED
    for error in problem.get("errors", ()):
        assert SENTENCES[error["type"]] == error["msg"]  # never a framework's own
    return problem


def repeats_nothing(answer: Answer, *pieces: bytes) -> None:
    body = b"".join(pieces)[:LOOKED_AT].partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
    said = "\0".join(_strings(answer.json))
    for spelling in {body, *_unescaped(body)}:
        echoes = {spelling[at : at + ECHO] for at in range(len(spelling) - ECHO + 1)}
        assert [echo for echo in echoes if echo in said and echo not in OWN_WORDS] == []


def _unescaped(body: str) -> list[str]:
    try:
        return list(_strings(json.loads(body)))
    except (ValueError, RecursionError):
        return []


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _strings(item)
        case dict():
            for name, item in value.items():
                yield name
                yield from _strings(item)


def eventually(read: Callable[[], Result], *, until: Callable[[Result], bool], within: float = 30) -> Result:
    deadline = time.monotonic() + within
    while not until(value := read()):
        assert time.monotonic() < deadline, f"not within {within} s: {value!r}"
        time.sleep(0.01)  # looking costs more than waiting
    return value
