"""Settings from the environment, a file and secrets; and what is said when one is wrong."""

import errno
import io
import re
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import pytest
from pydantic import SecretStr

from service.cli.all_in_one import inbox_settings
from service.settings import (
    Confirmation,
    DuplicatePolicy,
    InvalidSettings,
    Security,
    Settings,
    SmtpAuth,
    loading,
)
from service.settings.loading import find_env_file_problems, load
from service.settings.rate import Rate

EXAMPLE = Path(__file__).parents[2] / ".env.example"
LINE = re.compile(r"^#([A-Z][A-Z_]*)=(.*)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_lists_every_setting_in_order() -> None:
    names = [name for name, _ in LINE.findall(EXAMPLE.read_text("utf-8"))]

    assert names == [name.upper() for name in Settings.model_fields]


def test_the_example_says_what_each_setting_means() -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()

    for before, line in pairwise(lines):
        if LINE.match(line):
            assert re.match(r"# \S.*\.$", before), line


def test_the_example_has_nothing_but_comments() -> None:
    assert all(line.startswith("#") or not line for line in EXAMPLE.read_text("utf-8").splitlines())


def test_a_copy_of_the_example_changes_nothing(folder: Path) -> None:
    (folder / ".env").write_text(EXAMPLE.read_text("utf-8"), "utf-8")

    assert load() == Settings(_env_file=None)


def test_every_line_of_the_example_is_the_default(folder: Path) -> None:
    (folder / ".env").write_text(LINE.sub(r"\1=\2", EXAMPLE.read_text("utf-8")), "utf-8")

    settings = load()

    assert settings == Settings(_env_file=None)
    assert settings.model_fields_set == set(Settings.model_fields)


def test_the_environment_wins_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("SMTP_HOST=file\nSMTP_PORT=26\n")
    monkeypatch.setenv("SMTP_HOST", "environment")

    settings = load()

    assert (settings.smtp_host, settings.smtp_port) == ("environment", 26)


def test_what_the_environment_does_not_mean_for_us_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_HOSTS", "x")

    assert load() == Settings()


def test_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "smtp_password").write_text("swordfish\n")
    (tmp_path / "smtp_username").write_text("ada\n")

    settings = Settings(_secrets_dir=tmp_path)

    assert settings.smtp_username == "ada"
    assert settings.smtp_password.get_secret_value() == "swordfish"


