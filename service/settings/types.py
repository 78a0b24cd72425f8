"""The types of single settings: what each takes, and the sentence for what it does not take."""

import base64
import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from service.settings.durations import parse_duration
from service.settings.rate import Rate
from service.settings.urls import is_loopback, origin_of

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"  # RFC 5322, section 3.2.3
ADDRESS = rf"{ATOM}(\.{ATOM})*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*"
MAILBOX = rf'("[^"\\]*" ?|[^<>@,;:"()\\]*)<{ADDRESS}>|{ADDRESS}'
SCHEME = "[A-Za-z][A-Za-z0-9+.-]*"  # apps have their own: capacitor://localhost
OWN_HEADERS = (
    "auto-submitted|b?cc|content-.*|date|from|message-id|mime-version|reply-to|return-path|sender|subject|to|"
    "x-auto-response-suppress"
)
NEW_HEADER = rf"(?!(?i:{OWN_HEADERS})$)[A-Za-z0-9-]{{1,64}}"
HEADER_LINE = re.compile(rf"({NEW_HEADER.replace('$', ':')}): *([\x21-\x7e][\x20-\x7e]*)")
MAX_SECRETS = 2
SECRET_LENGTHS = range(24, 65)  # bytes; Standard Webhooks, "Signature scheme"
MIN_KEY = 16  # characters of LINK_KEY: whoever has a link could try out shorter ones
MAX_LINE = 998  # characters; RFC 5322, section 2.1.1


def _matches(pattern: str, example: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value) or not value.isprintable():
            raise ValueError(f"it takes {example}")
        return value

    return AfterValidator(check)


def _check_host(value: str) -> str:
    try:
        value.rstrip(".").encode("idna")  # as the system's look-up does, which would fail at every connection
    except UnicodeError as exc:
        raise ValueError("it takes a name or an IP address") from exc
    return value


def _parse_network(value: object) -> object:
    try:
        return ip_network(value, strict=False) if isinstance(value, str) else value
    except ValueError as exc:
        raise ValueError("it takes networks such as 10.0.0.0/8, separated by commas") from exc


def _normalize_public_url(url: str) -> str:
    try:
        origin_of(url)
    except ValueError as exc:  # an invalid port, or a host that IDNA does not know
        raise ValueError(f"it takes {URL}") from exc
    return url.rstrip("/")


def _check_private_url(example: str, *, what: str) -> AfterValidator:
    """For what may not be read on its way: https, or http on this machine."""

    def check(url: str) -> str:
        if not url:
            return url
        try:
            origin_of(url)
            host = _check_host(urlsplit(url).hostname or "")
        except ValueError as exc:
            raise ValueError(f"it takes {example}") from exc
        if not url.startswith("https:") and not is_loopback(host):
            raise ValueError(f"{what} would travel in the clear: it takes an https address")
        return url

    return AfterValidator(check)


def _normalize_origin(origin: str) -> str:
    if origin == "*":
        return origin
    if "*" in origin:
        raise ValueError("a * inside a name matches nothing: write each origin in full, or * alone for all")
    try:
        return origin_of(origin)
    except ValueError as exc:
        raise ValueError(f"it takes {ORIGINS}") from exc


def _parse_headers(value: object) -> object:
    """Name and value of each line. `\\n` separates lines too, as a variable may hold only one line."""
    if not isinstance(value, str):
        return value
    lines = [line.strip() for line in value.replace("\\n", "\n").split("\n") if line.strip()]
    headers = [_parse_header(line) for line in lines]
    names = [name.lower() for name, _ in headers]
    if len(set(names)) < len(names):
        raise ValueError("it names a header twice")
    return tuple(headers)


def _parse_header(line: str) -> tuple[str, str]:
    match = HEADER_LINE.fullmatch(line)
    if match is None or len(line) > MAX_LINE:
        raise ValueError(
            "it takes lines such as X-SES-CONFIGURATION-SET: welcome, in printable ASCII, and none for a "
            "header that the message has already"
        )
    return match[1], match[2]


def decode_webhook_secrets(secrets: str) -> tuple[bytes, ...]:
    """The keys of one secret, or of two while they are rotated. Raises ValueError."""
    keys = tuple(_decode_webhook_secret(secret) for secret in secrets.split())
    if len(keys) > MAX_SECRETS:
        raise ValueError("it takes one secret, or two separated by a space")
    return keys


