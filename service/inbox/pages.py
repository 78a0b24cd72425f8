"""The pages for reading mails. They trust nothing in a mail."""

import asyncio
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from service.inbox.mail import CaughtMail
from service.inbox.query_params import int_param, search_kind
from service.inbox.store import MailStore, SearchKind

PAGE_SIZE = 50
DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)  # a tag before the doctype would disable it
POLL_TIMEOUT = 25.0  # s that a page waits for a change before it asks again
PAGE_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Links in a mail open new windows, which are not restricted.
MAIL_SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
MAIL_POLICY = f"sandbox {MAIL_SANDBOX}; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Pages:
    def __init__(self, store: MailStore, *, links: Mapping[str, str]) -> None:
        self._store = store
        self._links = links
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/", self.mails),
            Route("/changed", self.wait_for_change),
            Route("/mails/delete", self.delete_found, methods=["POST"]),
            Route("/mails/{id}", self.mail),
            Route("/mails/{id}/html", self.html),
            Route("/mails/{id}/delete", self.delete, methods=["POST"]),
        ]

    async def mails(self, request: Request) -> Response:
        start, version = int_param(request, name="start"), self._store.version
        kind, query, found = await self._find(request)
        return self._page(
            "mails.html",
            mails=found[start : start + PAGE_SIZE],
            is_unread=self._store.is_unread,
            links=self._links,
            total=len(found),
            version=version,
            kind=kind,
            query=query,
            newer=max(0, start - PAGE_SIZE) if start else None,
            older=start + PAGE_SIZE if start + PAGE_SIZE < len(found) else None,
        )

    async def wait_for_change(self, request: Request) -> Response:
        """Returns the inbox's version as soon as it differs from `since`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_TIMEOUT):
                await self._store.wait_for_change(since=int_param(request, name="since"))
        return PlainTextResponse(str(self._store.version))

    async def mail(self, request: Request) -> Response:
        mail = self._store.get(request.path_params["id"])
        if mail is None:
            return self._page("gone.html", status=HTTPStatus.NOT_FOUND)
        self._store.mark_read(mail.id)
        newer, older = self._store.neighbors(mail.id)
        contents = {"html": mail.html, "text": mail.text, "headers": mail.headers, "source": mail.source}
        views = [view for view, content in contents.items() if content is not None]
        wanted = request.query_params.get("view")
        view = wanted if wanted in views else views[0]
        return self._page(
            "mail.html",
            mail=mail,
            views=views,
            view=view,
            content=contents[view],
            newer=newer,
            older=older,
            sandbox=MAIL_SANDBOX,
        )

    async def html(self, request: Request) -> Response:
        mail = self._store.get(request.path_params["id"])
        html = mail.html if mail else None
        if html is None:
            return self._page("gone.html", status=HTTPStatus.NOT_FOUND)
        return HTMLResponse(_retarget_links(html), headers={"Content-Security-Policy": MAIL_POLICY})

    async def delete(self, request: Request) -> Response:
        self._store.delete(request.path_params["id"])
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)

    async def delete_found(self, request: Request) -> Response:
        """All mails, or those of the search that the page shows."""
        _, query, found = await self._find(request)
        if query:
            for mail in found:
                self._store.delete(mail.id)
        else:
            self._store.clear()
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)

    async def _find(self, request: Request) -> tuple[SearchKind, str, list[CaughtMail]]:
        kind = search_kind(request) or SearchKind.CONTAINING
        query = request.query_params.get("query", "").strip()
        return kind, query, await self._store.search(query, kind=kind) if query else list(self._store)

    def _page(self, template: str, *, status: HTTPStatus = HTTPStatus.OK, **values: object) -> Response:
        nonce = secrets.token_urlsafe(16)
        page = self._templates.get_template(template).render(nonce=nonce, **values)
        policy = PAGE_POLICY.format(nonce=nonce)
        return HTMLResponse(page, status, headers={"Content-Security-Policy": policy})


def _retarget_links(html: str) -> str:
    """Makes links open new windows, because the frame cannot follow them."""
    doctype = DOCTYPE.match(html)
    begin = doctype.end() if doctype else 0
    return f'{html[:begin]}<base target="_blank">{html[begin:]}'