@pytest.mark.parametrize(
    "secret",
    [
        "database_url",
        "smtp_oauth_client_secret",
        "smtp_oauth_refresh_token",
        "ops_token",
        "audit_key",
        "link_key",
    ],
)
def test_each_secret_may_be_a_file_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    (tmp_path / secret).write_text("swordfish-swordfish\n")

    assert getattr(Settings(_secrets_dir=tmp_path), secret) == SecretStr("swordfish-swordfish")
    monkeypatch.setenv(secret.upper(), "another-swordfish")
    assert getattr(Settings(_secrets_dir=tmp_path), secret) == SecretStr("another-swordfish")


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "DATABASE_URL",
        "SMTP_PASSWORD",
        "SMTP_OAUTH_CLIENT_SECRET",
        "SMTP_OAUTH_REFRESH_TOKEN",
        "OPS_TOKEN",
        "AUDIT_KEY",
        "LINK_KEY",
    ):
        monkeypatch.setenv(name, "swordfish-swordfish")
    monkeypatch.setenv("SMTP_USERNAME", "ada")

    settings = load()

    assert settings.ops_token == SecretStr("swordfish-swordfish")
    assert "swordfish" not in repr(settings) + str(settings.model_dump())


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("MAIL_FROM", "ada@example.com", "ada@example.com"),
        ("MAIL_FROM", '"Lovelace, Ada" <ada@example.com>', '"Lovelace, Ada" <ada@example.com>'),
        ("MAIL_FROM", "Müller & Söhne 会社 <ada@example.com>", "Müller & Söhne 会社 <ada@example.com>"),
        ("MAIL_REPLY_TO", "Help <help@example.com>", "Help <help@example.com>"),
        ("MAIL_RETURN_PATH", "bounces@example.com", "bounces@example.com"),
        ("MAIL_HEADERS", "", ()),
        ("MAIL_HEADERS", "X-SES-CONFIGURATION-SET: welcome", (("X-SES-CONFIGURATION-SET", "welcome"),)),
        ("MAIL_HEADERS", r"X-A: b c\nX-D:e", (("X-A", "b c"), ("X-D", "e"))),
        ("MAIL_HEADERS", "X-A: b\r\n\r\nX-D: e\n", (("X-A", "b"), ("X-D", "e"))),
        ("EHLO_NAME", "mail.example.com", "mail.example.com"),
        ("PRODUCT_URL", "https://example.com/?a=b#c", "https://example.com/?a=b#c"),
        ("MAIL_IDEMPOTENCY_HEADER", "X-Idempotency-Key", "X-Idempotency-Key"),
        ("PRODUCT_NAME", "Zażółć 会社", "Zażółć 会社"),
        ("PUBLIC_URL", "https://example.com/", "https://example.com"),
        ("PUBLIC_URL", "https://example.com/signup", "https://example.com/signup"),
        ("BRAND_COLOR", "#AAbb00", "#AAbb00"),
        ("SMTP_SECURITY", "starttls", Security.STARTTLS),
        ("WORKER", "0", False),
        ("CORS_ORIGINS", "https://A.com/, http://b:3000", ("https://a.com", "http://b:3000")),
        ("CORS_ORIGINS", "capacitor://localhost", ("capacitor://localhost",)),
        ("CORS_ORIGINS", "*", ("*",)),
        ("CORS_ORIGINS", "https://app.example.com:443", ("https://app.example.com",)),
        ("CORS_ORIGINS", "http://app.example.com:80/", ("http://app.example.com",)),
        ("CORS_ORIGINS", "https://app.example.com:80", ("https://app.example.com:80",)),
        ("CORS_ORIGINS", "https://Straße.DE", ("https://xn--strae-oqa.de",)),
        ("CORS_ORIGINS", "http://[::1]:3000", ("http://[::1]:3000",)),
        ("KEEP_ALIVE", "620", 620),
        ("TRUSTED_PROXIES", "10.0.0.1/8,::1", (ip_network("10.0.0.0/8"), ip_network("::1"))),
        ("AUDIT_EXCLUDE", "/healthz, /readyz", ("/healthz", "/readyz")),
        ("DUPLICATE_POLICY", "uniform", DuplicatePolicy.UNIFORM),
        ("SIGNUP_RATE_LIMIT", "10/second", Rate(10, timedelta(seconds=1))),
        ("SIGNUP_RATE_LIMIT", "", None),
        ("MAILBOX_RATE_LIMIT", "", None),
        ("DOMAIN_RATE_LIMIT", "100/minute", Rate(100, timedelta(minutes=1))),
        ("MAIL_BUDGET", "2000/day", Rate(2000, timedelta(days=1))),
        ("CONFIRMATION", "link", Confirmation.LINK),
        ("CONFIRM_WITHIN", "90m", timedelta(minutes=90)),
        ("CONFIRM_WITHIN", "48h", timedelta(hours=48)),
        ("CONFIRMED_URL", "https://example.com/?confirmed#top", "https://example.com/?confirmed#top"),
    ],
)
def test_a_right_value_is_taken(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: object
) -> None:
    monkeypatch.setenv(variable, value)

    assert getattr(load(), variable.lower()) == expected


