"""Query parameters that both the pages and the API accept."""

import re

from starlette.requests import Request

from service.inbox.store import SearchKind


def int_param(request: Request, *, name: str) -> int:
    """The number, or 0 if it is missing, negative or not a number."""
    text = request.query_params.get(name, "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


def search_kind(request: Request) -> SearchKind | None:
    kind = request.query_params.get("kind")
    return SearchKind(kind) if kind in set(SearchKind) else None
