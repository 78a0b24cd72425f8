"""From a row to the bytes on the wire."""

import email
import email.policy
import html
from collections import Counter
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from email.header import decode_header, make_header
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.mail.message import Messages, check_headers
from service.outbox.channel import CannotBuild
from service.person.greetable import is_greetable
from service.settings import InvalidSettings, Settings
from tests.support.mail import ID, row
from tests.support.page import Page

HEADERS = [
    *("From", "Subject", "Auto-Submitted", "X-Auto-Response-Suppress", "MIME-Version", "Content-Type"),
    *("To", "Date", "Message-ID"),
]
HOSTILE_NAMES = [
    "Click http://evil.com",
    "evil.com",
    "www.evil.com",
    "evil。com",
    "1.1.1.1",
    "user@evil.com",
    "пример.рф",
    "=?utf-8?q?evil=2Ecom?=",
    "=?utf-8?q?Bob=0d=0aBcc:_x@y.com=0d=0a=0d=0aBODY?=",
    "Bob\r\nBcc: x@y",
    "Bob\nBcc: x@y",
    "Bob\rBcc: x@y",
    "Bob\u2028Bcc: x@y",
    "Bob\x85Bcc: x@y",
    "Bob\r\n.\r\nMAIL FROM:<x@y>",
    "--=_welcome--",
    "<b>x</b>",
    "<img src=//evil>",
    '" onmouseover=',
    "{{7*7}}",
    "${7*7}",
    "{svc.secret}",
    "%s%n",
    "$name",
    "\ud800",
    "\u202eBob",
]


def parsed(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body
    content: str = body.get_content()
    return content.replace("\r\n", "\n")


@pytest.fixture(scope="module")
def plain() -> Settings:
    return Settings(
        product_name="Analytical Engines",
        public_url="https://engines.example.com",
        mail_from="Grace <grace@example.com>",
    )


@pytest.fixture(scope="module")
def messages(plain: Settings) -> Messages:
    return Messages(plain)


def replaced(settings: Settings, folder: Path, **templates: str) -> Messages:
    for name, text in templates.items():
        (folder / f"welcome.{name.replace('_', '.')}").write_text(text, encoding="utf-8")
    return Messages(settings.model_copy(update={"templates_dir": folder}))


def test_every_header_stands_there_once(messages: Messages) -> None:
    message = parsed(messages.welcome(row()).content)

    assert Counter(message.keys()) == Counter(HEADERS)
    assert message["From"] == "Grace <grace@example.com>"
    assert message["To"] == "ada@example.com"
    assert message["Subject"] == "Welcome to Analytical Engines"
    assert message["Auto-Submitted"] == "auto-generated"
    assert not any(header.defects for header in message.values())


def test_the_envelope_is_the_rows(messages: Messages) -> None:
    message = messages.welcome(row(recipient="Ada@xn--mnchen-3ya.de"))

    assert (message.sender, message.recipient) == ("grace@example.com", "Ada@xn--mnchen-3ya.de")
    assert parsed(message.content)["To"] == "Ada@xn--mnchen-3ya.de"


def test_every_attempt_carries_the_same_message_id(messages: Messages, plain: Settings) -> None:
    ids = {
        parsed(maker.welcome(row()).content)["Message-ID"] for maker in (messages, messages, Messages(plain))
    }

    assert ids == {f"<{ID}@example.com>"}


def test_the_date_is_now(messages: Messages) -> None:
    date = parsed(messages.welcome(row()).content)["Date"].datetime

    assert abs(datetime.now(UTC) - date) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("locale", "preheader"),
    [
        ("en", "You're signed up, and there's nothing else you need to do."),
        ("de", "Sie sind angemeldet und müssen nichts weiter tun."),
    ],
)
def test_text_and_html_say_the_same(messages: Messages, locale: str, preheader: str) -> None:
    message = parsed(messages.welcome(row(name="O'Neil", locale=locale)).content)

    text, page = part(message, "plain"), Page(part(message, "html"))

    assert message.get_content_type() == "multipart/alternative"
    assert [each.get_content_type() for each in message.iter_parts()] == ["text/plain", "text/html"]
    said = text.replace(":\nhttps://engines.example.com\n", "\n")
    # After "Hallo Ada," German goes on in lower case, but a heading does not.
    assert " ".join(page.words).lower() == " ".join([*preheader.split(), *said.split()]).lower()
    assert page.one("a")["href"] == "https://engines.example.com"
    assert page.one("html")["lang"] == locale


