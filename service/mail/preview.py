"""Shows the mail to people who write its templates. Only `signup-service up` has it."""

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path
from uuid import UUID

from fastapi import APIRouter
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from service.mail.message import Messages
from service.outbox.row import Email
from service.settings import InvalidSettings, Settings
from service.templating.languages import DEFAULT

PATH = "/dev/preview"
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
    async def page(language: str = DEFAULT, name: str = "Ada") -> Response:
        context: dict[str, object] = {"path": PATH, "language": language, "name": name}
        try:
            messages = Messages(settings)
        except InvalidSettings as exc:
            context |= {"trouble": str(exc), "languages": [DEFAULT]}
        else:
            mail = _mail(messages, language=language, name=name)
            context |= {
                "trouble": None,
                "languages": sorted(messages.languages),
                "headers": mail.items(),
                "text": _part(mail, "plain"),
                "kilobytes": len(mail.as_bytes()) / 1024,
            }
        return _answer(pages.get_template("preview.html").render(context), policy=PAGE_POLICY)

    @router.api_route(f"{PATH}/html", methods=["GET", "HEAD"])
    async def html(language: str = DEFAULT, name: str = "Ada") -> Response:
        mail = _mail(Messages(settings), language=language, name=name)
        return _answer(_part(mail, "html"), policy=MAIL_POLICY)

    return router


def _mail(messages: Messages, *, language: str, name: str) -> EmailMessage:
    sample = Email(
        id=UUID(int=0),
        recipient="ada@example.com",
        name=name,
        locale=language,
        request_id="preview",
        attempt=1,
        deferrals=0,
        held_until=0,
    )
    content = messages.welcome(sample).content
    return email.message_from_bytes(content, EmailMessage, policy=email.policy.default)


def _part(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    return str(part.get_content()) if part else ""


def _answer(page: str, *, policy: str) -> Response:
    return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})
