"""HTTP from strangers: bounds where uvicorn has none, and refusals in one shape."""

import asyncio
from typing import cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.runtime.ids import new_hex
from service.web.problems import STATE_KEY, ProblemResponse, ProblemType

REQUEST_SECONDS = 8.0  # from the first byte of a request to its last
MAX_PENDING = 64 * 1024  # bytes of a request's headers, and as many of what follows them
SLICE = 16 * 1024  # bytes that are looked at at once; the loop reads up to 256 KiB
LINGER_SECONDS = 2.0  # that a client has to read our last words while it still sends
WELL_FORMED = {("1.1", 1), ("1.0", 1), ("1.0", 0)}  # version and number of Hosts: RFC 9112, section 3.2


class HttpProtocol(HttpToolsProtocol):
    """Ends what is slow, huge or malformed. What the app has been told of, it answers and audits
    itself; what it has not, is answered here.

    A request that comes in one piece, as nearly all do, costs a few comparisons and no timer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._line = _Line(transport, self)
        self.transport = cast(asyncio.Transport, self._line)
        self._pending = 0  # bytes of a request that is not complete
        self._broken = False
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(
            REQUEST_SECONDS, self._time_out_request
        )

    @property
    def is_unread(self) -> bool:
        """Whether the client may still be sending."""
        return self._broken or self._pending > 0

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._broken or self._line.closing:
            return
        if len(data) > SLICE:
            for start in range(0, len(data), SLICE):
                self.data_received(data[start : start + SLICE])
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(ProblemType.MALFORMED)
        else:
            cycle = self.cycle
            if cycle is None or cycle.scope is not self.scope or cycle.more_body:
                self._wait(len(data))
            elif self._deadline is not None or cycle.response_complete:
                self._rest()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        hosts = [name for name, _ in self.headers].count(b"host")
        if (self.scope["http_version"], hosts) not in WELL_FORMED:
            self.scope["state"][STATE_KEY] = ProblemType.MALFORMED
        self.headers = []  # what follows a chunked body is no header
        self._pending = 0

    def on_message_complete(self) -> None:
        # uvicorn's forgets this once the answer is complete, and then takes the request for unfinished.
        if self.cycle is not None and self.cycle.scope is self.scope:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _wait(self, received: int) -> None:
        self._pending += received
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._time_out_request)
        if self._pending > MAX_PENDING:
            told = self.cycle is not None and self.cycle.scope is self.scope
            self._refuse(ProblemType.TOO_LARGE if told else ProblemType.HEADERS_TOO_LARGE)

    def _rest(self) -> None:
        self._end_wait()
        if self.cycle.response_complete:  # the rest of what was answered early, or an empty line
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _end_wait(self) -> None:
        self._pending = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _time_out_request(self) -> None:
        self._deadline = None
        if self._pending:
            self._refuse(ProblemType.TIMEOUT)
        else:  # nobody asked anything
            self.transport.close()

    def _refuse(self, kind: ProblemType) -> None:
        """Nothing that comes after this is looked at."""
        self._broken = True
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            self._answer(kind)
        elif cycle.response_complete:
            self.transport.close()
        else:
            cycle.keep_alive = False
            if cycle.scope is self.scope and cycle.more_body:  # else it is about the request after it
                cycle.scope["state"][STATE_KEY] = kind
                cycle.more_body = False
                cycle.message_event.set()

    def _answer(self, kind: ProblemType) -> None:
        request_id = new_hex()
        answer = ProblemResponse(
            kind, request_id=request_id, headers={"Connection": "close", "X-Request-ID": request_id}
        )
        headers = [*self.server_state.default_headers, *answer.raw_headers]
        lines = [STATUS_LINE[kind.status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n"]
        self.transport.write(b"".join([*lines, bytes(answer.body)]))
        self.transport.close()

    def _should_upgrade(self) -> bool:
        return True  # and then uvicorn leaves the request to `_decline_upgrade`

    def _decline_upgrade(self, rest: bytes) -> None:
        """Reads the request as if nothing else had been offered; the parser would drop its body.

        Java's client and curl offer HTTP/2 with every request in clear.
        """
        offered, headers = self.scope, self.scope["headers"]
        if not any(name == b"upgrade" for name, _ in headers):  # CONNECT, which we do not
            self._refuse(ProblemType.MALFORMED)
            return
        version = self.scope["http_version"]
        head = [b"%b %b HTTP/%b\r\n" % (offered["method"].encode(), self.url, version.encode())]
        head += [b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"".join([*head, b"\r\n", rest]))


class _Line:
    """A transport that closes politely: at once under a client that still sends, it would be a reset,
    which can take our answer along."""

    def __init__(self, transport: asyncio.Transport, protocol: HttpProtocol) -> None:
        self.write = transport.write
        self.get_extra_info = transport.get_extra_info
        self.closing = False
        self._transport = transport
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self.closing or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        self.closing = True
        if not self._protocol.is_unread:
            self._transport.close()
            return
        self._transport.write_eof()
        self._protocol.flow.resume_reading()
        self._protocol.loop.call_later(LINGER_SECONDS, self._transport.abort)
