"""The pages for people: made once, said in the language of whoever asks."""

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
from service.templating import environment, translations
from service.templating.languages import choose_language
from service.web.problems import Problem, ProblemType

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

NOT_AS_SENT = "The form did not arrive as it was sent. Please fill it in again."
COMPLAINTS = {
    ProblemType.UNPARSABLE: NOT_AS_SENT,
    ProblemType.TIMEOUT: NOT_AS_SENT,
    ProblemType.UNSUPPORTED_MEDIA_TYPE: NOT_AS_SENT,
    ProblemType.INVALID: NOT_AS_SENT,
    ProblemType.FOREIGN_FORM: "This form was sent from another site. Please fill it in here.",
    ProblemType.TOO_LARGE: "This is more than a signup can hold. Please shorten it.",
    ProblemType.RATE_LIMITED: "Too many people are signing up from your network. Please try again later.",
    ProblemType.UNAVAILABLE: "We cannot store anything right now. Please try again in a moment.",
    ProblemType.PAUSED: "Nobody can sign up for the time being. Please try again later.",
    ProblemType.OVERLOADED: "Many people are signing up right now. Please try again in a moment.",
}
ABOUT_THE_ADDRESS = (ProblemType.ADDRESS_TAKEN, ProblemType.MAILBOX_RATE_LIMITED)
STATES = {
    EmailStatus.PENDING: "Your welcome email is on its way.",
    EmailStatus.SENT: "Your welcome email has been sent. Have a look at your inbox.",
    EmailStatus.FAILED: "You are signed up, but your welcome email could not be delivered.",
    UNKNOWN: "If this was your first signup, a welcome email is on its way to you.",
}


class Pages:
    """Raises InvalidSettings for a broken template or broken texts."""

    def __init__(self, settings: Settings) -> None:
        templates = environment.create_environment(settings, built_in=TEMPLATES)
        self._texts = translations.load(environment.folders(settings, built_in=TEMPLATES))
        self._languages = frozenset(self._texts)
        environment.load_template(templates, "page.html")  # first, so that a fault is told of its own file
        self._signup = environment.load_template(templates, "page.signup.html", *self._trials_of_signup())
        self._welcome = environment.load_template(templates, "page.welcome.html", *self._trials_of_welcome())

    def signup(
        self, request: Request, *, typed: Mapping[str, str] = EMPTY, problem: Problem | None = None
    ) -> HTMLResponse:
        """The form; with a problem, what is wrong stands beside the field, and what was typed stays."""
        context = self._signup_context(self._language(request), typed=typed, problem=problem)
        if problem is None:
            return _page(self._signup, context)
        return _page(self._signup, context, status=problem.status_code, headers=problem.headers)

    def welcome(self, request: Request, *, user_id: UUID | None, state: str) -> HTMLResponse:
        context = self._welcome_context(self._language(request), user_id=user_id, state=state)
        return _page(self._welcome, context)

    def _language(self, request: Request) -> str:
        return choose_language(request.headers.get("accept-language", ""), self._languages)

    def _signup_context(
        self, language: str, *, typed: Mapping[str, str], problem: Problem | None
    ) -> dict[str, Any]:
        say = translations.translator(self._texts[language])
        complaints = _beside_fields(problem) if problem else {}
        general = (
            COMPLAINTS.get(problem.problem_type, problem.problem_type.detail)
            if problem and not complaints
            else None
        )
        return {
            "_": say,
            "language": language,
            "typed": {field: typed.get(field, "") for field in FIELDS},
            "complaint": say(general) if general else None,
            "complaints": {field: say(sentence) for field, sentence in complaints.items()},
        }

    def _welcome_context(self, language: str, *, user_id: UUID | None, state: str) -> dict[str, Any]:
        say = translations.translator(self._texts[language])
        return {
            "_": say,
            "language": language,
            "state": state,
            "state_url": f"/signup/{user_id}",
            "words": {each: say(sentence) for each, sentence in STATES.items()},
        }

    def _trials_of_signup(self) -> list[dict[str, Any]]:
        problems = (None, Problem(ProblemType.ADDRESS_TAKEN), Problem(ProblemType.UNAVAILABLE))
        return [
            _with_nonce(self._signup_context(language, typed=EMPTY, problem=problem))
            for language in self._languages
            for problem in problems
        ]

    def _trials_of_welcome(self) -> list[dict[str, Any]]:
        return [
            _with_nonce(self._welcome_context(language, user_id=UUID(int=0), state=state))
            for language in self._languages
            for state in STATES
        ]


def _beside_fields(problem: Problem) -> dict[str, str]:
    if problem.problem_type in ABOUT_THE_ADDRESS:
        return {"email": problem.problem_type.detail}
    return {str(error.loc[-1]): error.msg for error in problem.errors if error.loc[-1] in FIELDS}


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
