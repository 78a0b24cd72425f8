"""Shows the mail to people who write its templates. Only `signup-service up` has it."""

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path
from typing import Literal
from uuid import UUID

from fastapi import APIRouter
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from service.mail.message import CONFIRM, WELCOME, Messages
from service.outbox.row import Email
from service.settings import InvalidSettings, Settings
from service.templating.languages import DEFAULT

PATH = "/dev/preview"
MAILS = {WELCOME: "welcome", CONFIRM: "confirmation"}
Mail = Literal["welcome", "confirm"]
SAMPLE_TOKEN = "0123456789abcdef" * 4
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-src 'self'; form-action 'self'"
)
MAIL_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data: https:"


def routes(settings: Settings) -> APIRouter:
    """The templates are read for each request: change one, and reload the page."""
    router = APIRouter(include_in_schema=False)
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
    )

    @router.api_route(PATH, methods=["GET", "HEAD"])
    async def page(mail: Mail = "welcome", language: str = DEFAULT, name: str = "Ada") -> Response:
        context: dict[str, object] = {"path": PATH, "language": language, "name": name}
        context |= {"mail": mail, "mails": MAILS}
        try:
            messages = Messages(settings)
            sample = _build(messages, mail, language=language, name=name)
        except InvalidSettings as exc:
            context |= {"trouble": str(exc), "languages": [DEFAULT]}
        else:
            context |= {
                "trouble": None,
                "languages": sorted(messages.languages),
                "headers": sample.items(),
                "text": _part(sample, "plain"),
                "kilobytes": len(sample.as_bytes()) / 1024,
            }
        return _answer(pages.get_template("preview.html").render(context), policy=PAGE_POLICY)

    @router.api_route(f"{PATH}/html", methods=["GET", "HEAD"])
    async def html(mail: Mail = "welcome", language: str = DEFAULT, name: str = "Ada") -> Response:
        sample = _build(Messages(settings), mail, language=language, name=name)
        return _answer(_part(sample, "html"), policy=MAIL_POLICY)

    return router


def _build(messages: Messages, mail: str, *, language: str, name: str) -> EmailMessage:
    row = Email(
        id=UUID(int=0),
        recipient="ada@example.com",
        name=name,
        locale=language,
        request_id="preview",
        attempt=1,
        deferrals=0,
        held_until=0,
    )
    message = messages.confirmation(row, token=SAMPLE_TOKEN) if mail == CONFIRM else messages.welcome(row)
    return email.message_from_bytes(message.content, EmailMessage, policy=email.policy.default)


def _part(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    return str(part.get_content()) if part else ""


def _answer(page: str, *, policy: str) -> Response:
    return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})
