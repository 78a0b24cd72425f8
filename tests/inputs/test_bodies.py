"""What a body may be, from the first byte to the last field."""

import json
import time

import pytest

from tests.inputs.live import Live
from tests.inputs.requests import chunked, fresh, head, post

UNPARSABLE = (400, "/problems/unparsable")
TOO_LARGE = (413, "/problems/too-large")
UNSUPPORTED = (415, "/problems/unsupported-media-type")
INVALID = (422, "/problems/invalid")

LONG_DOMAIN = ".".join(["d" * 61] * 3 + ["com"])  # makes 254 characters with a local part of 64


def named(name: str) -> bytes:
    """With the name as JSON spells it."""
    return f'{{"email": "{fresh()}", "name": {name}}}'.encode("utf-8", "surrogatepass")


JSON = {
    "empty": (b"", INVALID),
    "null": (b"null", INVALID),
    "list": (b"[]", INVALID),
    "string": (b'"x"', INVALID),
    "number": (b"1", INVALID),
    "true": (b"true", INVALID),
    "empty object": (b"{}", INVALID),
    "list of signups": (b'[{"email": "ada@example.com"}]', INVALID),
    "white space": (b" \n", UNPARSABLE),
    "malformed": (b'{"email": ', UNPARSABLE),
    "trailing garbage": (b'{"email": "ada@example.com"} and more of it', UNPARSABLE),
    "two documents": (b'{"email": "ada@example.com"}{"email": "bob@example.com"}', UNPARSABLE),
    "single quotes": (b"{'email': 'ada@example.com'}", UNPARSABLE),
    "trailing comma": (b'{"email": "ada@example.com",}', UNPARSABLE),
    "comment": (b'{"email": "ada@example.com"} // nothing', UNPARSABLE),
    "raw newline": (b'{"email": "ada@example.com", "name": "A\nB"}', UNPARSABLE),
    "raw NUL": (b'{"email": "ada@example.com", "name": "A\0B"}', UNPARSABLE),
    "broken escape": (b'{"email": "ada@example.com", "name": "\\x41"}', UNPARSABLE),
    "invalid UTF-8": (b'{"email": "\xff\xfe@example.com"}', UNPARSABLE),
    "overlong UTF-8": (b'{"email": "\xc0\xaf@example.com"}', UNPARSABLE),
    "surrogate in UTF-8": (b'{"email": "\xed\xa0\x80@example.com"}', UNPARSABLE),
    "UTF-16": ('{"email": "ada@example.com"}'.encode("utf-16"), UNPARSABLE),
    "UTF-16 without BOM": ('{"email": "ada@example.com"}'.encode("utf-16-le"), UNPARSABLE),
    "UTF-32": ('{"email": "ada@example.com"}'.encode("utf-32"), UNPARSABLE),
    "BOM alone": (b"\xef\xbb\xbf", UNPARSABLE),
    "two BOMs": (b'\xef\xbb\xbf\xef\xbb\xbf{"email": "ada@example.com"}', UNPARSABLE),
    "101 deep": (b"[" * 101 + b"]" * 101, UNPARSABLE),
    "1,000 deep": (b"[" * 1000 + b"]" * 1000, UNPARSABLE),
    "1,000 objects deep": (b'{"a":' * 1000 + b"1" + b"}" * 1000, UNPARSABLE),
    "1,000 deep in a field": (b'{"email": ' + b"[" * 1000 + b"]" * 1000 + b"}", UNPARSABLE),
    "1,000 deep after a quote": (b'"\\"' + b"[" * 1000, UNPARSABLE),
    "15,000 unclosed": (b"[" * 15_000, UNPARSABLE),
    "15,000 unclosed quotes": (b'"\\' * 7_500, UNPARSABLE),
    "100 deep": (b'{"email": ' + b"[" * 99 + b"]" * 99 + b"}", INVALID),
    "brackets in a string": (b'{"email": "' + b"[" * 5_000 + b'"}', INVALID),
    "1 M unclosed": (b"[" * 1_000_000, TOO_LARGE),
    "a byte too much": (b" " * (16 * 1024 + 1), TOO_LARGE),
    "email twice": (b'{"email": "ada@example.com", "email": "bob@example.com"}', INVALID),
    "email twice, once escaped": (b'{"email": "ada@example.com", "\\u0065mail": "bob@example.com"}', INVALID),
    "repeated inside": (b'{"email": "ada@example.com", "x": {"y": 1, "y": 2}}', INVALID),
    "id": (b'{"email": "ada@example.com", "id": "00000000-0000-0000-0000-000000000000"}', INVALID),
    "is_admin": (b'{"email": "ada@example.com", "is_admin": true}', INVALID),
    "created_at": (b'{"email": "ada@example.com", "created_at": "2000-01-01T00:00:00Z"}', INVALID),
    "in another case": (b'{"Email": "ada@example.com"}', INVALID),
    "prototype": (b'{"email": "ada@example.com", "__proto__": {"is_admin": true}}', INVALID),
    "surrogate in a key": (b'{"email": "ada@example.com", "\\ud800\\ud800": 1}', INVALID),
    "surrogate in an unknown value": (b'{"email": "ada@example.com", "x": "\\udfff"}', INVALID),
    "long key": (b'{"email": "ada@example.com", "' + b"k" * 10_000 + b'": 1}', INVALID),
    "1,000 keys": (
        b'{"email": "ada@example.com"' + b"".join(b', "k%d": 1' % n for n in range(1000)) + b"}",
        INVALID,
    ),
    "NaN": (b'{"email": "ada@example.com", "name": NaN}', INVALID),
    "Infinity": (b'{"email": "ada@example.com", "x": Infinity}', INVALID),
    "-Infinity": (b'{"email": -Infinity}', INVALID),
    "1e400": (b'{"email": "ada@example.com", "name": 1e400}', INVALID),
    "5,000 digits": (b'{"email": "ada@example.com", "name": ' + b"9" * 5_000 + b"}", INVALID),
    "5,000 decimals": (b'{"email": "ada@example.com", "name": 0.' + b"9" * 5_000 + b"}", INVALID),
    "no email": (b'{"name": "Ada"}', INVALID),
    "email null": (b'{"email": null}', INVALID),
    "email a number": (b'{"email": 12345678}', INVALID),
    "email a list": (b'{"email": ["ada@example.com"]}', INVALID),
    "email an object": (b'{"email": {"$ne": "nobody at all"}}', INVALID),
    "email of 1 MB": (b'{"email": "' + b"a" * 1_000_000 + b'@example.com"}', TOO_LARGE),
}

