"""Turns every error into an answer: a page for a person, a problem document for a program."""

from collections.abc import Callable

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from service.web.problems import OnProblem, Problem, ProblemResponse, ProblemType, Translate

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
TYPES_BY_STATUS = {problem_type.status: problem_type for problem_type in reversed(ProblemType)}

log = structlog.get_logger()


def install(
    app: FastAPI,
    *,
    translator: Callable[[Request], tuple[str, Translate]],
    page: Callable[[Request, Problem], Response | None],
    on_problem: OnProblem,
) -> None:
    """`translator` returns the client's language and a translator into it. `page` returns the answer for a
    person, or None for a program. `on_problem` hears of each problem that is answered."""

    def answer(request: Request, problem: Problem) -> Response:
        on_problem(request.scope, problem.problem_type)
        return page(request, problem) or _document(request, problem, *translator(request))

    async def http_error(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)  # noqa: S101  # what it is installed for; the signature is Starlette's
        return answer(request, _to_problem(request, exc))

    async def validation_error(request: Request, _: Exception) -> Response:
        """Answers where FastAPI has refused a request. Its own words are not for people."""
        return answer(request, Problem(ProblemType.INVALID))

    async def bug(request: Request, exc: Exception) -> Response:
        log.error("request.failed", request_id=request.state.request_id, exc_info=exc)
        return answer(request, Problem(ProblemType.INTERNAL))

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(Exception, bug)


def _to_problem(request: Request, exc: HTTPException) -> Problem:
    if isinstance(exc, Problem):
        return exc
    problem_type = TYPES_BY_STATUS.get(exc.status_code, ProblemType.OTHER)
    headers = (
        {"Allow": _find_allowed_methods(request)}
        if problem_type is ProblemType.METHOD_NOT_ALLOWED
        else exc.headers
    )
    return Problem(problem_type, status=exc.status_code, headers=headers)


def _document(request: Request, problem: Problem, language: str, translate: Translate) -> ProblemResponse:
    return ProblemResponse(
        problem.problem_type,
        status=problem.status_code,
        detail=problem.explain(translate),
        request_id=request.state.request_id,
        headers={"Content-Language": language, **(problem.headers or {})},
        errors=[error.model_copy(update={"msg": translate(error.msg)}) for error in problem.errors],
    )


def _find_allowed_methods(request: Request) -> str:
    """Starlette looks at the first route of a path alone, and there may be one for each method."""
    return ", ".join(
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    )
