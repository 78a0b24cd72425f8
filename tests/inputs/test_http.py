"""Everything around the body: request lines, headers, framing, connections."""

import threading
import time

import pytest

from service.settings import Settings
from tests.inputs.live import ORIGIN, PROXY, Live, eventually
from tests.inputs.requests import CHUNKED, HOST, JSON, chunked, fresh, head, post

MALFORMED = (400, "/problems/malformed")
TLS_HELLO = bytes.fromhex("16030100c5010000c10303") + bytes(range(186))

NEVER_SEEN = {
    "two lengths": JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "the same length twice": JSON + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": JSON + b"Content-Length: 2, 2\r\n\r\n{}",
    "negative length": JSON + b"Content-Length: -2\r\n\r\n{}",
    "length with a sign": JSON + b"Content-Length: +2\r\n\r\n{}",
    "length in hexadecimal": JSON + b"Content-Length: 0x2\r\n\r\n{}",
    "length beyond all numbers": JSON + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "length and chunks": JSON + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": JSON + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "chunks not last": JSON + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "space before the colon": b"GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "folded header": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "bare line feed": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "line feed in a header": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\nY: b\r\n\r\n",
    "CR in a header": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\rY: b\r\n\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "control character in a header": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\x01b\r\n\r\n",
    "header without a name": b"GET /healthz HTTP/1.1\r\n" + HOST + b": x\r\n\r\n",
    "header without a colon": b"GET /healthz HTTP/1.1\r\n" + HOST + b"nothing\r\n\r\n",
    "NUL in the path": b"GET /healthz\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "raw bytes in the path": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "path without a slash": b"GET healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown method": b"FROBNICATE /signup HTTP/1.1\r\n" + HOST + b"\r\n",
    "method in lower case": b"post /signup HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT and upgrade": b"CONNECT evil.example:443 HTTP/1.1\r\n"
    + HOST
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.7": b"GET /healthz HTTP/3.7\r\n" + HOST + b"\r\n",
    "no version": b"GET /healthz HTTP\r\n\r\n",
    "TLS hello": TLS_HELLO,
    "SMTP": b"EHLO evil.example\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    "SOCKS": b"\x05\x01\x00",
    "noise": bytes(range(255, 127, -1)) * 8,
}

SEEN = {
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "no Host, and a body": b"POST /signup HTTP/1.1\r\nContent-Type: application/json\r\n"
    b'Content-Length: 27\r\n\r\n{"email":"ada@example.com"}',
    "two Hosts": b"GET /healthz HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/0.9 by name": b"GET /healthz HTTP/0.9\r\n" + HOST + b"\r\n",
    "HTTP/2.0": b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n",
    "body without an end": JSON + b"Transfer-Encoding: gzip\r\n\r\n",
    "a coding that is not taken": JSON + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "two codings": JSON + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n",
    "chunk of no size": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "chunk of negative size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "chunk longer than told": CHUNKED + b"2\r\n{}{}\r\n0\r\n\r\n",
    "chunk of enormous size": CHUNKED + b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "line feeds between chunks": CHUNKED + b"2\n{}\n0\n\n",
}


@pytest.fixture(scope="session")
def live(live_on_postgresql: Live) -> Live:
    """What surrounds a body is read before any database is asked."""
    return live_on_postgresql


@pytest.mark.parametrize("request_", NEVER_SEEN.values(), ids=NEVER_SEEN)
def test_what_is_no_http_is_refused_by_the_server(live: Live, request_: bytes) -> None:
    status, kind = MALFORMED
    answer = live.is_refused(request_, status=status, kind=kind, audited=False)

    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize("request_", SEEN.values(), ids=SEEN)
def test_what_the_app_has_been_told_of_it_refuses_and_audits(live: Live, request_: bytes) -> None:
    status, kind = MALFORMED
    live.is_refused(request_, status=status, kind=kind)


def test_a_malformed_signup_is_counted(settings: Settings) -> None:
    live = Live(settings)  # not the shared one, which counts earlier requests some time after their answers
    try:
        live.ask(SEEN["no Host"])  # is none
        live.ask(SEEN["no Host, and a body"])

        assert eventually(lambda: live.counted("malformed"), until=bool) == 1
    finally:
        live.stop()


def test_http_1_0_needs_no_host(live: Live) -> None:
    assert live.ask(b"GET /healthz HTTP/1.0\r\n\r\n").status == 200


