"""The part of MailHog's HTTP API that clients use to read and delete mails."""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from service.inbox import mailhog_json
from service.inbox.query_params import int_param, search_kind
from service.inbox.store import MailStore

ALL = 1_000  # how many mails version 1 of MailHog's API returns; it has no paging
DEFAULT_LIMIT = 50
MAX_LIMIT = 250


class MailhogApi:
    """The endpoints.

    Differences from MailHog: an unknown id is a 404 (there a 500, or a 200 for a GET; `null` in both),
    repeated headers keep all values, and `containing` also searches decoded text.
    """

    def __init__(self, store: MailStore) -> None:
        self._store = store

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/messages", self.all_messages),
            Route("/api/v1/messages", self.delete_all, methods=["DELETE"]),
            Route("/api/v1/messages/{id}", self.message),
            Route("/api/v1/messages/{id}", self.delete, methods=["DELETE"]),
            Route("/api/v1/messages/{id}/download", self.download),
            Route("/api/v1/messages/{id}/release", self.release, methods=["POST"]),
            Route("/api/v2/messages", self.messages),
            Route("/api/v2/search", self.search),
        ]

    async def all_messages(self, request: Request) -> Response:
        mails = self._store.page(start=0, limit=ALL)
        return _TextJson([mailhog_json.message(mail) for mail in mails])

    async def delete_all(self, request: Request) -> Response:
        self._store.clear()
        return Response(media_type=_TextJson.media_type)

    async def message(self, request: Request) -> Response:
        mail = self._store.get(request.path_params["id"])
        return _TextJson(mailhog_json.message(mail)) if mail else _not_found()

    async def delete(self, request: Request) -> Response:
        deleted = self._store.delete(request.path_params["id"])
        return Response(media_type=_TextJson.media_type) if deleted else _not_found()

    async def download(self, request: Request) -> Response:
        mail = self._store.get(request.path_params["id"])
        if mail is None:
            return _not_found()
        file = {"Content-Disposition": f'attachment; filename="{mail.id}.eml"'}
        return Response(mail.raw, media_type="message/rfc822", headers=file)

    async def release(self, request: Request) -> Response:
        # Not JSON, so that the npm package rejects; and at most 20 characters, because Node shows no more.
        return PlainTextResponse("No mail leaves here.", status_code=501)

    async def messages(self, request: Request) -> Response:
        start, limit = _parse_paging(request)
        mails = self._store.page(start=start, limit=limit)
        return _TextJson(mailhog_json.page(mails, start=start, total=len(self._store)))

    async def search(self, request: Request) -> Response:
        kind, query = search_kind(request), request.query_params.get("query")
        if kind is None or not query:
            return Response(status_code=400)
        start, limit = _parse_paging(request)
        found = await self._store.search(query, kind=kind)
        return JSONResponse(mailhog_json.page(found[start : start + limit], start=start, total=len(found)))


class _TextJson(JSONResponse):
    media_type = "text/json"  # as in MailHog, except for its search


def _not_found() -> Response:
    return _TextJson(None, status_code=404)


def _parse_paging(request: Request) -> tuple[int, int]:
    limit = int_param(request, name="limit") or DEFAULT_LIMIT
    return int_param(request, name="start"), min(limit, MAX_LIMIT)