WRONG = [
    ("SMTP_HOST", "", "a name or an IP address"),
    ("SMTP_HOST", "smtp..example.com", "a name or an IP address"),
    ("SMTP_HOST", f"{'x' * 64}.example.com", "a name or an IP address"),
    ("SMTP_PORT", "smtp", "a whole number"),
    ("SMTP_PORT", "", "a whole number"),
    ("SMTP_PORT", "0", "greater than or equal to 1"),
    ("PORT", "65536", "less than or equal to 65535"),
    ("SMTP_SECURITY", "ssl", "'none', 'starttls' or 'tls'"),
    ("SMTP_CONNECTIONS", "0", "greater than or equal to 1"),
    ("CONFIRMATION", "on", "'off' or 'link'"),
    ("CONFIRM_WITHIN", "7", "a time such as 90m, 48h or 7d"),
    ("CONFIRM_WITHIN", "0d", "a time such as 90m, 48h or 7d"),
    ("CONFIRM_WITHIN", "", "a time such as 90m, 48h or 7d"),
    ("CONFIRMED_URL", "/confirmed", "an address such as https://example.com/confirmed, or nothing"),
    ("UNCONFIRMED_DAYS", "0", "greater than or equal to 1"),
    ("LINK_KEY", "swordfish", "16 characters or more"),
    ("AUDIT_RETENTION_DAYS", "999999", "less than or equal to 36500"),
    ("OPS_TOKEN", "geheim-ü", "ASCII without spaces"),
    ("OPS_TOKEN", " spaced", "ASCII without spaces"),
    ("WEBHOOK_URL", "crm.example.com", "https://crm.example.com/webhooks/signup"),
    ("WEBHOOK_SECRET", "secret", "whsec_"),
    ("MAIL_FROM", "", "one address, such as Welcome <welcome@example.com>"),
    ("MAIL_FROM", "Ada", "one address"),
    ("MAIL_FROM", "Ada <ada>", "one address"),
    ("MAIL_FROM", "ada@example@com", "one address"),
    ("MAIL_FROM", "ada@münchen.de", "one address"),
    ("MAIL_FROM", "a..b@example.com", "one address"),
    ("MAIL_FROM", "Lovelace, Ada <ada@example.com>", "one address"),
    ("MAIL_FROM", "ada@example.com, grace@example.com", "one address"),
    ("MAIL_FROM", "Ada\r\nBcc: x@y <ada@example.com>", "one address"),
    ("MAIL_FROM", "Ada\u2028 <ada@example.com>", "one address"),
    ("MAIL_REPLY_TO", "help@example.com, ada@example.com", "one address"),
    ("MAIL_REPLY_TO", "Help\nBcc: x@y <help@example.com>", "one address"),
    ("MAIL_RETURN_PATH", "Bounces <bounces@example.com>", "a bare address"),
    ("MAIL_HEADERS", "X-A", "lines such as"),
    ("MAIL_HEADERS", "X A: b", "lines such as"),
    ("MAIL_HEADERS", "X-A: b\rBcc: x@y", "lines such as"),
    ("MAIL_HEADERS", "X-A: é", "lines such as"),
    ("MAIL_HEADERS", "X-A:", "lines such as"),
    ("MAIL_HEADERS", "bcc: x@y.com", "a header that the message has already"),
    ("MAIL_HEADERS", "Reply-To: x@y.com", "a header that the message has already"),
    ("MAIL_HEADERS", r"X-A: b\nx-a: c", "names a header twice"),
    ("MAIL_HEADERS", f"X-A: {'b' * 1000}", "lines such as"),
    ("EHLO_NAME", "mail server", "a name such as"),
    ("PRODUCT_URL", "javascript:alert(1)", "an address such as"),
    ("MAIL_IDEMPOTENCY_HEADER", "X Key", "the name of a header"),
    ("MAIL_IDEMPOTENCY_HEADER", "X-Key\n", "the name of a header"),
    ("MAIL_IDEMPOTENCY_HEADER", "subject", "the name of a header that the message does not have"),
    ("MAIL_IDEMPOTENCY_HEADER", "Content-Type", "the name of a header"),
    ("PRODUCT_NAME", "", "1 to 100 printable characters"),
    ("PRODUCT_NAME", "   ", "1 to 100 printable characters"),
    ("PRODUCT_NAME", "x" * 101, "1 to 100 printable characters"),
    ("PRODUCT_NAME", "Ours\nBcc: x@y", "1 to 100 printable characters"),
    ("PRODUCT_NAME", "Ours\u0085", "1 to 100 printable characters"),
    ("PUBLIC_URL", "example.com", "an address such as https://example.com"),
    ("PUBLIC_URL", "javascript:alert(1)", "an address such as https://example.com"),
    ("PUBLIC_URL", "https://example.com/?a=b", "an address such as https://example.com"),
    ("PUBLIC_URL", "https://example.com:http", "an address such as https://example.com"),
    ("PUBLIC_URL", "https://ü..example", "an address such as https://example.com"),
    ("BRAND_COLOR", "red", "a color such as #2563eb"),
    ("BRAND_COLOR", "#2563eb;x", "a color such as #2563eb"),
    ("TEMPLATES_DIR", "nowhere", "there is no such folder"),
    ("DATA_DIR", "", "a directory"),
    ("WORKER", "perhaps", "true or false"),
    ("WORKER", "", "true or false"),
    ("HOST", "", "a name or an IP address"),
    ("KEEP_ALIVE", "0", "greater than or equal to 1"),
    ("CORS_ORIGINS", "app.example.com", "origins such as https://app.example.com, separated by commas"),
    ("CORS_ORIGINS", "https://a.example.com/path", "origins such as"),
    ("CORS_ORIGINS", "https://a.example.com https://b.example.com", "origins such as"),
    ("CORS_ORIGINS", "https://*.app.example.com", "write each origin in full, or * alone"),
    ("CORS_ORIGINS", "https://app.example.com:*", "write each origin in full, or * alone"),
    ("CORS_ORIGINS", "https://app.example.com:http", "origins such as"),
    ("CORS_ORIGINS", "https://:443", "origins such as"),
    ("TRUSTED_PROXIES", "proxy", "networks such as 10.0.0.0/8, separated by commas"),
    ("TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.256", "networks such as"),
    ("AUDIT_EXCLUDE", "healthz", "paths such as /healthz, separated by commas"),
    ("AUDIT_RETENTION_DAYS", "0", "greater than or equal to 1"),
    ("DUPLICATE_POLICY", "hide", "'conflict' or 'uniform'"),
    ("SIGNUP_RATE_LIMIT", "600", "a rate such as 600/minute (second, minute, hour or day), or nothing"),
    ("SIGNUP_RATE_LIMIT", "0/minute", "a rate such as 600/minute"),
    ("SIGNUP_RATE_LIMIT", "-1/minute", "a rate such as 600/minute"),
    ("MAILBOX_RATE_LIMIT", "5/fortnight", "a rate such as 600/minute"),
    ("MAILBOX_RATE_LIMIT", "5/hour\n", "a rate such as 600/minute"),
    ("DOMAIN_RATE_LIMIT", "٥/hour", "a rate such as 600/minute"),
    ("MAIL_BUDGET", "unlimited", "a rate such as 600/minute"),
    ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
    ("LOG_FORMAT", "xml", "'console' or 'json'"),
    ("SMTP_AUTH", "oauth", "'password' or 'xoauth2'"),
    ("SIGNUPS_PAUSED", "maybe", "true or false"),
    ("DOCS", "hidden", "true or false"),
    ("INBOX_SMTP_PORT", "none", "a whole number"),
    ("INBOX_HTTP_PORT", "80000", "less than or equal to 65535"),
    ("SMTP_OAUTH_TOKEN_URL", "login.example.com", "an address such as https://"),
]
TAKE_ANY_TEXT = {
    *("DATABASE_URL", "SMTP_USERNAME", "SMTP_PASSWORD", "AUDIT_KEY"),
    *("SMTP_OAUTH_CLIENT_ID", "SMTP_OAUTH_CLIENT_SECRET", "SMTP_OAUTH_SCOPE", "SMTP_OAUTH_REFRESH_TOKEN"),
}


