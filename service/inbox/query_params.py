"""Query parameters that the pages and the API both take."""

import re

from starlette.requests import Request

from service.inbox.store import SearchKind


def int_param(request: Request, *, name: str) -> int:
    """0 for what is missing, negative or no number."""
    text = request.query_params.get(name, "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


def search_kind(request: Request) -> SearchKind | None:
    kind = request.query_params.get("kind")
    return SearchKind(kind) if kind in set(SearchKind) else None