REFUSED_NAMES = {
    "a number": "12345678",
    "a list": '["Ada Lovelace"]',
    "an object": '{"first name": "Ada Lovelace"}',
    "false": "false",
    "zero-width spaces": '"\\u200b\\u200b"',
    "filler": '"\\u3164"',
    "NUL": '"a\\u0000b"',
    "surrogate": '"a\\ud800b"',
    "surrogates in the wrong order": '"\\udc00\\ud800"',
    "DEL": '"a\\u007fb"',
    "ESC": '"\\u001b[31mAda"',
    "101 characters": '"' + "a" * 101 + '"',
    "101 characters of four bytes": '"' + "😀" * 101 + '"',
    "Zalgo": '"a' + "\\u0300" * 60 + '"',
    "CRLF": '"Bob\\r\\nBcc: x@y.example"',
    "LF": '"Bob\\nBcc: x@y.example"',
    "CR": '"Bob\\rBcc: x@y.example"',
    "LF at the end": '"Bob\\n"',
    "SMTP": '"Bob\\r\\n.\\r\\nMAIL FROM:<x@y.example>"',
    "U+2028": '"Bob\\u2028Bcc"',
    "U+2029": '"Bob\\u2029Bcc"',
    "U+0085": '"Bob\\u0085Bcc"',
    "VT": '"Bob\\u000bBcc"',
    "FF": '"Bob\\u000cBcc"',
    "FS": '"Bob\\u001cBcc"',
    "bidi override": '"\\u202eecalG"',
    "bidi isolate": '"\\u2066Ada\\u2069"',
    "zero-width space": '"A\\u200bda"',
    "joiner": '"A\\u200dda"',
    "soft hyphen": '"A\\u00adda"',
    "tags": '"Ada\\udb40\\udc41"',
}