def test_every_setting_has_a_wrong_value_here() -> None:
    tried = {variable for variable, _, _ in WRONG}

    assert tried | TAKE_ANY_TEXT == {name.upper() for name in Settings.model_fields}
    assert not tried & TAKE_ANY_TEXT


@pytest.mark.parametrize(("variable", "value", "takes"), WRONG)
def test_a_wrong_value_gets_one_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, takes: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(InvalidSettings) as refusal:
        load()

    sentence = str(refusal.value)
    assert re.fullmatch(rf"{variable} is not valid: [a-z].*\.", sentence)
    assert takes in sentence


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("127.0.0.1", 8000, "http://127.0.0.1:8000"),
        ("0.0.0.0", 8080, "http://localhost:8080"),  # noqa: S104  # nothing listens
        ("::", 80, "http://localhost"),
        ("2001:db8::1", 8000, "http://[2001:db8::1]:8000"),
    ],
)
def test_without_a_public_url_it_is_where_the_service_listens(
    monkeypatch: pytest.MonkeyPatch, host: str, port: int, url: str
) -> None:
    monkeypatch.setenv("HOST", host)
    monkeypatch.setenv("PORT", str(port))

    assert load().public_url == url


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://example.com", ""),
        ("https://example.com/", ""),
        ("https://example.com/join", "/join"),
        ("https://example.com/sign/up/", "/sign/up"),
    ],
)
def test_what_is_handed_out_begins_with_the_path_of_the_public_url(url: str, path: str) -> None:
    assert Settings(public_url=url).public_path == path


