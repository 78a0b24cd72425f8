"""The route of POST /signup, which reads its request itself."""

import inspect
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import structlog
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Scope

from service.observability.metrics import Metrics
from service.signup.body import StrictRequest, wants_page
from service.signup.parsing import ParsedSignup, parse
from service.signup.preconditions import Precondition
from service.signup.schemas import IdempotencyKey, SignupRequest
from service.web.problems import OnProblem, Problem, ProblemType

# What the route calls its endpoint with; FastAPI describes the endpoint by them.
PARAMETERS = {"body": SignupRequest, "request": Request, "idempotency_key": IdempotencyKey}
PATH = "/signup"
TRAPPED = "trapped"
BEFORE_THE_BODY = (ProblemType.RATE_LIMITED, ProblemType.PAUSED)

log = structlog.get_logger()


class SignupRoute(APIRoute):
    """Reads no body before the preconditions are met.

    It calls the endpoint itself: FastAPI finds out anew each time what an endpoint takes, for 50 µs of 200.
    So no other parameter would ever be filled in, and an endpoint that has one is refused.
    """

    preconditions: ClassVar[Sequence[Precondition]]
    metrics: ClassVar[Metrics]
    answer_trapped: ClassVar[Callable[[Request], Response]]

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        _check_parameters(endpoint)
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def answer(plain: Request) -> Response:
            request = StrictRequest(plain.scope, plain.receive)
            signup = await self._receive(request)
            if signup is None:
                self.metrics.signups.labels(TRAPPED).inc()
                log.info("signup.trapped", request_id=request.state.request_id)
                return type(self).answer_trapped(request)
            response: Response = await self.endpoint(signup.body, request, signup.idempotency_key)
            return response

        return answer

    async def _receive(self, request: StrictRequest) -> ParsedSignup | None:
        try:
            for check in self.preconditions:
                check(request)
        except Problem as problem:
            if problem.problem_type in BEFORE_THE_BODY and wants_page(request):
                with suppress(Problem):
                    await request.fields()  # the page shows again what was typed
            raise
        return await parse(request)


def refusal_counter(metrics: Metrics) -> OnProblem:
    """Counts a refused signup by its problem, whichever part of the app refuses it."""

    def count(scope: Scope, problem_type: ProblemType) -> None:
        # A client that has left gets no answer, and is of the other type.
        if (scope["method"], scope["path"]) == ("POST", PATH) and problem_type is not ProblemType.OTHER:
            metrics.signups.labels(problem_type.slug).inc()

    return count


def _check_parameters(endpoint: Callable[..., Any]) -> None:
    """Raises TypeError."""
    found = {
        name: parameter.annotation
        for name, parameter in inspect.signature(endpoint, eval_str=True).parameters.items()
    }
    if list(found.items()) != list(PARAMETERS.items()):
        raise TypeError(
            f"SignupRoute calls its endpoint with {', '.join(PARAMETERS)}, each annotated as in PARAMETERS; "
            f"{endpoint.__qualname__} takes {', '.join(found) or 'nothing'}. Use a plain route for it."
        )
