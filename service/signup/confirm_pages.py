"""The pages that a confirmation link leads to, in the language of the browser."""

from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

from service.settings import Settings
from service.signup.body import wants_page
from service.signup.pages import POLICY, TEMPLATES, Pages, base_context, render, with_nonce
from service.templating import environment
from service.web.problems import Problem, ProblemType, accepts_html

PATH = "/confirm/"


class Page(StrEnum):
    """What the page is about."""

    OPEN = "open"  # the question, with two buttons
    CONFIRMED = "confirmed"
    DENIED = "denied"
    EXPIRED = "expired"  # with the form, to ask again
    WAITING = "waiting"  # after the form: the link has been sent again, or is in the inbox
    UNKNOWN = "unknown"


ABOUT_LINKS = {
    ProblemType.LINK_UNKNOWN: Page.UNKNOWN,
    ProblemType.LINK_EXPIRED: Page.EXPIRED,
    ProblemType.ALREADY_CONFIRMED: Page.CONFIRMED,
}
# The buttons are there for another try.
TRY_AGAIN = {ProblemType.UNAVAILABLE, ProblemType.OVERLOADED, ProblemType.INTERNAL}
# The page says it all by itself.
NO_NOTICE = {ProblemType.LINK_UNKNOWN, ProblemType.LINK_EXPIRED, ProblemType.UNCONFIRMED}


class ConfirmPages:
    """Raises InvalidSettings for a broken template."""

    def __init__(self, settings: Settings, pages: Pages) -> None:
        templates = environment.create_environment(settings, built_in=TEMPLATES)
        self._pages = pages
        self._page = environment.load_template(templates, "page.confirm.html", *_samples())
        # Browsers hold against the policy also where the answer to a form leads, and where that redirects to.
        anywhere = " http: https:" if settings.confirmed_url else ""
        self._policy = POLICY.replace("form-action 'self'", f"form-action 'self'{anywhere}")

    def show(self, request: Request, page: Page, *, problem: Problem | None = None) -> HTMLResponse:
        language, translate = self._pages.translator(request)
        explanation = problem.explain(translate) if problem else None
        context = {
            **base_context(language, translate),
            "state": page,
            "token": request.path_params.get("token", ""),
            "message": explanation,
            "notice": explanation if problem and problem.problem_type not in NO_NOTICE else None,
        }
        return render(
            self._page,
            context,
            status=problem.status_code if problem else HTTPStatus.OK,
            headers=problem.headers if problem else None,
            policy=self._policy,
        )

    def problem(self, request: Request, problem: Problem) -> HTMLResponse | None:
        """The answer for a person; None for a program, and for what is not about confirmation."""
        if problem.problem_type is ProblemType.UNCONFIRMED and wants_page(request):
            return self.show(request, Page.WAITING, problem=problem)
        if not request.scope["path"].startswith(PATH) or not accepts_html(request.headers):
            return None
        if page := ABOUT_LINKS.get(problem.problem_type):
            return self.show(request, page, problem=problem)
        if problem.problem_type in TRY_AGAIN:
            return self.show(request, Page.OPEN, problem=problem)
        return None


def _samples() -> list[Mapping[str, Any]]:
    return [
        with_nonce({**base_context("en", str), "state": page, "token": "", "message": "", "notice": notice})
        for page in Page
        for notice in (None, "notice")
    ]