def test_every_wrong_value_gets_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PORT", "smtp")
    monkeypatch.setenv("CORS_ORIGINS", "one,two")

    with pytest.raises(InvalidSettings) as refusal:
        load()

    assert [line.partition(" ")[0] for line in str(refusal.value).splitlines()] == [
        "SMTP_PORT",
        "CORS_ORIGINS",
    ]


@pytest.mark.parametrize("only", ["SMTP_USERNAME", "SMTP_PASSWORD"])
def test_half_of_the_credentials_is_none(monkeypatch: pytest.MonkeyPatch, only: str) -> None:
    monkeypatch.setenv(only, "swordfish")

    with pytest.raises(InvalidSettings, match=r"^SMTP_USERNAME and SMTP_PASSWORD: set both or neither\.$"):
        load()


XOAUTH2 = {
    "SMTP_AUTH": "xoauth2",
    "SMTP_USERNAME": "ada",
    "SMTP_OAUTH_TOKEN_URL": "https://login.example.com/token",
    "SMTP_OAUTH_CLIENT_ID": "engine",
    "SMTP_OAUTH_CLIENT_SECRET": "swordfish",
}


def set_xoauth2(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in (XOAUTH2 | changes).items():
        monkeypatch.setenv(name, value)


def test_xoauth2_needs_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    set_xoauth2(monkeypatch)

    assert load().smtp_auth is SmtpAuth.XOAUTH2


def test_a_refresh_token_stands_in_for_the_secret_of_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    set_xoauth2(monkeypatch, SMTP_OAUTH_CLIENT_SECRET="", SMTP_OAUTH_REFRESH_TOKEN="herring")

    assert load().smtp_auth is SmtpAuth.XOAUTH2


@pytest.mark.parametrize("missing", [name for name in XOAUTH2 if name != "SMTP_AUTH"])
def test_what_xoauth2_needs_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    set_xoauth2(monkeypatch, **{missing: ""})

    with pytest.raises(InvalidSettings, match=rf"^{missing}: set it, because SMTP_AUTH is xoauth2\.$"):
        load()


def test_everything_that_xoauth2_needs_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    set_xoauth2(monkeypatch, SMTP_USERNAME="", SMTP_OAUTH_CLIENT_ID="")

    with pytest.raises(InvalidSettings, match=r"^SMTP_USERNAME, SMTP_OAUTH_CLIENT_ID: set them, because"):
        load()


def test_a_forgotten_smtp_auth_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    set_xoauth2(monkeypatch, SMTP_AUTH="")

    with pytest.raises(InvalidSettings, match=r"^SMTP_AUTH "):
        load()
    monkeypatch.delenv("SMTP_AUTH")
    with pytest.raises(InvalidSettings, match=r"^SMTP_AUTH: set it to xoauth2"):
        load()


@pytest.mark.parametrize(
    "url",
    [
        "https://login.microsoftonline.com/a/oauth2/v2.0/token",
        "https://login.example.com/token?p=policy",
        "http://localhost:8080/token",
        "http://127.0.0.1/token",
        "http://[::1]:8080",
    ],
)
def test_a_token_url_is_https_or_on_this_machine(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    set_xoauth2(monkeypatch, SMTP_OAUTH_TOKEN_URL=url)

    assert load().smtp_oauth_token_url == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://login.example.com/token", "secrets would travel in the clear: it takes an https address"),
        ("http://127.0.0.1@login.example.com/token", "it takes an address such as https://"),
        ("https://ada:swordfish@login.example.com/token", "it takes an address such as https://"),
        ("https://login.example.com:x/token", "it takes an address such as https://"),
        ("https://login..example.com/token", "it takes an address such as https://"),
        ("login.example.com/token", "it takes an address such as https://"),
        ("https://login.example.com/to ken", "it takes an address such as https://"),
    ],
)
def test_any_other_token_url_gets_a_sentence(monkeypatch: pytest.MonkeyPatch, url: str, said: str) -> None:
    set_xoauth2(monkeypatch, SMTP_OAUTH_TOKEN_URL=url)

    with pytest.raises(InvalidSettings, match=f"^SMTP_OAUTH_TOKEN_URL is not valid: {said}") as caught:
        load()

    assert "swordfish" not in str(caught.value)


def test_the_built_in_inbox_needs_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    set_xoauth2(monkeypatch)

    settings = load(**inbox_settings())

    assert (settings.smtp_auth, settings.smtp_username) == (SmtpAuth.PASSWORD, "")


