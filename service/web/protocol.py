"""uvicorn's HTTP protocol with limits for hostile clients; every refusal is a problem document."""

import asyncio
from typing import cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.runtime.ids import new_hex
from service.web.problems import STATE_KEY, ProblemResponse, ProblemType
from service.web.transport import ClientTransport

REQUEST_SECONDS = 8.0  # from the first byte of a request to its last
MAX_PENDING = 64 * 1024  # bytes of a request's headers, and as many of what follows them
SLICE = 4 * 1024  # bytes that are parsed at once; the loop reads up to 256 KiB
MAX_PIPELINE = 16  # requests that wait for their turn on one connection
WELL_FORMED = {("1.1", 1), ("1.0", 1), ("1.0", 0)}  # version and number of Hosts: RFC 9112, section 3.2


class HttpProtocol(HttpToolsProtocol):
    """Ends requests that are slow, huge or malformed. If a request has reached the app, the app answers
    and audits it; otherwise it is answered here.

    A request that arrives in one piece, as nearly all do, costs a few comparisons and no timer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._client = ClientTransport(transport, is_unread=self._is_unread)
        self.transport = cast(asyncio.Transport, self._client)
        self._unparsed = bytearray()
        self.flow = _ParseBeforeReading(transport, self._unparsed)
        self._answering: RequestResponseCycle | None = None
        self._pending = 0  # bytes of a request that is not complete
        self._broken = False
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(
            REQUEST_SECONDS, self._time_out_request
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self._client.stop_watching()
        # uvicorn informs only the newest request. The one that is being answered would write to a
        # closed connection, and the error would keep its background tasks from running.
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._client.watch_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._client.stop_watching()

    def data_received(self, data: bytes) -> None:
        if self._broken or self._client.closing:
            return
        self._unparsed += data
        self._parse()

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110, section 10.1.1
        super().on_headers_complete()
        names = [name for name, _ in self.headers]
        if (version, names.count(b"host")) not in WELL_FORMED or (
            b"transfer-encoding" in names and not self._is_chunked(version)
        ):
            self.scope["state"][STATE_KEY] = ProblemType.MALFORMED
        self.headers = []  # what follows a chunked body is no header
        self._pending = 0

    def on_message_complete(self) -> None:
        # uvicorn's forgets this once the answer is complete, and then takes the request for unfinished.
        if self.cycle is not None and self.cycle.scope is self.scope:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._unparsed and not self._client.is_closing():
            self._parse()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _parse(self) -> None:
        """Parses until MAX_PIPELINE requests wait. What was read but not parsed stays raw, and the rest
        stays in the socket."""
        unparsed = self._unparsed
        while unparsed and len(self.pipeline) < MAX_PIPELINE:
            piece = bytes(unparsed[:SLICE])
            del unparsed[:SLICE]
            self._feed(piece)
        if unparsed:
            self._stop_deadline()  # the client is not the slow one
            self.flow.pause_reading()
        elif self.flow.read_paused:
            self.flow.resume_reading()

    def _feed(self, data: bytes) -> None:
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
                self._wait_for_more(len(data))
            elif self._deadline is not None or cycle.response_complete:
                self._end_request()

    def _is_chunked(self, version: str) -> bool:
        """No other coding is taken, and HTTP/1.0 has none: RFC 9112, section 6.1."""
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        return version == "1.1" and codings == [b"chunked"]

    def _is_unread(self) -> bool:
        """Whether the client may still be sending."""
        return self._broken or self._pending > 0 or bool(self._unparsed)

    def _wait_for_more(self, received: int) -> None:
        self._pending += received
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._time_out_request)
        if self._pending > MAX_PENDING:
            in_body = self.cycle is not None and self.cycle.scope is self.scope
            self._refuse(ProblemType.TOO_LARGE if in_body else ProblemType.HEADERS_TOO_LARGE)

    def _end_request(self) -> None:
        self._pending = 0
        self._stop_deadline()
        if self.cycle.response_complete:  # this was the rest of a request answered early, or an empty line
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _time_out_request(self) -> None:
        self._deadline = None
        if self._pending:
            self._refuse(ProblemType.TIMEOUT)
        else:  # no request was begun
            self.transport.close()

    def _refuse(self, kind: ProblemType) -> None:
        """Ignores everything that the client sends from now on."""
        self._broken = True
        self._unparsed.clear()
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            self._answer(kind)
        elif cycle.response_complete:
            self.transport.close()
        else:
            cycle.keep_alive = False
            if cycle.scope is self.scope and cycle.more_body:  # otherwise the request after it is refused
                cycle.scope["state"][STATE_KEY] = kind
                cycle.more_body = False
                cycle.message_event.set()

    def _answer(self, kind: ProblemType) -> None:
        request_id = new_hex()
        answer = ProblemResponse(
            kind,
            request_id=request_id,
            headers={"Cache-Control": "no-store", "Connection": "close", "X-Request-ID": request_id},
        )
        headers = [*self.server_state.default_headers, *answer.raw_headers]
        lines = [STATUS_LINE[kind.status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n"]
        self.transport.write(b"".join([*lines, bytes(answer.body)]))
        self.transport.close()

    def _should_upgrade(self) -> bool:
        return True  # makes uvicorn leave the request to `_decline_upgrade`

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parses the request again without its `Upgrade`; the parser would drop its body.

        Java's client and curl offer HTTP/2 with every request without TLS.
        """
        offered, headers = self.scope, self.scope["headers"]
        if not any(name == b"upgrade" for name, _ in headers):  # CONNECT, which is not supported
            self._refuse(ProblemType.MALFORMED)
            return
        version = self.scope["http_version"]
        head = [b"%b %b HTTP/%b\r\n" % (offered["method"].encode(), self.url, version.encode())]
        head += [b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._unparsed[:0] = b"".join([*head, b"\r\n", rest])


class _ParseBeforeReading(FlowControl):
    """Stays paused until everything that was read has been parsed."""

    def __init__(self, transport: asyncio.Transport, unparsed: bytearray) -> None:
        super().__init__(transport)
        self._unparsed = unparsed

    def resume_reading(self) -> None:
        if not self._unparsed:
            super().resume_reading()