@pytest.mark.parametrize(
    ("locale", "greeting"),
    [("en", "Hello Ada,"), ("de", "Hallo Ada,"), (None, "Hello Ada,"), ("tlh", "Hello Ada,")],
)
def test_the_mail_is_in_the_language_of_the_row(
    messages: Messages, locale: str | None, greeting: str
) -> None:
    assert part(parsed(messages.welcome(row(locale=locale)).content), "plain").startswith(greeting)


def test_a_language_of_ones_own_needs_three_files(plain: Settings, tmp_path: Path) -> None:
    texts = {
        "fr.subject_txt": "Bienvenue",
        "fr.txt": "Bonjour{{ ' ' ~ name if name }},",
        "fr.html": '{% extends "welcome.html" %}{% block heading %}Bienvenue{% endblock %}',
    }
    messages = replaced(plain, tmp_path, **texts)

    message = parsed(messages.welcome(row(locale="fr")).content)

    assert messages.languages == {"de", "en", "fr"}
    assert Page(part(message, "html")).one("html")["lang"] == "fr"
    assert (message["Subject"], part(message, "plain")) == ("Bienvenue", "Bonjour Ada,")
    (tmp_path / "welcome.fr.html").unlink()
    with pytest.raises(InvalidSettings, match=r"^TEMPLATES_DIR: welcome\.fr\.html cannot be used"):
        replaced(plain, tmp_path)


def test_a_replaced_text_is_that_of_every_language_without_its_own(plain: Settings, tmp_path: Path) -> None:
    messages = replaced(
        plain, tmp_path, txt="Ahoy!", html="<p>{% block greeting %}Ahoy{% endblock %}, sailor!"
    )

    message = parsed(messages.welcome(row(locale="de")).content)

    assert part(message, "plain") == "Ahoy!"
    assert part(message, "html") == "<p>Hallo Ada,, sailor!"


@pytest.mark.parametrize("locale", ["en", "de"])
def test_the_mail_loads_nothing_and_is_small(messages: Messages, locale: str) -> None:
    content = messages.welcome(row(locale=locale)).content

    page = Page(part(parsed(content), "html"))
    assert len(content) < 10_000
    assert {name for name, _ in page.elements}.isdisjoint({"img", "link", "script", "iframe"})
    assert "url(" not in part(parsed(content), "html")
    assert {table["role"] for table in page.all("table")} == {"presentation"}


@pytest.mark.parametrize(
    "name", ["O'Neil", "Nguyễn Văn A", "محمد بن سلمان", "田中太郎", "Li·Na", "علی‌رضا", "ශ්‍රීමතී"]
)
def test_a_name_is_greeted_as_typed(messages: Messages, name: str) -> None:
    message = parsed(messages.welcome(row(name=name)).content)

    assert part(message, "plain").startswith(f"Hello {name},\n")
    assert f"Hello {name}," in html.unescape(part(message, "html"))


@pytest.mark.parametrize("name", [None, "", *HOSTILE_NAMES])
def test_anything_else_gets_the_greeting_without_a_name(messages: Messages, name: str | None) -> None:
    message = parsed(messages.welcome(row(name=name)).content)

    assert part(message, "plain").startswith("Hello,\n")
    assert ">Hello,</p>" in part(message, "html")
    assert Counter(message.keys()) == Counter(HEADERS)