ACCEPTED_NAMES = {
    "Bob": '"Bob"',
    "100 characters": '"' + "a" * 100 + '"',
    "100 characters of four bytes": '"' + "😀" * 100 + '"',
    "escaped pair": '"\\ud83d\\ude00 Bob"',
    "100 brackets": '"' + "[{" * 50 + '"',
    "SQL": '"\'; DROP TABLE users; --"',
    "backslashes": '"\\\\\\"\\/"',
    "Persian": '"علی‌رضا"',
    "Sinhala": '"ශ්‍රීමතී"',
}

REFUSED_ADDRESSES = {
    "empty": "",
    "a space": " ",
    "no at": "abc",
    "at alone": "@",
    "nobody": "@b.com",
    "nowhere": "a@",
    "two ats": "a@b@c.com",
    "surrogate": "ada\ud800@example.com",
    "surrogate in the domain": "ada@\udfff.com",
    "header": "ada@example.com\nBcc: eve@example.com",
    "header, CRLF": "ada@example.com\r\nBcc: eve@example.com",
    "line feed": "ada@example.com\n",
    "NUL": "ada\x00@example.com",
    "NUL at the end": "ada@example.com\x00",
    "DEL": "ada\x7f@example.com",
    "ESC": "ada\x1b@example.com",
    "quoted": '"ada lovelace"@example.com',
    "quoted at": '"ada@evil"@example.com',
    "SMTP": '"ada\r\nRCPT TO:<eve@example.com>"@example.com',
    "IPv4 literal": "ada@[127.0.0.1]",
    "IPv6 literal": "ada@[IPv6:::1]",
    "IPv4": "ada@127.0.0.1",
    "localhost": "ada@localhost",
    "no dot": "ada@example",
    "internal": "ada@foo.internal",
    "test": "ada@foo.test",
    "invalid": "ada@foo.invalid",
    "onion": "ada@foo.onion",
    "arpa": "ada@1.0.0.127.in-addr.arpa",
    "dot at the end": "ada@example.com.",
    "dot at the domain's start": "ada@.example.com",
    "two dots in the domain": "ada@example..com",
    "dot at the start": ".ada@example.com",
    "dot before the at": "ada.@example.com",
    "two dots": "ada..lovelace@example.com",
    "local part of 65": "l" * 65 + "@example.com",
    "255 in all": "l" * 64 + "@d" + LONG_DOMAIN,
    "label of 64": "ada@" + "d" * 64 + ".com",
    "2,000 umlauts": "ada@" + "ä" * 2_000 + ".de",
    "percent hack": "user%evil.example@example.com",
    "bang path": "evil.example!user@example.com",
    "source route": "@evil.example:user@example.com",
    "comma": "ada,eve@example.com",
    "semicolon": "ada;eve@example.com",
    "angle brackets": "<ada@example.com>",
    "display name": "Ada <ada@example.com>",
    "second recipient": "ada@example.com>,<eve@example.com",
    "comment": "ada(comment)@example.com",
    "umlaut": "jörg@example.org",
    "Chinese": "用户@例子.广告",
    "emoji": "😀@example.com",
    "Cyrillic": "аdmin@example.com",
    "full-width at": "ada＠example.com",
    "bidi override": "ada\u202e@example.com",
    "zero-width space": "ada\u200b@example.com",
    "zero-width joiner": "ada@exa\u200dmple.com",
    "no-break space": "ada@example.com\u00a0",
    "line separator": "ada@example.com\u2028",
    "next line": "ada@example.com\u0085",
    "soft hyphen": "ada@exam\u00adple.com",
    "tag": "ada\U000e0041@example.com",
    "digits": "ada@example.123",
    "hyphen first": "ada@-example.com",
    "underscore": "ada@exam_ple.com",
}

