"""The settings. Nothing else reads the environment."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import parseaddr
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    DirectoryPath,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.settings.env_file import ENCODING
from service.settings.rate import Rate
from service.settings.types import (
    Color,
    ConfirmedUrl,
    Duration,
    EhloName,
    HeaderName,
    Headers,
    Host,
    Limit,
    LinkKey,
    NetworkValue,
    OpsToken,
    Origin,
    Port,
    ProductName,
    ProductUrl,
    PublicUrl,
    ReplyTo,
    ReturnPath,
    Sender,
    TokenUrl,
    UrlPath,
    WebhookUrl,
    decode_webhook_secrets,
)
from service.settings.urls import http_url, is_loopback

ENV_FILE = Path(".env")
SECRETS_DIR = Path("/run/secrets")
DEFAULT_SENDER = "Welcome <welcome@example.com>"


class Security(StrEnum):
    NONE = "none"  # clear text; STARTTLS is not used even where it is offered
    STARTTLS = "starttls"  # refused by us if the relay does not offer it
    TLS = "tls"  # encrypted from the first byte


class SmtpAuth(StrEnum):
    PASSWORD = "password"  # noqa: S105  # the name of a way to log in
    XOAUTH2 = "xoauth2"  # with an access token, which a token endpoint issues


class DuplicatePolicy(StrEnum):
    CONFLICT = "conflict"  # a known address gets an error
    UNIFORM = "uniform"  # nobody can tell a known address from a new one


class Confirmation(StrEnum):
    OFF = "off"
    LINK = "link"  # a new user confirms the address with a link before the welcome email is sent


class InvalidSettings(Exception):
    """A sentence per line: which variable is wrong, and what it takes. `names` are those variables."""

    def __init__(self, sentences: str, *, names: frozenset[str] = frozenset()) -> None:
        super().__init__(sentences)
        self.names = names


class Settings(BaseSettings):
    """Every setting, as `.env.example` describes it, in the same order."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding=ENCODING,
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
    smtp_auth: SmtpAuth = SmtpAuth.PASSWORD
    smtp_oauth_token_url: TokenUrl = ""
    smtp_oauth_client_id: str = ""
    smtp_oauth_client_secret: SecretStr = SecretStr("")
    smtp_oauth_scope: str = ""
    smtp_oauth_refresh_token: SecretStr = SecretStr("")
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

    confirmation: Confirmation = Confirmation.OFF
    confirm_within: Duration = timedelta(days=7)
    confirmed_url: ConfirmedUrl = ""  # our own page
    unconfirmed_days: Annotated[int, Field(ge=1, le=36500)] = 30
    link_key: LinkKey = SecretStr("")  # the database's

    webhook_url: WebhookUrl = ""
    webhook_secret: SecretStr = SecretStr("")

    worker: bool = True
    signups_paused: bool = False
    cors_origins: Annotated[tuple[Origin, ...], NoDecode] = ()
    trusted_proxies: Annotated[tuple[NetworkValue, ...], NoDecode] = ()
    docs: bool = True
    ops_token: OpsToken = SecretStr("")

    audit_key: SecretStr = SecretStr("")
    audit_exclude: Annotated[tuple[UrlPath, ...], NoDecode] = ()
    audit_retention_days: Annotated[int, Field(ge=1, le=36500)] = 180

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["", "console", "json"] = ""

    inbox_smtp_port: Port = 1025
    inbox_http_port: Port = 8025

    @field_validator("cors_origins", "trusted_proxies", "audit_exclude", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("public_url", mode="before")
    @classmethod
    def _default_to_host_and_port(cls, value: object, info: ValidationInfo) -> object:
        # A HOST or PORT that is wrong gets a sentence of its own.
        return value or http_url(info.data.get("host", "localhost"), info.data.get("port", 8000))

    @field_validator("product_url", mode="before")
    @classmethod
    def _default_to_public_url(cls, value: object, info: ValidationInfo) -> object:
        return value or info.data.get("public_url", "http://localhost")

    @field_validator("templates_dir", mode="before")
    @classmethod
    def _read_empty_as_none(cls, value: object) -> object:
        return value or None

    @field_validator("data_dir", mode="before")
    @classmethod
    def _require_directory(cls, value: object) -> object:
        if value == "":
            raise ValueError("it takes a directory")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _require_whole_secrets(cls, value: SecretStr) -> SecretStr:
        decode_webhook_secrets(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _require_signature(self) -> Self:
        if self.webhook_url and not self.webhook_keys:
            raise ValueError("WEBHOOK_SECRET: set it, because WEBHOOK_URL is set")
        return self

    @model_validator(mode="after")
    def _require_links_that_lead_somewhere(self) -> Self:
        if timedelta(days=self.unconfirmed_days) < self.confirm_within:
            raise ValueError(
                "UNCONFIRMED_DAYS: raise it to at least CONFIRM_WITHIN, or users are deleted while their "
                "link is valid"
            )
        return self

    @model_validator(mode="after")
    def _require_distinct_headers(self) -> Self:
        if self.mail_idempotency_header.lower() in {name.lower() for name, _ in self.mail_headers}:
            raise ValueError(
                "MAIL_HEADERS and MAIL_IDEMPOTENCY_HEADER: they name the same header; remove one"
            )
        return self

    @model_validator(mode="after")
    def _require_whole_credentials(self) -> Self:
        if self.smtp_auth is SmtpAuth.XOAUTH2:
            if missing := self._missing_for_xoauth2():
                them = "it" if len(missing) == 1 else "them"
                raise ValueError(f"{', '.join(missing)}: set {them}, because SMTP_AUTH is xoauth2")
        elif bool(self.smtp_username) != bool(self.smtp_password.get_secret_value()):
            if self.smtp_oauth_token_url:
                raise ValueError("SMTP_AUTH: set it to xoauth2 to log in with SMTP_OAUTH_TOKEN_URL")
            raise ValueError("SMTP_USERNAME and SMTP_PASSWORD: set both or neither")
        return self

    def _missing_for_xoauth2(self) -> list[str]:
        needed = ["smtp_username", "smtp_oauth_token_url", "smtp_oauth_client_id"]
        if not self.smtp_oauth_refresh_token:  # some apps have no secret, and log in by this alone
            needed.append("smtp_oauth_client_secret")
        return [name.upper() for name in needed if not getattr(self, name)]

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
    def webhook_keys(self) -> tuple[bytes, ...]:
        """What events are signed with."""
        return decode_webhook_secrets(self.webhook_secret.get_secret_value())

    @property
    def asks_to_confirm(self) -> bool:
        """Whether a new user is asked to confirm the address."""
        return self.confirmation is Confirmation.LINK

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

    @property
    def sends_login_in_clear(self) -> bool:
        """Whether the password or access token would travel without TLS to another machine."""
        is_plain = self.smtp_security is Security.NONE and not is_loopback(self.smtp_host)
        return bool(self.smtp_username) and is_plain

    def require_production_values(self) -> None:
        """Refuses to send a password or access token in the clear, and to mail real people as example.com.

        Raises InvalidSettings. A loopback address or a name without a dot is a mail catcher, not a relay.
        """
        wrong = []
        if _is_real_host(self.smtp_host):
            if self.mail_from == DEFAULT_SENDER:
                wrong.append("MAIL_FROM still is the example: set it to an address your relay may send from.")
            if self.public_url == http_url(self.host, self.port):
                wrong.append("PUBLIC_URL is this machine alone: set it to the address that people reach.")
        if self.sends_login_in_clear:
            secret = "SMTP_PASSWORD" if self.smtp_auth is SmtpAuth.PASSWORD else "The access token"
            wrong.append(
                f"{secret} would travel in the clear to {self.smtp_host}: "
                "set SMTP_SECURITY to starttls or tls."
            )
        if wrong:
            raise InvalidSettings("\n".join(wrong))


def _is_real_host(host: str) -> bool:
    return ("." in host or ":" in host) and not is_loopback(host)


@contextmanager
def explain_write_errors(folder: Path) -> Iterator[None]:
    """Turns the system's error about a folder into a sentence with the fix. Raises InvalidSettings."""
    try:
        yield
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise InvalidSettings(describe_unwritable(folder, reason)) from exc


def describe_unwritable(folder: Path, reason: str) -> str:
    return f"{folder} cannot be written ({reason}): fix that, or set DATA_DIR to another folder."