@pytest.mark.parametrize("name", ["Ada", *HOSTILE_NAMES])
def test_no_header_holds_the_name(messages: Messages, name: str) -> None:
    with_name, without = (parsed(messages.welcome(row(name=each)).content) for each in (name, None))

    assert with_name.items()[:6] == without.items()[:6]


@given(name=st.text(st.characters(exclude_categories=()), max_size=100) | st.text("Aa O'’-.é田", max_size=30))
def test_any_name_makes_a_message_that_every_relay_takes(name: str, messages: Messages) -> None:
    content = messages.welcome(row(name=name)).content

    assert_fit_for_the_wire(content)
    greeting = f"Hello {name}," if name and is_greetable(name) else "Hello,"
    assert part(parsed(content), "plain").startswith(greeting)


@given(product=st.text(min_size=1, max_size=100).filter(lambda text: text.isprintable() and text.strip()))
def test_any_product_name_arrives(product: str, plain: Settings) -> None:
    content = Messages(plain.model_copy(update={"product_name": product})).welcome(row()).content

    message = parsed(content)
    assert_fit_for_the_wire(content)
    assert f"Welcome to {product}!" in part(message, "plain")
    assert f"Welcome to {product}!" in html.unescape(part(message, "html"))
    assert Counter(message.keys()) == Counter(HEADERS)


def assert_fit_for_the_wire(content: bytes) -> None:
    lines = content.split(b"\r\n")
    assert content.isascii()
    assert content.endswith(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
    assert max(map(len, lines)) <= 998


def test_the_html_part_escapes(plain: Settings) -> None:
    settings = plain.model_copy(update={"product_name": "<b>Ada & 'Grace'</b>"})

    page = part(parsed(Messages(settings).welcome(row()).content), "html")

    assert "<b>" not in page
    assert "&lt;b&gt;Ada &amp; &#39;Grace&#39;&lt;/b&gt;" in page


@pytest.mark.parametrize(
    ("mail_from", "display_name"),
    [
        ("grace@example.com", ""),
        ("Grace <grace@example.com>", "Grace"),
        ('"Hopper, Grace" <grace@example.com>', "Hopper, Grace"),
        ("Müller & Söhne 会社 <grace@example.com>", "Müller & Söhne 会社"),
        ("Engines " * 200 + "<grace@example.com>", ("Engines " * 200).strip()),
    ],
)
def test_the_sender_may_have_any_display_name(plain: Settings, mail_from: str, display_name: str) -> None:
    content = Messages(plain.model_copy(update={"mail_from": mail_from})).welcome(row()).content

    [sender] = parsed(content)["From"].addresses
    assert (sender.display_name, sender.addr_spec) == (display_name, "grace@example.com")
    assert_fit_for_the_wire(content)


def test_a_long_display_name_is_folded_and_arrives(plain: Settings) -> None:
    name = "Müller & Söhne 会社 " * 20

    content = (
        Messages(plain.model_copy(update={"mail_from": f"{name}<grace@example.com>"})).welcome(row()).content
    )

    sender = content.partition(b"\r\nSubject: ")[0].decode().partition(": ")[2]
    assert max(map(len, sender.splitlines())) <= 78  # RFC 5322, section 2.1.1
    assert str(make_header(decode_header(sender))) == f"{name}<grace@example.com>"


ENCODED_WORD = "=?utf-8?q?Bob=0d=0aBcc:_x@y.com=0d=0a=0d=0aBODY?="  # CVE-2024-6923


@pytest.mark.parametrize(
    ("changes", "header"),
    [
        ({"product_name": ENCODED_WORD}, "Subject"),
        ({"product_name": f"Engines {ENCODED_WORD}"}, "Subject"),
        ({"product_name": f"会社 {ENCODED_WORD}"}, "Subject"),
        ({"mail_from": f'"{ENCODED_WORD}" <grace@example.com>'}, "From"),
        ({"mail_from": f'"{ENCODED_WORD} 会社" <grace@example.com>'}, "From"),
    ],
)
def test_an_encoded_word_in_a_setting_arrives_as_it_was_typed(
    plain: Settings, changes: dict[str, str], header: str
) -> None:
    content = Messages(plain.model_copy(update=changes)).welcome(row()).content

    lines = content.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b"").split(b"\r\n")
    assert [line.partition(b":")[0].decode() for line in lines] == HEADERS
    read = str(make_header(decode_header(lines[HEADERS.index(header)].decode().partition(": ")[2])))
    assert ENCODED_WORD in read


