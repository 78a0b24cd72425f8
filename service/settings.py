"""The settings. Nothing else reads the environment."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parseaddr
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Network = IPv4Network | IPv6Network
Port = Annotated[int, Field(ge=1, le=65535)]

SECRETS_DIR = Path("/run/secrets")
DEFAULT_SENDER = "Welcome <welcome@example.com>"
DEFAULT_PUBLIC_URL = "http://localhost:8000"


class Security(StrEnum):
    NONE = "none"  # clear text; STARTTLS is not used even where it is offered
    STARTTLS = "starttls"  # refused by us if the relay does not offer it
    TLS = "tls"  # encrypted from the first byte


class InvalidSettings(Exception):
    """A sentence a line for a person: which variable is wrong, and what it takes."""


def _mailbox(value: str) -> str:
    _, address = parseaddr(value)
    if not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", address) or not value.isprintable():
        raise ValueError('an address such as "Welcome <welcome@example.com>"')
    return value


def _origin_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", value):
        raise ValueError("an address such as https://example.com")
    return value.rstrip("/")


class Settings(BaseSettings):
    """Every setting, as `.env.example` describes it, in the same order."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        secrets_dir=SECRETS_DIR if SECRETS_DIR.is_dir() else None,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr = SecretStr("")
    data_dir: Path = Path("data")

    smtp_host: str = "localhost"
    smtp_port: Port = 1025
    smtp_username: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_security: Security = Security.NONE
    smtp_connections: Annotated[int, Field(ge=1, le=1000)] = 10

    mail_from: Annotated[str, AfterValidator(_mailbox)] = DEFAULT_SENDER
    mail_idempotency_header: Annotated[str, Field(pattern=r"^([A-Za-z0-9-]{1,64})?$")] = ""
    product_name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")] = (
        "Our service"
    )
    public_url: Annotated[str, AfterValidator(_origin_url)] = DEFAULT_PUBLIC_URL
    brand_color: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] = "#2563eb"
    templates_dir: Path | None = None

    worker: bool = True
    host: str = "127.0.0.1"
    port: Port = 8000
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()
    docs: bool = True
    ops_token: SecretStr = SecretStr("")

    audit_key: SecretStr = SecretStr("")
    audit_exclude: Annotated[tuple[str, ...], NoDecode] = ()
    audit_retention_days: Annotated[int, Field(ge=1)] = 180

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["", "console", "json"] = ""

    inbox_smtp_port: Port = 1025
    inbox_http_port: Port = 8025

    @field_validator("cors_origins", "audit_exclude", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        return _parts(value) if isinstance(value, str) else value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        return (
            tuple(ip_network(part, strict=False) for part in _parts(value))
            if isinstance(value, str)
            else value
        )

    @field_validator("templates_dir", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @model_validator(mode="after")
    def _complete_credentials(self) -> Self:
        if bool(self.smtp_username) != bool(self.smtp_password.get_secret_value()):
            raise ValueError("SMTP_USERNAME and SMTP_PASSWORD: set both or neither")
        return self

    @cached_property
    def sender(self) -> str:
        """The bare address of `MAIL_FROM`, for the envelope."""
        return parseaddr(self.mail_from)[1]

    @property
    def sqlite_file(self) -> Path:
        return self.data_dir / "service.db"

    @property
    def effective_log_format(self) -> str:
        return self.log_format or ("console" if sys.stderr.isatty() else "json")

    def require_production_values(self) -> None:
        """Refuse to mail real people from example.com, or to send a password in clear.

        Raises InvalidSettings. A loopback address or a name without a dot is a mail catcher, not a relay.
        """
        if not _is_real_host(self.smtp_host):
            return
        wrong = []
        if self.mail_from == DEFAULT_SENDER:
            wrong.append("MAIL_FROM still is the example: set it to an address your relay may send from.")
        if self.public_url == DEFAULT_PUBLIC_URL:
            wrong.append(
                "PUBLIC_URL still is the example: set it to the address people reach this service at."
            )
        if self.smtp_username and self.smtp_security is Security.NONE:
            wrong.append("SMTP_PASSWORD would travel in clear: set SMTP_SECURITY to starttls or tls.")
        if wrong:
            raise InvalidSettings("\n".join(wrong))


def load(**overrides: object) -> Settings:
    """The settings of this process. Raises InvalidSettings."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # names and types are checked by pydantic
    except ValidationError as exc:
        lines = [_explain([str(part) for part in error["loc"]], error["msg"]) for error in exc.errors()]
        raise InvalidSettings("\n".join(lines)) from exc


def _explain(loc: list[str], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"{loc[0].upper()} is not valid: {message}." if loc else f"{message}."


def _parts(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _is_real_host(host: str) -> bool:
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return "." in host


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turns the system's word about a folder into a sentence with the mend. Raises InvalidSettings."""
    try:
        yield
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise InvalidSettings(
            f"{folder} cannot be written ({reason}): mend that, or set DATA_DIR to another folder."
        ) from exc