def _decode_webhook_secret(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith("whsec_") or len(key) not in SECRET_LENGTHS:
        raise ValueError(
            "it takes whsec_ and 24 to 64 bytes in base64, as `openssl rand -base64 32` makes them"
        )
    return key


def _parse_rate(value: object) -> object:
    try:
        return Rate.parse(value) if isinstance(value, str) and value else value or None
    except ValueError as exc:
        raise ValueError(
            "it takes a rate such as 600/minute (second, minute, hour or day), or nothing"
        ) from exc


def _parse_duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    duration = parse_duration(value)
    if duration is None:
        raise ValueError("it takes a time such as 90m, 48h or 7d")
    return duration


def _check_key(key: SecretStr) -> SecretStr:
    if 0 < len(key.get_secret_value()) < MIN_KEY:
        raise ValueError(f"it takes {MIN_KEY} characters or more, such as `openssl rand -hex 32` makes")
    return key


def _check_token(token: SecretStr) -> SecretStr:
    if not re.fullmatch("[!-~]*", token.get_secret_value()):  # no other arrives as it was sent
        raise ValueError("it takes ASCII without spaces, such as `openssl rand -hex 32` makes")
    return token


Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, _matches(r"\S+", "a name or an IP address"), AfterValidator(_check_host)]
Color = Annotated[str, _matches("#[0-9a-fA-F]{6}", "a color such as #2563eb")]
Sender = Annotated[str, _matches(MAILBOX, "one address, such as Welcome <welcome@example.com>")]
ReplyTo = Annotated[
    str, _matches(f"({MAILBOX})?", "one address, such as Help <help@example.com>, or nothing")
]
ReturnPath = Annotated[
    str, _matches(f"({ADDRESS})?", "a bare address, such as bounces@example.com, or nothing")
]
EhloName = Annotated[
    str, _matches(r"([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*)?", "a name such as mail.example.com, or nothing")
]
Headers = Annotated[tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_parse_headers)]
HeaderName = Annotated[
    str, _matches(f"({NEW_HEADER})?", "the name of a header that the message does not have")
]
ProductName = Annotated[str, _matches(r"(?=.*\S).{1,100}", "1 to 100 printable characters in one line")]
URL = "an address such as https://example.com"
PublicUrl = Annotated[
    str, _matches(r"https?://[^/\s?#@]+(/[^\s?#]*)?", URL), AfterValidator(_normalize_public_url)
]
ProductUrl = Annotated[str, _matches(r"https?://[^/\s?#@]+([/?#]\S*)?", URL)]
CONFIRMED_URL = "an address such as https://example.com/confirmed, or nothing"
ConfirmedUrl = Annotated[str, _matches(r"(https?://[^/\s?#@]+([/?#]\S*)?)?", CONFIRMED_URL)]
OAUTH_URL = "an address such as https://oauth2.googleapis.com/token"
PRIVATE_URL = r"(https?://[^/\s?#@]+([/?][^\s#]*)?)?"
TokenUrl = Annotated[str, _matches(PRIVATE_URL, OAUTH_URL), _check_private_url(OAUTH_URL, what="secrets")]
WEBHOOK_URL = "an address such as https://crm.example.com/webhooks/signup"
WebhookUrl = Annotated[
    str, _matches(PRIVATE_URL, WEBHOOK_URL), _check_private_url(WEBHOOK_URL, what="names and addresses")
]
ORIGINS = "origins such as https://app.example.com, separated by commas"
Origin = Annotated[str, _matches(rf"\*|{SCHEME}://[^/\s?#@]+/?", ORIGINS), AfterValidator(_normalize_origin)]
UrlPath = Annotated[str, _matches(r"/\S*", "paths such as /healthz, separated by commas")]
Network = IPv4Network | IPv6Network
NetworkValue = Annotated[Network, BeforeValidator(_parse_network)]
# NoDecode: pydantic-settings would read the value of a dataclass as JSON.
Limit = Annotated[Rate | None, NoDecode, BeforeValidator(_parse_rate)]
Duration = Annotated[timedelta, NoDecode, BeforeValidator(_parse_duration)]
LinkKey = Annotated[SecretStr, AfterValidator(_check_key)]
OpsToken = Annotated[SecretStr, AfterValidator(_check_token)]