def test_a_token_is_not_sent_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    set_xoauth2(
        monkeypatch, SMTP_HOST="relay", MAIL_FROM="a@engines.example", PUBLIC_URL="https://engines.example"
    )

    with pytest.raises(
        InvalidSettings, match=r"^The access token would travel in the clear to relay: set SMTP_SEC"
    ):
        load().require_production_values()


def test_a_file_that_is_no_text_gets_a_sentence(folder: Path) -> None:
    (folder / ".env").write_bytes(b"SMTP_HOST=\xff")

    with pytest.raises(InvalidSettings, match=r"^\.env is not a text file in UTF-8\.$"):
        load()


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of secrets, empty."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setattr(loading, "SECRETS_DIR", folder)
    monkeypatch.setitem(Settings.model_config, "secrets_dir", folder)
    return folder


def test_a_secret_that_is_no_text_gets_a_sentence(secrets: Path) -> None:
    (secrets / "smtp_password").write_bytes(b"\xff")

    with pytest.raises(InvalidSettings, match=rf"^{secrets}/smtp_password is not a text file in UTF-8\.$"):
        load()


@pytest.mark.parametrize("name", [".env", "secrets/audit_key"])
def test_a_folder_in_the_place_of_a_file_gets_a_sentence(folder: Path, secrets: Path, name: str) -> None:
    (folder / name).mkdir()

    with pytest.raises(
        InvalidSettings, match=rf"{name} is a folder: put the file in its place, or remove it\.$"
    ):
        load()


@pytest.mark.parametrize("name", [".env", "secrets/audit_key"])
def test_a_file_that_cannot_be_read_gets_a_sentence(
    folder: Path, secrets: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file = folder / name
    file.write_text("AUDIT_KEY=x")
    read: Callable[..., IO[Any]] = io.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> IO[Any]:
        if Path(path).absolute() == file:  # the tests may run as root, who may read everything
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path, *arguments, **options)

    monkeypatch.setattr("io.open", refuse)
    monkeypatch.setattr("builtins.open", refuse)

    with pytest.raises(
        InvalidSettings, match=rf"{name} .*cannot be read \(Permission denied\): give this user"
    ):
        load()


def test_a_wrong_value_in_a_file_is_told_with_the_place(folder: Path, secrets: Path) -> None:
    (folder / ".env").write_text("# ours\nSMTP_PORT=smtp\n")
    (secrets / "keep_alive").write_text("long\n")

    with pytest.raises(InvalidSettings) as refusal:
        load()

    assert str(refusal.value).splitlines() == [
        f"KEEP_ALIVE is not valid: it takes a whole number ({secrets}/keep_alive).",
        "SMTP_PORT is not valid: it takes a whole number (.env, line 2).",
    ]


def test_what_windows_editors_put_in_front_of_a_file_is_no_part_of_it(folder: Path) -> None:
    (folder / ".env").write_text("\ufeffSMTP_HOST=relay\r\n", encoding="utf-8")

    assert load().smtp_host == "relay"
    assert find_env_file_problems() == []


EMPTY = [name for name, field in Settings.model_fields.items() if str(field.default) in ("", "()", "None")]


@pytest.mark.parametrize("name", EMPTY)
def test_what_is_off_may_be_empty(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name.upper(), "")

    assert load() == Settings()


@pytest.mark.parametrize(
    ("mail_from", "sender"),
    [
        ("ada@example.com", "ada@example.com"),
        ("Ada <ada@example.com>", "ada@example.com"),
        ('"Lovelace, Ada" <ada@example.com>', "ada@example.com"),
    ],
)
def test_the_sender_is_the_bare_address(mail_from: str, sender: str) -> None:
    assert Settings(mail_from=mail_from).sender == sender


LOOPBACK = ["localhost", "relay.localhost", "127.0.0.1", "127.1.2.3", "::1"]


@pytest.mark.parametrize("host", [*LOOPBACK, "mailhog"])
def test_a_mail_catcher_may_have_the_examples(host: str) -> None:
    Settings(smtp_host=host).require_production_values()


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_password_may_go_to_this_machine_in_clear(host: str) -> None:
    Settings(
        smtp_host=host,
        smtp_username="ada",
        smtp_password="x",
        mail_from="a@b.org",
        public_url="https://b.org",
    ).require_production_values()