class TestConnections:
    def test_what_follows_a_signup_cannot_take_its_answer(self, live: Live) -> None:
        with live.connection() as connection:
            connection.send(post({"email": fresh()}) + b"nonsense\r\n\r\n")

            assert connection.read().status == 201
            assert connection.is_closed()

    def test_requests_may_follow_each_other_without_waiting(self, live: Live) -> None:
        with live.connection() as connection:
            connection.send(b"".join(post({"email": fresh()}) for _ in range(5)) + head("GET /healthz"))

            assert [connection.read().status for _ in range(6)] == [201] * 5 + [200]

    def test_a_broken_body_is_the_last_of_its_connection(self, live: Live) -> None:
        with live.connection() as connection:
            connection.send(CHUNKED + b"zz\r\n" + post({"email": "smuggled@example.com"}))

            assert connection.read().status == 400
            assert connection.is_closed()
        assert live.rows("SELECT id FROM users WHERE email = 'smuggled@example.com'") == []

    def test_an_early_answer_leaves_the_connection_to_the_next_request(self, live: Live) -> None:
        with live.connection() as connection:
            connection.send(post(b"x" * 1000, media_type="text/plain")[:-500])
            assert connection.read().status == 415
            connection.send(b"x" * 500)
            connection.send(post({"email": fresh()}))

            assert connection.read().status == 201

    def test_headers_may_come_byte_by_byte(self, live: Live) -> None:
        with live.connection() as connection:
            connection.send(*(bytes([byte]) for byte in post({"email": fresh()})))

            assert connection.read().status == 201

    @pytest.mark.parametrize("offer", ["h2c", "websocket"])
    def test_an_offer_of_another_protocol_is_ignored(self, live: Live, offer: str) -> None:
        offered = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {offer}", "HTTP2-Settings: AAMAAABk")
        with live.connection() as connection:
            for request in (post({"email": fresh()}, *offered), post({"email": fresh()}, *offered)):
                connection.send(request[:150], request[150:])

                assert connection.read().status == 201

    def test_a_client_that_asks_first_is_told_to_go_on(self, live: Live) -> None:
        request = post({"email": fresh()}, "Expect: 100-continue")
        with live.connection() as connection:
            connection.send(request[: request.index(b"\r\n\r\n") + 4])
            assert connection.read().status == 100
            connection.send(request[request.index(b"\r\n\r\n") + 4 :])

            assert connection.read().status == 201

    def test_a_client_of_http_1_0_that_asks_first_is_not_told_to_go_on(self, live: Live) -> None:
        request = post({"email": fresh()}, "Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
        with live.connection() as connection:
            connection.send(request[: request.index(b"\r\n\r\n") + 4])
            time.sleep(0.3)
            connection.send(request[request.index(b"\r\n\r\n") + 4 :])

            assert connection.read().status == 201

    def test_of_a_long_pipeline_each_is_answered_in_its_turn(self, live: Live) -> None:
        count = 1_500  # more than Python's stack is deep
        asked = b"".join(head("GET /healthz", f"X-Request-ID: {number}") for number in range(count))
        with live.connection() as connection:
            threading.Thread(target=connection.send, args=[asked]).start()

            assert [connection.read().request_id for _ in range(count)] == [*map(str, range(count))]

    def test_a_pipeline_may_end_in_a_request_that_is_not_complete(self, live: Live) -> None:
        last = post({"email": fresh()})
        with live.connection() as connection:
            connection.send(head("GET /healthz") * 500 + last[:-10])
            assert {connection.read().status for _ in range(500)} == {200}
            connection.send(last[-10:])

            assert connection.read().status == 201

    def test_what_is_broken_at_the_end_of_a_pipeline_is_the_end_of_its_connection(self, live: Live) -> None:
        with live.connection() as connection:
            connection.send(head("GET /healthz") * 500 + b"nonsense\r\n\r\n" + head("GET /healthz"))

            assert [connection.read().status for _ in range(500)] == [200] * 500
            assert connection.is_closed()

    def test_a_client_that_leaves_with_a_pipeline_has_its_signup_and_its_mail(
        self, live: Live, caplog: pytest.LogCaptureFixture
    ) -> None:
        addresses = [fresh() for _ in range(40)]
        for number, address in enumerate(addresses):
            connection = live.connection()
            connection.send(post({"email": address}) + head("GET /healthz"))
            time.sleep(number / 4_000)  # s: before, while and after it is stored
            connection.reset()
        live.ask(post({"email": fresh()}))  # in its turn, after all that has been read of those

        stored = [address for address in addresses if live.is_stored(address)]
        assert stored
        for address in stored:
            live.mailed_to(address)  # and not a minute later, as what a dead process left
        assert "ASGI" not in caplog.text

    def test_a_client_that_asks_first_is_told_to_stop(self, live: Live) -> None:
        headers = "Content-Type: application/json", "Content-Length: 100000", "Expect: 100-continue"

        live.is_refused(head("POST /signup", *headers), status=413, kind="/problems/too-large")

    def test_a_client_that_has_left_half_way_is_audited(self, live: Live) -> None:
        before = live.stored()
        with live.connection() as connection:
            connection.send(post({"email": fresh()}, "X-Request-ID: left-half-way")[:-5])

        after = live.audited("left-half-way")
        assert after.entries == [499]
        assert (after.users, after.emails) == (before.users, before.emails)


@pytest.mark.parametrize(
    "trailer",
    [
        b"Content-Type: text/plain\r\n",
        b"Idempotency-Key: a b\r\n",
        b"Host: evil.example\r\n",
        b"Content-Encoding: gzip\r\n",
    ],
)
def test_what_follows_the_body_is_no_header(live: Live, trailer: bytes) -> None:
    live.is_accepted(chunked(b'{"email": "%b"}' % fresh().encode(), trailer=trailer))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        *(
            (method, "/signup", "POST")
            for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS")
        ),
        ("PROPFIND", "/signup", "POST"),
        *((method, "/healthz", "GET, HEAD") for method in ("POST", "PUT", "DELETE", "OPTIONS")),
        ("POST", "/signup/00000000-0000-0000-0000-000000000000", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
    ],
)
def test_another_method_is_told_which_it_may_be(live: Live, method: str, path: str, allowed: str) -> None:
    answer = live.ask(head(f"{method} {path}"))

    assert (answer.status, answer.headers["Allow"]) == (405, allowed)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert live.audited(answer.request_id).entries == [405]


