"""HTTP for confirmation links: pages for people with a browser, JSON for single-page apps."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import RedirectResponse, Response

from service.database.engine import DatabaseUnavailable
from service.database.group_commit import Overloaded
from service.signup.confirm_pages import ConfirmPages, Page
from service.signup.confirmation import AlreadyConfirmed, Confirmation, LinkExpired, LinkUnknown
from service.signup.form_routes import PageRoute, see_other
from service.signup.handler import RETRY_AFTER
from service.signup.schemas import ConfirmationLink, ConfirmedAddress, ErasedUser
from service.web.openapi import problem_responses
from service.web.problems import Problem, ProblemType, accepts_html

TAGS: list[str | Enum] = ["confirmation"]
PATH = "/confirm/{token}"

Token = Annotated[str, Path(description="The end of the link in the confirmation email.")]

SEE_OTHER: dict[int | str, dict[str, Any]] = {
    303: {
        "description": "For browsers.",
        "headers": {
            "Location": {
                "required": True,
                "description": "`CONFIRMED_URL`, or a page of this service.",
                "schema": {"type": "string", "format": "uri-reference"},
                "example": "https://example.com/confirmed",
            }
        },
    }
}
LINK_PROBLEMS = ProblemType.LINK_UNKNOWN, ProblemType.LINK_EXPIRED, ProblemType.UNAVAILABLE


def add_routes(
    router: APIRouter, *, confirmation: Confirmation, pages: ConfirmPages, confirmed_url: str
) -> None:
    @router.get(
        PATH,
        tags=TAGS,
        operation_id="getConfirmation",
        summary="What a confirmation link leads to",
        response_model=ConfirmationLink,
        responses=problem_responses(*LINK_PROBLEMS),
    )
    async def show(token: Token, request: Request) -> ConfirmationLink | Response:
        """Changes nothing, because programs that scan mail follow links. Browsers get a page with two
        buttons."""
        with _problems():
            state = await confirmation.find(token)
        request.state.user_id = state.user_id
        if accepts_html(request.headers):
            return pages.show(request, Page.CONFIRMED if state.confirmed_at else Page.OPEN)
        return ConfirmationLink(
            id=state.user_id, confirmed_at=state.confirmed_at, expires_at=state.expires_at
        )

    @router.post(
        PATH,
        tags=TAGS,
        operation_id="confirmAddress",
        summary="Confirm the address",
        response_model=ConfirmedAddress,
        responses=SEE_OTHER | problem_responses(*LINK_PROBLEMS, ProblemType.OVERLOADED),
    )
    async def confirm(token: Token, request: Request) -> ConfirmedAddress | Response:
        """Sends the welcome email. The body is ignored. A second time answers the same and sends nothing."""
        with _problems():
            state = await confirmation.confirm(token, request_id=request.state.request_id)
        request.state.user_id = state.user_id
        if not accepts_html(request.headers):
            return ConfirmedAddress.model_validate({"id": state.user_id, "confirmed_at": state.confirmed_at})
        return RedirectResponse(confirmed_url, 303) if confirmed_url else see_other(f"/confirm/{token}")

    @router.post(
        f"{PATH}/deny",
        tags=TAGS,
        operation_id="denyAddress",
        summary="Erase the user of an address that is not confirmed",
        response_model=ErasedUser,
        responses=problem_responses(*LINK_PROBLEMS, ProblemType.ALREADY_CONFIRMED),
    )
    async def deny(token: Token, request: Request) -> ErasedUser | Response:
        """For somebody whose address another person entered. The body is ignored."""
        with _problems():
            user_id = await confirmation.deny(token)
        request.state.user_id = user_id
        if accepts_html(request.headers):
            return pages.show(request, Page.DENIED)
        return ErasedUser(id=user_id)

    async def back_to_link(token: str) -> Response:
        return see_other(f"/confirm/{token}")

    router.add_api_route(
        f"{PATH}/deny",
        back_to_link,
        methods=["GET"],
        include_in_schema=False,
        route_class_override=PageRoute,
    )


@contextmanager
def _problems() -> Iterator[None]:
    try:
        yield
    except LinkUnknown as exc:
        raise Problem(ProblemType.LINK_UNKNOWN) from exc
    except LinkExpired as exc:
        raise Problem(ProblemType.LINK_EXPIRED) from exc
    except AlreadyConfirmed as exc:
        raise Problem(ProblemType.ALREADY_CONFIRMED) from exc
    except DatabaseUnavailable as exc:
        raise Problem(ProblemType.UNAVAILABLE, headers=RETRY_AFTER) from exc
    except Overloaded as exc:
        raise Problem(ProblemType.OVERLOADED, headers=RETRY_AFTER) from exc
