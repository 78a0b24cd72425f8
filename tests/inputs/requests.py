"""Requests, byte by byte."""

import itertools
import json

numbers = itertools.count()


HOST = b"Host: localhost\r\n"
JSON = b"POST /signup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
FORM = JSON.replace(b"json", b"x-www-form-urlencoded")
CHUNKED = JSON + b"Transfer-Encoding: chunked\r\n\r\n"


def fresh() -> str:
    """An address that nobody has."""
    return f"user{next(numbers)}@example.com"


def post(body: bytes | object, *headers: str, media_type: str = "application/json") -> bytes:
    """A request for /signup; a body that is not bytes is put into JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (
        head("POST /signup", f"Content-Type: {media_type}", f"Content-Length: {len(content)}", *headers)
        + content
    )


def head(line: str, *headers: str, host: str = "Host: localhost") -> bytes:
    lines = [f"{line} HTTP/1.1", *([host] if host else []), *headers, "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    request = head("POST /signup", "Content-Type: application/json", "Transfer-Encoding: chunked")
    return (
        request
        + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        + b"0\r\n"
        + trailer
        + b"\r\n"
    )