@pytest.mark.parametrize(
    "path",
    [
        *("/signup/", "//signup", "/../signup", "/signup//", "/signup/x/y", "/Signup", "/signup%2f"),
        *("/signup%00", "/x%0a", "/%1b[31m", "/%00", "/signup%0d%0aX:y", "/%ff", "/nowhere?x=/signup"),
        *("/" + "a" * 8_000, "/" + "%" * 100),
    ],
)
def test_other_paths_are_not_found(live: Live, path: str) -> None:
    live.is_refused(
        head(f"POST {path}", "Content-Type: application/json", "Content-Length: 2") + b"{}",
        status=404,
        kind="/problems/not-found",
    )


@pytest.mark.parametrize(
    "path", ["/%73ignup", "/signup?email=eve@example.com", "http://evil.example/signup", "/signup#x"]
)
def test_other_spellings_of_the_path_are_the_same(live: Live, path: str) -> None:
    answer = live.is_accepted(post({"email": fresh()}).replace(b" /signup ", f" {path} ".encode()))

    assert answer.headers["Location"] == f"/signup/{answer.json['id']}"


def test_the_host_is_repeated_nowhere(live: Live) -> None:
    address = fresh()

    answer = live.is_accepted(post({"email": address}).replace(b"Host: localhost", b"Host: evil.example"))

    assert b"evil" not in answer.content
    assert "evil" not in str(answer.headers)
    assert b"evil" not in live.mailed_to(address).content


@pytest.mark.parametrize(
    ("source", "forwarded", "network"),
    [
        ("127.0.0.1", "6.6.6.6", "127.0.0.0/24"),
        (PROXY, "6.6.6.6", "6.6.6.0/24"),
        (PROXY, "1.2.3.4, 6.6.6.6", "6.6.6.0/24"),
        (PROXY, "a" * 3_000, "127.0.0.0/24"),
        (PROXY, "6.6.6.6, <script>", "127.0.0.0/24"),
        (PROXY, "," * 3_000, "127.0.0.0/24"),
        (PROXY, "2001:db8::1", "2001:db8::/48"),
        (PROXY, "192.0.2.7:51234", "192.0.2.0/24"),
        (PROXY, "[2001:db8::7]", "2001:db8::/48"),
        (PROXY, "[2001:db8::7]:443", "2001:db8::/48"),
    ],
)
def test_whom_a_proxy_speaks_for_is_believed_of_our_own_alone(
    live: Live, source: str, forwarded: str, network: str
) -> None:
    answer = live.ask(head("GET /healthz", f"X-Forwarded-For: {forwarded}"), source=source)

    live.audited(answer.request_id)
    [entry] = live.rows(f"SELECT client_network FROM audit_log WHERE request_id = '{answer.request_id}'")
    assert entry["client_network"] == network


