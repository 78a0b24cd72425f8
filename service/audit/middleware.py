"""Adds the audit-log task to every request. The outermost layer, so it sees what the client sees."""

import re
import time
from collections.abc import Set
from functools import cache
from typing import Any
from uuid import UUID

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.audit.entries import Entry, format_timestamp_ns
from service.audit.log import AuditLog
from service.observability.metrics import Metrics
from service.runtime.ids import new_hex
from service.web.client_address import ClientAddresses
from service.web.problems import CLIENT_LEFT

MAX_ROUTE = 200  # characters; the size of the column
ADOPTED_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class AuditMiddleware:
    """Records one entry for every request that reaches the app, including errors, preflights, and requests
    whose client left. `scope["state"]` has the request id, and the user's id if the route knows it.
    """

    def __init__(
        self, app: ASGIApp, *, log: AuditLog, clients: ClientAddresses, exclude: Set[str], metrics: Metrics
    ) -> None:
        self.app = app
        self._log = log
        self._clients = clients
        self._exclude = exclude
        # Prometheus formats the labels and takes a lock each time.
        self._seconds = cache(metrics.request_seconds.labels)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = _AuditedRequest(scope)
        request_id = request.request_id.encode("ascii")

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start":
                # If a response breaks off, an error may start after it. The client saw the first status.
                request.status = request.status or message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            elif message["type"] == "http.response.body":
                request.response_bytes += len(message.get("body", b""))
                # Before the last byte leaves: every complete response has its entry.
                if not message.get("more_body", False):
                    self._record(request)
            await send(message)

        try:
            await self.app(scope, receive, send_and_record)
        except Exception:
            # The 500 is sent and the exception logged. The server would log it again, and close the
            # connection under the client's next request.
            if not request.recorded:
                raise
        finally:
            self._record(request)

    def _record(self, request: "_AuditedRequest") -> None:
        if request.recorded:
            return
        request.recorded = True
        elapsed = time.perf_counter_ns() - request.began
        route = getattr(request.scope.get("route"), "path", None)
        status = request.status or CLIENT_LEFT
        self._seconds(request.method, route or "", status).observe(elapsed / 1e9)
        if request.scope["path"] in self._exclude:
            return
        user_id: UUID | None = request.state.get("user_id")
        entry = Entry(
            occurred_at=format_timestamp_ns(request.began_at),
            request_id=request.request_id,
            method=request.method,
            route=route and route[:MAX_ROUTE],
            status=status,
            duration_us=elapsed // 1000,
            response_bytes=request.response_bytes,
            user_id=user_id.hex if user_id else None,
            client_network=self._clients.audit_network(request.scope),
        )
        self._log.record(entry)


class _AuditedRequest:
    """A request, and the state of its response."""

    __slots__ = (
        "began",
        "began_at",
        "method",
        "recorded",
        "request_id",
        "response_bytes",
        "scope",
        "state",
        "status",
    )

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method: str = scope["method"][:32]
        self.request_id = _request_id(scope)
        self.state: dict[str, Any] = scope.setdefault("state", {})
        self.began_at = time.time_ns()
        self.began = time.perf_counter_ns()
        self.state["request_id"] = self.request_id
        self.state["began"] = self.began
        self.status = 0
        self.response_bytes = 0
        self.recorded = False


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and ADOPTED_REQUEST_ID.fullmatch(value):
            adopted: bytes = value
            return adopted.decode("ascii")
    return new_hex()
