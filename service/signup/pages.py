"""The pages for people, in the language of the browser."""

import secrets
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

from jinja2 import Template
from starlette.requests import Request
from starlette.responses import HTMLResponse

from service.database.email_status import EmailStatus
from service.settings import Settings
from service.signup.body import wants_page
from service.signup.parsing import KEY_FIELD
from service.signup.preconditions import RETRY_WHEN_RESUMED
from service.signup.schemas import ACCEPTED
from service.templating import environment, translations
from service.templating.languages import choose_language
from service.web.problems import Problem, ProblemType, Translate, accepts_html

TEMPLATES = Path(__file__).parent / "templates"
FIELDS = ("email", "name")
EMPTY = MappingProxyType(dict.fromkeys(FIELDS, ""))
UNKNOWN = "unknown"

POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would send the form with `Origin: null`
    "X-Content-Type-Options": "nosniff",
}

ABOUT_THE_ADDRESS = (ProblemType.ADDRESS_TAKEN, ProblemType.MAILBOX_RATE_LIMITED)
HEADINGS = {
    EmailStatus.PENDING: "Check your inbox.",
    EmailStatus.SENT: "Check your inbox.",
    EmailStatus.FAILED: "We couldn't reach you.",
    UNKNOWN: "Check your inbox.",
}
MESSAGES = {
    EmailStatus.PENDING: "Your welcome email is on its way.",
    EmailStatus.SENT: "Your welcome email has been sent.",
    EmailStatus.FAILED: "You're signed up, but your welcome email could not be delivered.",
    UNKNOWN: ACCEPTED,
}


class Pages:
    """Raises InvalidSettings for a broken template or broken texts."""

    def __init__(self, settings: Settings) -> None:
        templates = environment.create_environment(settings, built_in=TEMPLATES)
        self._texts = translations.load(environment.folders(settings, built_in=TEMPLATES))
        self._languages = frozenset(self._texts)
        self._notice = (
            Problem(ProblemType.PAUSED, headers=RETRY_WHEN_RESUMED) if settings.signups_paused else None
        )
        environment.load_template(templates, "page.html")  # first, so that its faults are reported as its own
        self._signup = environment.load_template(templates, "page.signup.html", *self._signup_samples())
        self._welcome = environment.load_template(templates, "page.welcome.html", *self._welcome_samples())
        self._missing = environment.load_template(templates, "page.missing.html", *self._missing_samples())

    def translator(self, request: Request) -> tuple[str, Translate]:
        """The language of the client, and a translator into it."""
        language = choose_language(request.headers.get("accept-language", ""), self._languages)
        return language, translations.translator(self._texts[language])

    def signup(self, request: Request, *, problem: Problem | None = None) -> HTMLResponse:
        """The form. After a problem it has what was typed, and says what is wrong beside the field."""
        context = self._signup_context(
            *self.translator(request), typed=getattr(request.state, "typed", EMPTY), problem=problem
        )
        if problem is None:
            return _page(self._signup, context)
        return _page(self._signup, context, status=problem.status_code, headers=problem.headers)

    def welcome(self, request: Request, *, user_id: UUID | None, state: str) -> HTMLResponse:
        return _page(self._welcome, _welcome_context(*self.translator(request), user_id=user_id, state=state))

    def problem(self, request: Request, problem: Problem) -> HTMLResponse | None:
        """The answer for a person; None for a program."""
        if request.method == "POST" and wants_page(request):
            return self.signup(request, problem=problem)
        if problem.problem_type is ProblemType.NOT_FOUND and accepts_html(request.headers):
            return _page(self._missing, _context(*self.translator(request)), status=problem.status_code)
        return None

    def _signup_context(
        self, language: str, translate: Translate, *, typed: Mapping[str, str], problem: Problem | None
    ) -> dict[str, Any]:
        errors = _errors_by_field(problem, translate) if problem else {}
        return {
            **_context(language, translate),
            "typed": {field: typed.get(field, "") for field in FIELDS},
            "key": typed.get(KEY_FIELD) or secrets.token_urlsafe(16),
            "notice": self._notice.explain(translate) if self._notice and not problem else None,
            "error": _general_error(problem, translate) if problem and not errors else None,
            "errors": errors,
        }

    def _signup_samples(self) -> list[dict[str, Any]]:
        problems = (None, Problem(ProblemType.ADDRESS_TAKEN), Problem(ProblemType.UNAVAILABLE))
        return [
            _with_nonce(self._signup_context(language, str, typed=EMPTY, problem=problem))
            for language in self._languages
            for problem in problems
        ]

    def _welcome_samples(self) -> list[dict[str, Any]]:
        return [
            _with_nonce(_welcome_context(language, str, user_id=UUID(int=0), state=state))
            for language in self._languages
            for state in MESSAGES
        ]

    def _missing_samples(self) -> list[dict[str, Any]]:
        return [_with_nonce(_context(language, str)) for language in self._languages]


def _context(language: str, translate: Translate) -> dict[str, Any]:
    return {"_": translate, "language": language}


def _welcome_context(
    language: str, translate: Translate, *, user_id: UUID | None, state: str
) -> dict[str, Any]:
    return {
        **_context(language, translate),
        "state": state,
        "state_url": f"/signup/{user_id}",
        "headings": {each: translate(sentence) for each, sentence in HEADINGS.items()},
        "messages": {each: translate(sentence) for each, sentence in MESSAGES.items()},
    }


def _errors_by_field(problem: Problem, translate: Translate) -> dict[str, str]:
    if problem.problem_type in ABOUT_THE_ADDRESS:
        return {"email": problem.explain(translate)}
    return {str(error.loc[-1]): translate(error.msg) for error in problem.errors if error.loc[-1] in FIELDS}


def _general_error(problem: Problem, translate: Translate) -> str:
    """What is wrong with fields that the page does not have, or with the request as a whole."""
    said = " ".join(translate(error.msg) for error in problem.errors)
    return said or problem.explain(translate)


def _with_nonce(context: dict[str, Any]) -> dict[str, Any]:
    return {**context, "nonce": secrets.token_urlsafe(16)}


def _page(
    template: Template,
    context: dict[str, Any],
    *,
    status: int = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    context = _with_nonce(context)
    own = {
        "Content-Security-Policy": POLICY.format(nonce=context["nonce"]),
        "Content-Language": context["language"],
    }
    return HTMLResponse(template.render(context), status, {**HEADERS, **own, **(headers or {})})
