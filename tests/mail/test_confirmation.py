"""The mail that asks to confirm an address, and its link."""

from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from service.database.engine import Database, DatabaseUnavailable
from service.database.outbox_kinds import Kind
from service.mail.channel import MailChannel
from service.mail.links import NOBODY, Links
from service.mail.message import Messages
from service.mail.relay import Relay
from service.outbox.channel import CannotBuild, FinalRefusal, LaterRefusal, Refusal
from service.outbox.row import Email
from service.settings import Confirmation, Settings
from tests.support.confirmation import LINK, text
from tests.support.mail import row
from tests.support.page import Page
from tests.support.relay import Envelope, ScriptedRelay

USER = UUID("0197d0c0-5b3e-7000-8000-0000000000aa")
TOKEN = "0123456789abcdef" * 4


def to_confirm(**changes: object) -> Email:
    email = row(**changes)  # type: ignore[arg-type]  # the fields of a row
    email.kind, email.user_id = Kind.CONFIRMATION, USER
    return email


@pytest.fixture(scope="module")
def messages() -> Messages:
    return Messages(
        Settings(
            product_name="Analytical Engines",
            public_url="https://engines.example.com/join",
            product_url="https://product.example.com",
            confirmation=Confirmation.LINK,
        )
    )


@pytest.mark.parametrize(
    ("locale", "subject", "preheader"),
    [
        (
            "en",
            "Confirm your email address for Analytical Engines",
            "If you signed up for Analytical Engines, there's one more step.",
        ),
        (
            "de",
            "Bitte bestätigen Sie Ihre E-Mail-Adresse für Analytical Engines",
            "Wenn Sie sich bei Analytical Engines angemeldet haben, fehlt nur noch ein Schritt.",
        ),
    ],
)
def test_text_and_html_say_the_same_and_lead_to_the_link(
    messages: Messages, locale: str, subject: str, preheader: str
) -> None:
    mail = Envelope(content=messages.confirmation(to_confirm(locale=locale), token=TOKEN).content)
    link = f"https://engines.example.com/join/confirm/{TOKEN}"

    html = mail.message.get_body(("html",))
    assert html
    page = Page(html.get_content())

    assert mail.message["Subject"] == subject
    said = text(mail).replace(f":\n{link}\n", "\n")
    assert " ".join(page.words).lower() == " ".join([*preheader.split(), *said.split()]).lower()
    assert [each["href"] for each in page.all("a")] == [link]
    assert page.one("html")["lang"] == locale


def test_a_mail_that_was_asked_for_again_has_another_message_id(messages: Messages) -> None:
    email = to_confirm()
    ids = []
    for email.renewals in (None, 1, 2):
        content = messages.confirmation(email, token=TOKEN).content
        ids.append(Envelope(content=content).message_id)

    assert ids == [f"<{email.id}{number}@example.com>" for number in ("", ".1", ".2")]


def test_it_can_be_built_while_confirmation_is_off() -> None:
    """What was stored before is still sent."""
    assert LINK.search(
        text(Envelope(content=Messages(Settings()).confirmation(to_confirm(), token=TOKEN).content))
    )


@pytest.fixture
def channel(settings: Settings, database: Database) -> MailChannel:
    return MailChannel(
        messages=Messages(settings), relay=Relay(settings), links=Links(settings, database=database)
    )


@pytest.mark.parametrize("engine_name", ["sqlite"])
class TestWhatTheRelaySays:
    """It may quote the link, and what it says is stored and logged."""

    @pytest.mark.parametrize(
        ("stage", "said", "raised"),
        [
            ("dot", "554 5.7.1 Blocked URL {}", FinalRefusal),
            ("dot", "451 4.7.1 greylisted {}", LaterRefusal),
            ("dot", "250 2.0.0 queued {}", None),
        ],
    )
    async def test_a_link_that_is_quoted_is_nobodys(
        self,
        channel: MailChannel,
        relay: ScriptedRelay,
        stage: str,
        said: str,
        raised: type[Refusal] | None,
    ) -> None:
        quoted: list[str] = []

        def quote(envelope: Envelope) -> str:
            match = LINK.search(text(envelope))
            assert match
            quoted.append(match[1])
            return said.format(match[0].upper())

        relay.answers[stage] = quote
        try:
            if raised:
                with pytest.raises(raised) as caught:
                    await channel.send(to_confirm(), may_send=lambda: True)
                words = f"{caught.value.reason} {caught.value.summary} {caught.value}"
            else:
                words = await channel.send(to_confirm(), may_send=lambda: True)
        finally:
            await channel.close()

        assert len(quoted) == 1
        assert quoted[0] not in words.lower()
        assert said.partition(" {}")[0] in words

    async def test_a_row_without_a_user_cannot_be_sent(self, channel: MailChannel) -> None:
        email = to_confirm()
        email.user_id = None

        with pytest.raises(CannotBuild):
            await channel.send(email, may_send=lambda: True)
        await channel.close()


class TestLinks:
    async def test_a_token_is_read_by_every_process(self, settings: Settings, database: Database) -> None:
        one, other = (Links(settings, database=database) for _ in range(2))

        assert await other.read(await one.token(USER)) == USER

    async def test_any_change_of_a_token_is_nobodys(self, settings: Settings, database: Database) -> None:
        links = Links(settings, database=database)
        token = await links.token(USER)

        for position in range(len(token)):
            changed = "1" if token[position] == "0" else "0"
            assert await links.read(token[:position] + changed + token[position + 1 :]) == NOBODY
        for other in ("", token[1:], f"{token}\n", token.upper(), "٣" * 64, f"{uuid4().hex}{token[32:]}"):
            assert await links.read(other) == NOBODY

    async def test_another_key_makes_other_links(self, settings: Settings, database: Database) -> None:
        own = settings.model_copy(update={"link_key": SecretStr("swordfish" * 4)})

        tokens = {await Links(each, database=database).token(USER) for each in (settings, own)}

        assert len(tokens) == 2

    async def test_a_database_without_the_key_is_told(self, settings: Settings, database: Database) -> None:
        async with database.transaction() as connection:
            await connection.exec_driver_sql("DELETE FROM link_key")

        with pytest.raises(DatabaseUnavailable, match="link_key is empty: restore its row, or set LINK_KEY"):
            await Links(settings, database=database).token(USER)

    async def test_every_database_has_a_key_of_its_own(
        self, empty_database_url: str, settings: Settings, database: Database
    ) -> None:
        from service.database import migrations

        other = Database(settings.model_copy(update={"database_url": SecretStr(empty_database_url)}))
        try:
            await migrations.migrate(other)
            tokens = {await Links(settings, database=each).token(USER) for each in (database, other)}
        finally:
            await other.close()

        assert len(tokens) == 2
