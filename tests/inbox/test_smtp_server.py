import asyncio

import pytest
from aiosmtplib import SMTP, SMTPDataError, SMTPResponseException

from service.inbox.smtp_server import MAX_BYTES, InboxSmtpServer
from service.inbox.store import MailStore

from .mails import WELCOME

ADA = "ada@example.com"
GRACE = "grace@example.com"
SENDER = "welcome@example.com"


async def test_a_mail_is_caught_byte_for_byte_with_its_envelope(store: MailStore, sender: SMTP) -> None:
    raw = WELCOME + b".a line with a dot\r\n"

    _, reply = await sender.sendmail(SENDER, [ADA, GRACE], raw, mail_options=["BODY=8BITMIME"])

    [mail] = store
    assert mail.raw == raw
    assert (mail.sender, mail.recipients) == (SENDER, (ADA, GRACE))
    assert mail.id in reply


async def test_what_a_modern_client_asks_for_is_offered(sender: SMTP) -> None:
    await sender.ehlo()

    assert sender.supports_extension("8bitmime")
    assert sender.supports_extension("smtputf8")
    assert sender.esmtp_extensions["size"] == str(MAX_BYTES)


async def test_an_international_address_is_caught(store: MailStore, sender: SMTP) -> None:
    await sender.sendmail(SENDER, ["jürgen@bücher.example"], WELCOME, mail_options=["SMTPUTF8"])

    [mail] = store
    assert mail.recipients == ("jürgen@bücher.example",)


async def test_a_bounce_has_no_sender(store: MailStore, sender: SMTP) -> None:
    await sender.sendmail("", [ADA], WELCOME)

    [mail] = store
    assert mail.sender == ""


async def test_an_address_that_is_not_even_text_is_caught_as_text(store: MailStore, sender: SMTP) -> None:
    await sender.ehlo()
    for command in (b"MAIL FROM:<\xff@example.com>", b"RCPT TO:<\xfe@example.com>"):
        await sender.execute_command(command)
    await sender.data(WELCOME)

    [mail] = store
    assert (mail.sender, mail.recipients) == ("?@example.com", ("?@example.com",))


async def test_a_long_line_is_taken(store: MailStore, sender: SMTP) -> None:
    raw = b"Subject: Long\r\n\r\n" + b"x" * 100_000 + b"\r\n"

    await sender.sendmail(SENDER, [ADA], raw)

    [mail] = store
    assert mail.raw == raw


async def test_a_mail_over_the_limit_is_refused_and_the_next_one_taken(
    store: MailStore, sender: SMTP
) -> None:
    await sender.ehlo()
    await sender.mail(SENDER)
    await sender.rcpt(ADA)
    with pytest.raises(SMTPDataError) as refused:
        await sender.data((b"x" * 998 + b"\r\n") * (MAX_BYTES // 1000 + 1))
    await sender.sendmail(SENDER, [ADA], WELCOME)

    assert refused.value.code == 552
    assert [mail.raw for mail in store] == [WELCOME]


async def test_a_size_told_in_advance_is_refused_at_once(sender: SMTP) -> None:
    await sender.ehlo()

    with pytest.raises(SMTPResponseException) as refused:
        await sender.mail(SENDER, options=[f"SIZE={MAX_BYTES + 1}"])

    assert refused.value.code == 552


async def test_several_senders_keep_their_connections(store: MailStore, smtp: InboxSmtpServer) -> None:
    senders = [SMTP(hostname="127.0.0.1", port=smtp.port) for _ in range(10)]
    await asyncio.gather(*[sender.connect() for sender in senders])

    for _ in range(3):
        await asyncio.gather(*[sender.sendmail(SENDER, [ADA], WELCOME) for sender in senders])

    assert len(store) == 30
    for sender in senders:
        sender.close()


async def test_a_port_in_use_is_told(store: MailStore, smtp: InboxSmtpServer) -> None:
    second = InboxSmtpServer(store, host="127.0.0.1", port=smtp.port)

    with pytest.raises(OSError, match="in use"):
        await second.start()
    await second.stop()


async def test_stopping_hangs_up_on_whoever_is_connected(
    store: MailStore, caplog: pytest.LogCaptureFixture
) -> None:
    smtp = InboxSmtpServer(store, host="127.0.0.1", port=0)
    await smtp.start()
    idle, writer = await asyncio.open_connection("127.0.0.1", smtp.port)
    await idle.readline()
    writer.write(
        b"EHLO localhost\r\nMAIL FROM:<welcome@example.com>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\nhalf"
    )
    await idle.readuntil(b"354")

    async with asyncio.timeout(10):
        await smtp.stop()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await idle.readuntil(b"never")

    writer.close()
    assert caplog.records == []


async def test_a_port_is_free_again_after_stopping(store: MailStore) -> None:
    first = InboxSmtpServer(store, host="127.0.0.1", port=0)
    await first.start()
    client = SMTP(hostname="127.0.0.1", port=first.port)
    await client.connect()
    await first.stop()
    client.close()

    second = InboxSmtpServer(store, host="127.0.0.1", port=first.port)
    await second.start()
    await second.stop()


async def test_a_sender_that_vanishes_leaves_no_trace(
    smtp: InboxSmtpServer, store: MailStore, sender: SMTP, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", smtp.port)
        writer.write(b"EHLO localhost\r\n" * 100)
        await asyncio.sleep(0)
        writer.transport.abort()
    await sender.sendmail(SENDER, [ADA], WELCOME)

    assert len(store) == 1
    assert caplog.records == []