@pytest.mark.parametrize("host", ["mailhog", "relay", "localhostess", "10.0.0.1"])
def test_a_password_goes_to_no_other_machine_in_clear(real: Settings, host: str) -> None:
    settings = real.model_copy(
        update={"smtp_host": host, "smtp_username": "ada", "smtp_password": SecretStr("x")}
    )

    with pytest.raises(
        InvalidSettings, match=f"^SMTP_PASSWORD would travel in the clear to {host}: set SMTP_SECURITY"
    ):
        settings.require_production_values()


@pytest.mark.parametrize("host", ["smtp.example.net", "192.0.2.1", "10.0.0.1", "2001:db8::1"])
def test_a_real_relay_needs_real_values(host: str) -> None:
    settings = Settings(smtp_host=host, smtp_username="ada", smtp_password="x")

    with pytest.raises(InvalidSettings) as refusal:
        settings.require_production_values()

    names = [line.partition(" ")[0] for line in str(refusal.value).splitlines()]
    assert names == ["MAIL_FROM", "PUBLIC_URL", "SMTP_PASSWORD"]


@pytest.fixture
def real() -> Settings:
    return Settings(
        smtp_host="smtp.example.net",
        mail_from="Ada <ada@example.net>",
        public_url="https://signup.example.net",
    )


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_a_password_travels_by_tls(real: Settings, security: Security) -> None:
    settings = real.model_copy(update={"smtp_username": "ada", "smtp_password": SecretStr("x")})

    with pytest.raises(InvalidSettings, match=r"^SMTP_PASSWORD would travel in the clear"):
        settings.require_production_values()
    settings.model_copy(update={"smtp_security": security}).require_production_values()


def test_a_relay_without_a_password_needs_no_tls(real: Settings) -> None:
    real.require_production_values()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 9000  # type: ignore[misc]  # that it cannot be set is the point


GOOD_SECRET = f"whsec_{'QUFB' * 8}"


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://crm.example.com/hook?key=1", GOOD_SECRET),
        ("http://localhost:9000", f"{GOOD_SECRET}  {GOOD_SECRET}"),
        ("", GOOD_SECRET),
        ("", ""),
    ],
)
def test_events_need_an_endpoint_and_a_secret(monkeypatch: pytest.MonkeyPatch, url: str, secret: str) -> None:
    monkeypatch.setenv("WEBHOOK_URL", url)
    monkeypatch.setenv("WEBHOOK_SECRET", secret)

    assert load().webhook_keys == (b"AAA" * 8,) * len(secret.split())


@pytest.mark.parametrize(
    ("url", "secret", "said"),
    [
        ("https://crm.example.com", "", "WEBHOOK_SECRET: set it, because WEBHOOK_URL is set"),
        ("http://crm.example.com", GOOD_SECRET, "names and addresses would travel in the clear"),
        ("crm.example.com", GOOD_SECRET, "WEBHOOK_URL is not valid: it takes an address such as https://"),
        (
            "https://ada:swordfish@crm.example.com",
            GOOD_SECRET,
            "WEBHOOK_URL is not valid: it takes an address",
        ),
        ("", "swordfish", "it takes whsec_ and 24 to 64 bytes in base64"),
        ("", "whsec_swordfish", "it takes whsec_ and 24 to 64 bytes in base64"),
        ("", f"whsec_{'QUFB' * 22}", "it takes whsec_ and 24 to 64 bytes in base64"),
        ("", " ".join([GOOD_SECRET] * 3), "it takes one secret, or two separated by a space"),
    ],
)
def test_any_other_webhook_gets_a_sentence_without_the_secret(
    monkeypatch: pytest.MonkeyPatch, url: str, secret: str, said: str
) -> None:
    monkeypatch.setenv("WEBHOOK_URL", url)
    monkeypatch.setenv("WEBHOOK_SECRET", secret)

    with pytest.raises(InvalidSettings, match=said) as caught:
        load()

    assert "swordfish" not in str(caught.value)


def test_no_user_is_deleted_while_their_link_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIRM_WITHIN", "48h")
    monkeypatch.setenv("UNCONFIRMED_DAYS", "2")
    assert load().unconfirmed_days == 2

    monkeypatch.setenv("UNCONFIRMED_DAYS", "1")

    with pytest.raises(InvalidSettings, match=r"^UNCONFIRMED_DAYS: raise it to at least CONFIRM_WITHIN, or"):
        load()
