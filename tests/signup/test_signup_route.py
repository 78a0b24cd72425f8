"""The route that fills in its own arguments."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import Query, Request, Response

from service.signup.schemas import IdempotencyKey, SignupRequest
from service.signup.signup_route import SignupRoute


async def right(body: SignupRequest, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    return Response()


async def one_more(
    body: SignupRequest,
    request: Request,
    idempotency_key: IdempotencyKey = None,
    campaign: Annotated[str | None, Query(max_length=5)] = None,
) -> Response:
    return Response()


async def another_body(
    body: dict[str, Any], request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    return Response()


async def another_key(body: SignupRequest, request: Request, idempotency_key: str | None = None) -> Response:
    return Response()


async def another_order(
    request: Request, body: SignupRequest, idempotency_key: IdempotencyKey = None
) -> Response:
    return Response()


def test_it_takes_the_endpoint_that_it_can_call() -> None:
    SignupRoute("/signup", right, methods=["POST"])


@pytest.mark.parametrize("endpoint", [one_more, another_body, another_key, another_order])
def test_it_refuses_parameters_that_it_would_not_fill_in(endpoint: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=f"{endpoint.__qualname__} takes"):
        SignupRoute("/signup", endpoint, methods=["POST"])