@pytest.mark.parametrize(
    ("made", "is_ours"),
    [
        (b"From: a@b\r\nSubject: hi\r\n", True),
        (b"From: a@b\r\nSubject: hi\r\n there\r\n", True),
        (b"From: a@b\r\nSubject: hi\r\nBcc: x@y\r\n", False),
        (b"From: a@b\r\nBcc: x@y\r\nSubject: hi\r\n", False),
        (b"From: a@b\r\nSubject: hi\r\n\r\nbody\r\n", False),
        (b"From: a@b\r\nSubject: hi\r\n \r\nbody\r\n", False),
        (b"From: a@b\r\nSubject: hi\nBcc: x@y\r\n", False),
        (b"From: a@b\r\nSubject: hi\rBcc: x@y\r\n", False),
        (b"From: a@b\r\n", False),
    ],
)
def test_headers_that_are_not_ours_end_the_start(made: bytes, is_ours: bool) -> None:
    with nullcontext() if is_ours else pytest.raises(InvalidSettings, match=r"^MAIL_FROM, MAIL_REPLY_TO, "):
        assert check_headers(made, names=["From", "Subject"]) == made


def test_a_header_carries_the_id_for_relays_that_honour_one(plain: Settings) -> None:
    settings = plain.model_copy(update={"mail_idempotency_header": "X-Idempotency-Key"})

    message = parsed(Messages(settings).welcome(row()).content)

    assert message.get_all("X-Idempotency-Key") == [str(ID)]


def test_answers_and_bounces_go_where_they_are_wanted(plain: Settings) -> None:
    wanted = {"mail_reply_to": "Hélène <help@example.com>", "mail_return_path": "bounces@mail.example.com"}

    message = Messages(plain.model_copy(update=wanted)).welcome(row())

    assert message.sender == "bounces@mail.example.com"
    headers = parsed(message.content)
    assert headers["Reply-To"] == "Hélène <help@example.com>"
    assert headers["From"] == "Grace <grace@example.com>"
    assert headers["Message-ID"].endswith("@example.com>")


def test_headers_of_ones_own_are_never_folded(plain: Settings) -> None:
    value = "configuration " * 60
    settings = plain.model_copy(update={"mail_headers": (("X-First", value), ("X-Second", "b: c"))})

    content = Messages(settings).welcome(row()).content

    assert f"\r\nX-First: {value}\r\nX-Second: b: c\r\n".encode() in content
    assert Counter(parsed(content).keys()) == Counter([*HEADERS, "X-First", "X-Second"])


def test_the_button_leads_to_the_product(plain: Settings) -> None:
    settings = plain.model_copy(update={"product_url": "https://product.example.com/?from=mail"})

    message = parsed(Messages(settings).welcome(row()).content)

    assert "https://product.example.com/?from=mail" in part(message, "plain")
    assert html.unescape(part(message, "html")).count("https://product.example.com/?from=mail") == 1


def test_one_template_is_replaced_and_the_rest_stay(plain: Settings, tmp_path: Path) -> None:
    messages = replaced(
        plain, tmp_path, txt="Ahoy {{ name or 'sailor' }} of {{ product }}: {{ url }} {{ color }}"
    )

    message = parsed(messages.welcome(row()).content)

    assert part(message, "plain") == "Ahoy Ada of Analytical Engines: https://engines.example.com #2563eb"
    assert "Hello Ada," in part(message, "html")
    assert message["Subject"] == "Welcome to Analytical Engines"


