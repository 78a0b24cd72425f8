"""The settings. Nothing else reads the environment."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import idna
from pydantic import (
    AfterValidator,
    BeforeValidator,
    DirectoryPath,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from service import env_file

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  # as values of HOST: all addresses of the machine
DEFAULT_PORTS = {"http": 80, "https": 443}
ENV_FILE = Path(".env")
SECRETS_DIR = Path("/run/secrets")
DEFAULT_SENDER = "Welcome <welcome@example.com>"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PERIODS = {unit: timedelta(**{f"{unit}s": 1}) for unit in ("second", "minute", "hour", "day")}
RATE = re.compile(rf"([1-9][0-9]{{0,8}})/({'|'.join(PERIODS)})")


class Security(StrEnum):
    NONE = "none"  # clear text; STARTTLS is not used even where it is offered
    STARTTLS = "starttls"  # refused by us if the relay does not offer it
    TLS = "tls"  # encrypted from the first byte


class DuplicatePolicy(StrEnum):
    CONFLICT = "conflict"  # a known address is told so
    UNIFORM = "uniform"  # nobody can tell a known address from a new one


@dataclass(frozen=True, slots=True)
class Rate:
    limit: int
    period: timedelta

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        match = RATE.fullmatch(text)
        if match is None:
            raise ValueError("not a rate")
        return cls(int(match[1]), PERIODS[match[2]])

    def window_end(self, moment: datetime) -> datetime:
        """Windows begin with a whole second, minute, hour or day of UTC, so all replicas agree on them."""
        return moment + self.period - (moment - EPOCH) % self.period


class InvalidSettings(Exception):
    """A sentence per line: which variable is wrong, and what it takes. `names` are those variables."""

    def __init__(self, sentences: str, *, names: frozenset[str] = frozenset()) -> None:
        super().__init__(sentences)
        self.names = names


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
MAX_LINE = 998  # characters; RFC 5322, section 2.1.1


def _like(pattern: str, example: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value) or not value.isprintable():
            raise ValueError(f"it takes {example}")
        return value

    return AfterValidator(check)


def _host(value: str) -> str:
    try:
        value.rstrip(".").encode("idna")  # as the system's look-up does, which would fail at every connection
    except UnicodeError as exc:
        raise ValueError("it takes a name or an IP address") from exc
    return value


def _network(value: object) -> object:
    try:
        return ip_network(value, strict=False) if isinstance(value, str) else value
    except ValueError as exc:
        raise ValueError("it takes networks such as 10.0.0.0/8, separated by commas") from exc


def host_in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def http_url(host: str, port: int) -> str:
    """What to type into a browser on this machine to reach a server that listens there."""
    name = "localhost" if host in WILDCARDS else host_in_url(host)
    return f"http://{name}" + ("" if port == DEFAULT_PORTS["http"] else f":{port}")


def origin_of(url: str) -> str:
    """The origin of a URL as browsers write it: lower case, IDNA, no default port. Raises ValueError."""
    parts = urlsplit(url)
    host = parts.hostname
    if not host:
        raise ValueError("it has no host")
    if not host.isascii():
        host = idna.encode(host, uts46=True).decode()
    port = "" if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host_in_url(host)}{port}"


def _public_url(url: str) -> str:
    try:
        origin_of(url)
    except ValueError as exc:  # a port that is none, a host that IDNA does not know
        raise ValueError(f"it takes {URL}") from exc
    return url.rstrip("/")


def _cors_origin(origin: str) -> str:
    if origin == "*":
        return origin
    if "*" in origin:
        raise ValueError("a * inside a name matches nothing: write each origin in full, or * alone for all")
    try:
        return origin_of(origin)
    except ValueError as exc:
        raise ValueError(f"it takes {ORIGINS}") from exc


def _headers(value: object) -> object:
    """Names and values of lines; `\\n` separates them where a variable holds one line."""
    if not isinstance(value, str):
        return value
    lines = [line.strip() for line in value.replace("\\n", "\n").split("\n") if line.strip()]
    headers = [_header(line) for line in lines]
    names = [name.lower() for name, _ in headers]
    if len(set(names)) < len(names):
        raise ValueError("it names a header twice")
    return tuple(headers)


def _header(line: str) -> tuple[str, str]:
    match = HEADER_LINE.fullmatch(line)
    if match is None or len(line) > MAX_LINE:
        raise ValueError(
            "it takes lines such as X-SES-CONFIGURATION-SET: welcome, in printable ASCII, and none for a "
            "header that the message has already"
        )
    return match[1], match[2]


def _rate(value: object) -> object:
    try:
        return Rate.parse(value) if isinstance(value, str) and value else value or None
    except ValueError as exc:
        raise ValueError(
            "it takes a rate such as 600/minute (second, minute, hour or day), or nothing"
        ) from exc


Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, _like(r"\S+", "a name or an IP address"), AfterValidator(_host)]
Color = Annotated[str, _like("#[0-9a-fA-F]{6}", "a color such as #2563eb")]
Sender = Annotated[str, _like(MAILBOX, "one address, such as Welcome <welcome@example.com>")]
ReplyTo = Annotated[str, _like(f"({MAILBOX})?", "one address, such as Help <help@example.com>, or nothing")]
ReturnPath = Annotated[str, _like(f"({ADDRESS})?", "a bare address, such as bounces@example.com, or nothing")]
EhloName = Annotated[
    str, _like(r"([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*)?", "a name such as mail.example.com, or nothing")
]
Headers = Annotated[tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_headers)]
HeaderName = Annotated[str, _like(f"({NEW_HEADER})?", "the name of a header that the message does not have")]
ProductName = Annotated[str, _like(r"(?=.*\S).{1,100}", "1 to 100 printable characters in one line")]
URL = "an address such as https://example.com"
PublicUrl = Annotated[str, _like(r"https?://[^/\s?#@]+(/[^\s?#]*)?", URL), AfterValidator(_public_url)]
ProductUrl = Annotated[str, _like(r"https?://[^/\s?#@]+([/?#]\S*)?", URL)]
ORIGINS = "origins such as https://app.example.com, separated by commas"
Origin = Annotated[str, _like(rf"\*|{SCHEME}://[^/\s?#@]+/?", ORIGINS), AfterValidator(_cors_origin)]
UrlPath = Annotated[str, _like(r"/\S*", "paths such as /healthz, separated by commas")]
Network = IPv4Network | IPv6Network
# NoDecode: for pydantic-settings, what is made of a dataclass is JSON.
Limit = Annotated[Rate | None, NoDecode, BeforeValidator(_rate)]


class Settings(BaseSettings):
    """Every setting, as `.env.example` describes it, in the same order."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding=env_file.ENCODING,
        secrets_dir=SECRETS_DIR if os.path.isdir(SECRETS_DIR) else None,  # False too if nobody may look
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr = SecretStr("")
    data_dir: Path = Path("data")

    host: Host = "127.0.0.1"
    port: Port = 8000
    keep_alive: Annotated[int, Field(ge=1, le=3600)] = 65

    smtp_host: Host = "localhost"
    smtp_port: Port = 1025
    smtp_username: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_security: Security = Security.NONE
    smtp_connections: Annotated[int, Field(ge=1, le=1000)] = 10
    ehlo_name: EhloName = ""  # the domain of MAIL_FROM

    mail_from: Sender = DEFAULT_SENDER
    mail_reply_to: ReplyTo = ""
    mail_return_path: ReturnPath = ""  # the address of MAIL_FROM
    mail_headers: Headers = ()
    mail_idempotency_header: HeaderName = ""
    product_name: ProductName = "Our service"
    public_url: PublicUrl = ""  # made of HOST and PORT
    product_url: ProductUrl = ""  # PUBLIC_URL
    brand_color: Color = "#2563eb"
    templates_dir: DirectoryPath | None = None

    duplicate_policy: DuplicatePolicy = DuplicatePolicy.CONFLICT
    signup_rate_limit: Limit = Rate.parse("600/minute")
    mailbox_rate_limit: Limit = Rate.parse("5/hour")
    domain_rate_limit: Limit = None
    mail_budget: Limit = None

    worker: bool = True
    signups_paused: bool = False
    cors_origins: Annotated[tuple[Origin, ...], NoDecode] = ()
    trusted_proxies: Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], NoDecode] = ()
    docs: bool = True
    ops_token: SecretStr = SecretStr("")

    audit_key: SecretStr = SecretStr("")
    audit_exclude: Annotated[tuple[UrlPath, ...], NoDecode] = ()
    audit_retention_days: Annotated[int, Field(ge=1)] = 180

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["", "console", "json"] = ""

    inbox_smtp_port: Port = 1025
    inbox_http_port: Port = 8025

    @field_validator("cors_origins", "trusted_proxies", "audit_exclude", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("public_url", mode="before")
    @classmethod
    def _made_of_host_and_port(cls, value: object, found: ValidationInfo) -> object:
        # A HOST or PORT that is wrong gets a sentence of its own.
        return value or http_url(found.data.get("host", "localhost"), found.data.get("port", 8000))

    @field_validator("product_url", mode="before")
    @classmethod
    def _is_public_url_by_default(cls, value: object, found: ValidationInfo) -> object:
        return value or found.data.get("public_url", "http://localhost")

    @field_validator("templates_dir", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @field_validator("data_dir", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if value == "":
            raise ValueError("it takes a directory")
        return value

    @model_validator(mode="after")
    def _no_header_twice(self) -> Self:
        if self.mail_idempotency_header.lower() in {name.lower() for name, _ in self.mail_headers}:
            raise ValueError("MAIL_HEADERS and MAIL_IDEMPOTENCY_HEADER: they name the same header")
        return self

    @model_validator(mode="after")
    def _complete_credentials(self) -> Self:
        if bool(self.smtp_username) != bool(self.smtp_password.get_secret_value()):
            raise ValueError("SMTP_USERNAME and SMTP_PASSWORD: set both or neither")
        return self

    @cached_property
    def sender(self) -> str:
        """The bare address of `MAIL_FROM`."""
        return parseaddr(self.mail_from)[1]

    @property
    def envelope_sender(self) -> str:
        """Where bounces go."""
        return self.mail_return_path or self.sender

    @property
    def sender_domain(self) -> str:
        return self.sender.rpartition("@")[2]

    @property
    def public_path(self) -> str:
        """The path of `PUBLIC_URL`, without a slash at its end: what every path that is handed out begins
        with. A proxy in front takes it off again."""
        return urlsplit(self.public_url).path

    @property
    def has_send_quota(self) -> bool:
        return bool(self.domain_rate_limit or self.mail_budget)

    @property
    def sqlite_file(self) -> Path:
        return self.data_dir / "service.db"

    @property
    def logs_to_terminal(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()  # there is none if it was closed at the start

    @property
    def effective_log_format(self) -> str:
        return self.log_format or ("console" if self.logs_to_terminal else "json")

    def require_production_values(self) -> None:
        """Refuses to send a password in clear, and to mail real people as example.com.

        Raises InvalidSettings. A loopback address or a name without a dot is a mail catcher, not a relay.
        """
        wrong = []
        if _is_real_host(self.smtp_host):
            if self.mail_from == DEFAULT_SENDER:
                wrong.append("MAIL_FROM still is the example: set it to an address your relay may send from.")
            if self.public_url == http_url(self.host, self.port):
                wrong.append("PUBLIC_URL is this machine alone: set it to the address that people reach.")
        if self.smtp_username and self.smtp_security is Security.NONE and not _is_loopback(self.smtp_host):
            wrong.append(
                f"SMTP_PASSWORD would travel in clear to {self.smtp_host}: "
                "set SMTP_SECURITY to starttls or tls."
            )
        if wrong:
            raise InvalidSettings("\n".join(wrong))


def load(**overrides: object) -> Settings:
    """The settings of this process. Raises InvalidSettings."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # names and types are checked by pydantic
    except (OSError, UnicodeDecodeError, SettingsError) as exc:
        raise InvalidSettings(_find_unreadable_file() or f"The settings cannot be read: {exc}.") from exc
    except ValidationError as exc:
        lines = [_sentence(error) for error in exc.errors(include_url=False, include_context=False)]
        names = frozenset(name for error in exc.errors() for name in _names(error))
        raise InvalidSettings("\n".join(dict.fromkeys(lines)), names=names) from exc


def load_without(wrong: Iterable[str]) -> Settings:
    """The settings with their defaults in place of these, so that the others can be tested."""
    return load(**{name: Settings.model_fields[name].default for name in wrong})


def _names(error: ErrorDetails) -> Sequence[str]:
    if error["loc"]:
        return [str(error["loc"][0])]
    return [name for name in Settings.model_fields if name.startswith("smtp_")]  # they do not fit together


def find_env_file_problems() -> list[str]:
    """A sentence for each line of `.env` that is ignored, and was probably meant for us."""
    return env_file.find_problems(ENV_FILE, names=[name.upper() for name in Settings.model_fields])


def _find_unreadable_file() -> str | None:
    secrets = (SECRETS_DIR / name for name in Settings.model_fields)
    for path in (ENV_FILE, *secrets):
        try:
            path.read_text(encoding=env_file.ENCODING)
        except UnicodeDecodeError:
            return f"{path} is not a text file in UTF-8."
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            return (
                f"{path if path.is_absolute() else f'{path} in the working directory'} cannot be read "
                f"({exc.strerror}): give this user the right to, or move it away."
            )
    return None


# What pydantic says differently, by its name for the error.
SAID: dict[str, str] = {
    "bool_parsing": "it takes true or false",
    "int_parsing": "it takes a whole number",
    "path_not_directory": "there is no such folder",
}


def _sentence(error: ErrorDetails) -> str:
    message = SAID.get(error["type"]) or error["msg"].removeprefix("Value error, ").replace("Input", "it", 1)
    if not error["loc"]:
        return f"{message}."
    name = str(error["loc"][0]).upper()
    return f"{name} is not valid: {message[0].lower()}{message[1:]}{_origin(name)}."


def _origin(name: str) -> str:
    """Where a wrong value comes from, if that is not the environment."""
    if name in os.environ:
        return ""
    if line := env_file.find_line(ENV_FILE, name):
        return f" ({ENV_FILE}, line {line})"
    secret = SECRETS_DIR / name.lower()
    return f" ({secret})" if os.path.isfile(secret) else ""


def _is_real_host(host: str) -> bool:
    return ("." in host or ":" in host) and not _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")  # RFC 6761, section 6.3


@contextmanager
def explain_write_errors(folder: Path) -> Iterator[None]:
    """Turns the system's error about a folder into a sentence with the fix. Raises InvalidSettings."""
    try:
        yield
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise InvalidSettings(
            f"{folder} cannot be written ({reason}): fix that, or set DATA_DIR to another folder."
        ) from exc