@pytest.mark.parametrize(
    "sent", ["<script>", "x" * 10_000, "a b", "'; DROP TABLE audit_log; --", "grün", "a\tb", ""]
)
def test_a_request_id_that_is_none_is_not_adopted(live: Live, sent: str) -> None:
    answer = live.ask(post(b"{}", f"X-Request-ID: {sent}"))

    assert live.audited(answer.request_id).entries == [422]
    assert answer.headers.get_all("X-Request-ID") == [answer.json["request_id"]]
    assert answer.request_id != sent


@pytest.mark.parametrize("key", ["x" * 10_000, "x" * 256, "a b", "a\tb", "grün", ""])
def test_a_key_that_is_none_is_refused(live: Live, key: str) -> None:
    request = post({"email": "ada@example.com"}, f"Idempotency-Key: {key}")

    live.is_refused(request, status=422, kind="/problems/invalid")


@pytest.mark.parametrize(
    "request_",
    [
        post({"email": fresh()}),
        post(b"{}"),
        post(b" " * 20_000),
        *(head(f"GET {path}") for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/nowhere")),
        head("GET /signup/00000000-0000-0000-0000-000000000000"),
        head("HEAD /healthz"),
        head("PUT /signup"),
        head("OPTIONS /signup", f"Origin: {ORIGIN}", "Access-Control-Request-Method: PUT"),
        b"nonsense\r\n\r\n",
    ],
)
def test_no_cache_keeps_an_answer(live: Live, request_: bytes) -> None:
    assert live.ask(request_).headers.get_all("Cache-Control") == ["no-store"]


class TestCors:
    @pytest.mark.parametrize(
        ("request_", "status"),
        [
            (post(b"{}", f"Origin: {ORIGIN}"), 422),
            (post(b"{", f"Origin: {ORIGIN}"), 400),
            (post(b"{}", f"Origin: {ORIGIN}", media_type="text/plain"), 415),
            (post(b" " * 20_000, f"Origin: {ORIGIN}"), 413),
            (head("GET /nowhere", f"Origin: {ORIGIN}"), 404),
            (head("PUT /signup", f"Origin: {ORIGIN}"), 405),
            (head("GET /healthz", f"Origin: {ORIGIN}", host=""), 400),
            (head("OPTIONS /signup", f"Origin: {ORIGIN}", "Access-Control-Request-Method: PUT"), 400),
        ],
    )
    def test_every_error_can_be_read_by_a_frontend(self, live: Live, request_: bytes, status: int) -> None:
        answer = live.ask(request_)

        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Origin" in answer.headers["Vary"]
        assert answer.json["request_id"] == answer.request_id

    @pytest.mark.parametrize(
        ("origin", "asked"),
        [
            ("https://evil.example", "Access-Control-Request-Method: POST"),
            ("null", "Access-Control-Request-Method: POST"),
            (ORIGIN + ".evil.example", "Access-Control-Request-Method: POST"),
            (ORIGIN.replace("https", "http"), "Access-Control-Request-Method: POST"),
            (ORIGIN, "Access-Control-Request-Method: DELETE"),
            (ORIGIN, "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-evil-header"),
        ],
    )
    def test_a_preflight_that_asks_too_much_is_refused(self, live: Live, origin: str, asked: str) -> None:
        request = head("OPTIONS /signup", f"Origin: {origin}", *asked.split("\r\n"))

        answer = live.is_refused(request, status=400, kind="/problems/preflight-refused")

        asked_for = asked.rpartition(": ")[2] if origin == ORIGIN else origin
        assert f" {asked_for} is not allowed." in answer.json["detail"]
        allowed = answer.headers["Access-Control-Allow-Origin"]
        assert allowed == (ORIGIN if origin == ORIGIN else None)

    def test_what_is_no_name_is_not_repeated(self, live: Live) -> None:
        request = head("OPTIONS /signup", "Origin: <script>", "Access-Control-Request-Method: POST")

        detail = live.ask(request).json["detail"]

        assert detail == "The origin that was sent is not allowed. Add it to CORS_ORIGINS."

    @pytest.mark.parametrize(
        "headers", ["traceparent, tracestate", "baggage,sentry-trace", "x-requested-with,content-type"]
    )
    def test_what_libraries_add_by_themselves_is_taken(self, live: Live, headers: str) -> None:
        request = head(
            "OPTIONS /signup",
            f"Origin: {ORIGIN}",
            "Access-Control-Request-Method: POST",
            f"Access-Control-Request-Headers: {headers}",
        )

        assert live.ask(request).status == 200