def test_a_subject_in_another_language_arrives(plain: Settings, tmp_path: Path) -> None:
    subject = "Добро пожаловать в мир аналитических машин, и спасибо за доверие: {{ product }}"

    content = replaced(plain, tmp_path, subject_txt=f"{subject}\n").welcome(row()).content

    assert parsed(content)["Subject"] == subject.replace("{{ product }}", "Analytical Engines")
    assert_fit_for_the_wire(content)


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), max_size=300))
def test_what_a_template_says_arrives_line_by_line(
    text: str, plain: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    messages = replaced(plain, tmp_path_factory.mktemp("templates"), txt=text)

    content = messages.welcome(row()).content

    assert_fit_for_the_wire(content)
    assert part(parsed(content), "plain").rstrip("\n") == "\n".join(text.splitlines()).rstrip("\n")


@pytest.mark.parametrize(
    ("template", "text", "complaint"),
    [
        ("txt", "fine\n{% if %}", r"welcome\.txt, line 2, .*Expected an expression"),
        ("txt", "fine\nfine\n{{ nmae }}", r"welcome\.txt, line 3, .*'nmae' is undefined"),
        ("txt", "{% if not name %}\n{{ 1 / 0 }}{% endif %}", r"welcome\.txt, line 2, .*division by zero"),
        ("txt", "{{ product | shout }}", r"welcome\.txt, line 1, .*No filter named 'shout'"),
        ("html", "\n{{ name.first.last }}", r"welcome\.html, line 2, .*has no attribute 'first'"),
        ("html", "{% include 'footer.html' %}", r"welcome\.html, line 1, .*footer\.html"),
        ("subject_txt", "Welcome, {{ name }}", r"welcome\.subject\.txt, line 1, .*'name' is undefined"),
        ("subject_txt", "Welcome\nBcc: x@y", r"welcome\.subject\.txt must make one line"),
        ("subject_txt", "", r"welcome\.subject\.txt must make one line"),
    ],
)
def test_a_broken_template_is_named_before_any_mail_is_made(
    plain: Settings, tmp_path: Path, template: str, text: str, complaint: str
) -> None:
    with pytest.raises(InvalidSettings, match=f"^TEMPLATES_DIR: .*{complaint}") as refusal:
        replaced(plain, tmp_path, **{template: text})

    assert "\n" not in str(refusal.value)


def test_a_template_that_is_no_text_is_named(plain: Settings, tmp_path: Path) -> None:
    (tmp_path / "welcome.txt").write_bytes(b"\xff\xfe")

    with pytest.raises(InvalidSettings, match=r"^TEMPLATES_DIR: welcome\.txt cannot be used"):
        replaced(plain, tmp_path)


def test_a_template_that_fails_for_one_row_fails_that_row_alone(plain: Settings, tmp_path: Path) -> None:
    messages = replaced(plain, tmp_path, txt="{{ 1 / (name != 'Grace') }}")

    with pytest.raises(CannotBuild, match="division by zero"):
        messages.welcome(row(name="Grace"))

    assert messages.welcome(row(name="Ada"))


@pytest.mark.parametrize(
    "recipient", ["ada@münchen.de", "ada@example.com\r\nBcc: x@y", "ada@example.com\n", "a\0@b.com"]
)
def test_a_recipient_that_would_break_the_headers_is_refused(messages: Messages, recipient: str) -> None:
    with pytest.raises(CannotBuild, match="recipient"):
        messages.welcome(row(recipient=recipient))


def test_no_line_of_a_part_can_end_it(plain: Settings, tmp_path: Path) -> None:
    messages = replaced(plain, tmp_path, txt="--=_welcome--\n--=_welcome\nstill here")

    message = parsed(messages.welcome(row()).content)

    assert part(message, "plain") == "--=_welcome--\n--=_welcome\nstill here"
    assert "Hello Ada," in part(message, "html")