ACCEPTED_ADDRESSES = {
    "plain": ("b1@example.org", "b1@example.org"),
    "example.com": ("b41@example.com", "b41@example.com"),
    "local part of 64": ("l" * 64 + "@example.com", "l" * 64 + "@example.com"),
    "254 in all": ("l" * 64 + "@" + LONG_DOMAIN, "l" * 64 + "@" + LONG_DOMAIN),
    "tag": ("b47+tag@gmail.com", "b47+tag@gmail.com"),
    "tag again": ("b47@gmail.com", "b47@gmail.com"),
    "spaces around": (" b51@example.com ", "b51@example.com"),
    "upper case": ("B52@EXAMPLE.ORG", "b52@example.org"),
    "umlaut": ("b53@münchen.de", "b53@xn--mnchen-3ya.de"),
    "sharp s": ("b54@straße.de", "b54@xn--strae-oqa.de"),
    "two s": ("b54@strasse.de", "b54@strasse.de"),
    "look-alike domain": ("b57@аpple.com", "b57@xn--pple-43d.com"),
    "full-width letter": ("b58@ｂ.com", "b58@b.com"),
    "ideographic full stop": ("b58@c。com", "b58@c.com"),
    "apostrophe": ("o'neil@b.com", "o'neil@b.com"),
    "slash": ("a/b@b.com", "a/b@b.com"),
    "backticks": ("a`id`@b.com", "a`id`@b.com"),
    "template": ("{{7*7}}@b.com", "{{7*7}}@b.com"),
    "SQL": ("a'--@b.com", "a'--@b.com"),
    "dollar": ("${7*7}@b.com", "${7*7}@b.com"),
}

MEDIA_TYPES = {
    "text/plain": UNSUPPORTED,
    "application/vnd.x+json": UNSUPPORTED,
    "application/jsonx": UNSUPPORTED,
    "application/json, text/plain": UNSUPPORTED,
    "multipart/form-data; boundary=x": UNSUPPORTED,
    "application/octet-stream": UNSUPPORTED,
    "text/html; charset=utf-7": UNSUPPORTED,
    "": UNSUPPORTED,
    ";": UNSUPPORTED,
    "\udcff\udcfe": UNSUPPORTED,
}


@pytest.mark.parametrize(("body", "expected"), JSON.values(), ids=JSON)
def test_what_is_no_signup_is_refused(live: Live, body: bytes, expected: tuple[int, str]) -> None:
    status, kind = expected
    live.is_refused(post(body), status=status, kind=kind)


@pytest.mark.parametrize("name", REFUSED_NAMES.values(), ids=REFUSED_NAMES)
def test_what_is_no_name_is_refused(live: Live, name: str) -> None:
    answer = live.is_refused(post(named(name)), status=422, kind="/problems/invalid")

    assert [error["loc"] for error in answer.json["errors"]] == [["body", "name"]]


def test_a_name_of_10_mb_is_refused_unread(live: Live) -> None:
    live.is_refused(
        post({"email": fresh(), "name": "a" * 10_000_000}), status=413, kind="/problems/too-large"
    )


@pytest.mark.parametrize("name", ACCEPTED_NAMES.values(), ids=ACCEPTED_NAMES)
def test_any_other_name_is_stored_as_typed(live: Live, name: str) -> None:
    body = named(name)

    answer = live.is_accepted(post(body))

    assert live.newest_user()["name"] == answer.json["name"] == json.loads(body)["name"]


@pytest.mark.parametrize("name", ["null", '""', '"   "', '"\\u3000"'])
def test_a_name_with_nothing_in_it_is_none(live: Live, name: str) -> None:
    answer = live.is_accepted(post(named(name)))

    assert live.newest_user()["name"] is answer.json["name"] is None


