"""The inbox as a web application: its pages and MailHog's API."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from service.inbox.mailhog_api import MailhogApi
from service.inbox.pages import Pages
from service.inbox.same_origin import SameOrigin
from service.inbox.store import MailStore

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def create_inbox(
    store: MailStore, *, host: str = "127.0.0.1", links: Mapping[str, str] | None = None
) -> Starlette:
    """`links` are shown beside the mails, by their names.

    `host` is the address of the server. Requests for any other host name are refused: a website could point
    its own name at this machine (DNS rebinding).
    """
    return Starlette(
        routes=[*MailhogApi(store).routes, *Pages(store, links=links or {}).routes],
        middleware=[
            Middleware(SameOrigin),
            Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, host], www_redirect=False),
        ],
    )