@pytest.mark.parametrize("address", REFUSED_ADDRESSES.values(), ids=REFUSED_ADDRESSES)
def test_what_is_no_address_is_refused(live: Live, address: str) -> None:
    answer = live.is_refused(post({"name": "Ada", "email": address}), status=422, kind="/problems/invalid")

    assert [error["loc"] for error in answer.json["errors"]] == [["body", "email"]]


@pytest.mark.parametrize(("typed", "canonical"), ACCEPTED_ADDRESSES.values(), ids=ACCEPTED_ADDRESSES)
def test_any_other_address_is_stored_as_typed_and_mailed_in_ascii(
    live: Live, typed: str, canonical: str
) -> None:
    answer = live.is_accepted(post({"email": typed}))

    user = live.newest_user()
    assert user["email"] == answer.json["email"] == typed.strip()
    assert user["canonical_email"] == canonical
    local_part = typed.strip().partition("@")[0]
    envelope = live.mailed_to(f"{local_part}@{canonical.partition('@')[2]}")
    assert envelope.message["To"] == envelope.recipient


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("twice1@example.org", "TWICE1@EXAMPLE.ORG"),
        ("twice2@münchen.de", "twice2@xn--mnchen-3ya.de"),
        ("twice3@xn--mnchen-3ya.de", "Twice3@MU\u0308NCHEN.DE"),
        ("twice4@c.com", " twice4@c。com "),
    ],
)
def test_another_spelling_is_the_same_user(live: Live, first: str, again: str) -> None:
    live.is_accepted(post({"email": first}))

    live.is_refused(post({"email": again}), status=409, kind="/problems/address-taken")


@pytest.mark.parametrize(("media_type", "expected"), MEDIA_TYPES.items(), ids=repr)
def test_only_json_is_read(live: Live, media_type: str, expected: tuple[int, str]) -> None:
    status, kind = expected
    request = post({"email": "ada@example.com"}, media_type=media_type)

    live.is_refused(request, status=status, kind=kind)


def test_a_body_without_a_type_is_not_read(live: Live) -> None:
    request = head("POST /signup", "Content-Length: 2") + b"{}"

    live.is_refused(request, status=415, kind="/problems/unsupported-media-type")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity", "utf-8"])
def test_a_body_in_a_coding_is_not_read(live: Live, coding: str) -> None:
    request = post(b"\x1f\x8b" + b"\0" * 1000, f"Content-Encoding: {coding}")

    answer = live.is_refused(request, status=415, kind="/problems/unsupported-media-type")

    assert answer.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    "media_type",
    ["application/json; charset=latin1", "Application/JSON", "application/json;", "application/json ; a=b"],
)
def test_json_is_utf_8_whatever_its_type_says(live: Live, media_type: str) -> None:
    address = fresh()

    live.is_accepted(post({"email": address, "name": "Zoë"}, media_type=media_type))


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"email": "%b"}',
        b' \r\n\t{"email": "%b"}\r\n',
        b'{"name": null, "email": "%b"}',
        b'{"\\u0065\\u006d\\u0061\\u0069\\u006c": "%b"}',
        b" " * 16_000 + b'{"email": "%b"}',
    ],
)
def test_json_may_be_spelled_as_it_likes(live: Live, body: bytes) -> None:
    live.is_accepted(post(body % fresh().encode()))


@pytest.mark.parametrize("size", [1, 7, 16])
def test_a_body_may_come_in_chunks(live: Live, size: int) -> None:
    body = b'{"email": "%b"}' % fresh().encode()

    live.is_accepted(chunked(*(body[at : at + size] for at in range(0, len(body), size))))


@pytest.mark.parametrize("body", [b"[" * 15_000, b'{"a":' * 3_000, b'"[\\' * 5_000, b'"' + b"\\" * 16_000])
def test_a_body_made_to_take_long_does_not(live: Live, body: bytes) -> None:
    took = []

    for _ in range(5):
        begun = time.perf_counter()
        assert live.ask(post(body)).status == 400
        took.append(time.perf_counter() - begun)

    assert min(took) < 0.05  # whoever else uses the machine
