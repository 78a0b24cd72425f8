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
from service.signup.progress import AFTER_CONFIRMATION, Progress
from service.signup.schemas import ACCEPTED, ACCEPTED_TO_CONFIRM
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
# While the address is not confirmed: of the email that asks for it.
MESSAGES_TO_CONFIRM = {
    EmailStatus.PENDING: "An email with a link is on its way. Please open the link to confirm your address.",
    EmailStatus.SENT: "We've sent you an email. Please open the link in it to confirm your address.",
    EmailStatus.FAILED: "The email with the link to confirm your address could not be delivered.",
    UNKNOWN: ACCEPTED_TO_CONFIRM,
}


class Pages:
    """Raises InvalidSettings for a broken template or broken texts."""

    def __init__(self, settings: Settings) -> None:
        templates = environment.create_environment(settings, built_in=TEMPLATES)
        self._texts = translations.load(environment.folders(settings, built_in=TEMPLATES))
        self._languages = frozenset(self._texts)
        self._asks_to_confirm = settings.asks_to_confirm
        self.accepted = ACCEPTED_TO_CONFIRM if settings.asks_to_confirm else ACCEPTED
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
            return render(self._signup, context)
        return render(self._signup, context, status=problem.status_code, headers=problem.headers)

    def welcome(self, request: Request, *, user_id: UUID | None, progress: Progress | None) -> HTMLResponse:
        """Without progress it says nothing about the address."""
        context = self._welcome_context(*self.translator(request), user_id=user_id, progress=progress)
        return render(self._welcome, context)

    def problem(self, request: Request, problem: Problem) -> HTMLResponse | None:
        """The answer for a person; None for a program."""
        if request.method == "POST" and wants_page(request):
            return self.signup(request, problem=problem)
        if problem.problem_type is ProblemType.NOT_FOUND and accepts_html(request.headers):
            return render(self._missing, base_context(*self.translator(request)), status=problem.status_code)
        return None

    def _signup_context(
        self, language: str, translate: Translate, *, typed: Mapping[str, str], problem: Problem | None
    ) -> dict[str, Any]:
        errors = _errors_by_field(problem, translate) if problem else {}
        return {
            **base_context(language, translate),
            "asks_to_confirm": self._asks_to_confirm,
            "typed": {field: typed.get(field, "") for field in FIELDS},
            "key": typed.get(KEY_FIELD) or secrets.token_urlsafe(16),
            "notice": self._notice.explain(translate) if self._notice and not problem else None,
            "error": _general_error(problem, translate) if problem and not errors else None,
            "errors": errors,
        }

    def _signup_samples(self) -> list[dict[str, Any]]:
        problems = (None, Problem(ProblemType.ADDRESS_TAKEN), Problem(ProblemType.UNAVAILABLE))
        return [
            with_nonce(self._signup_context(language, str, typed=EMPTY, problem=problem))
            for language in self._languages
            for problem in problems
        ]

    def _welcome_context(
        self, language: str, translate: Translate, *, user_id: UUID | None, progress: Progress | None
    ) -> dict[str, Any]:
        # The page is about the email that is due next.
        messages, field = MESSAGES, "welcome_email"
        if self._asks_to_confirm and (progress is None or progress.welcome_email == AFTER_CONFIRMATION):
            messages, field = MESSAGES_TO_CONFIRM, "confirmation_email"
        return {
            **base_context(language, translate),
            "state": getattr(progress, field) if progress else UNKNOWN,
            "state_url": f"/signup/{user_id}",
            "state_field": field,
            "headings": {each: translate(sentence) for each, sentence in HEADINGS.items()},
            "messages": {each: translate(sentence) for each, sentence in messages.items()},
        }

    def _welcome_samples(self) -> list[dict[str, Any]]:
        stages = (None, *(Progress(welcome_email=status, sent_at=None) for status in EmailStatus))
        return [
            with_nonce(self._welcome_context(language, str, user_id=UUID(int=0), progress=progress))
            for language in self._languages
            for progress in stages
        ]

    def _missing_samples(self) -> list[dict[str, Any]]:
        return [with_nonce(base_context(language, str)) for language in self._languages]


def base_context(language: str, translate: Translate) -> dict[str, Any]:
    return {"_": translate, "language": language}


def _errors_by_field(problem: Problem, translate: Translate) -> dict[str, str]:
    if problem.problem_type in ABOUT_THE_ADDRESS:
        return {"email": problem.explain(translate)}
    return {str(error.loc[-1]): translate(error.msg) for error in problem.errors if error.loc[-1] in FIELDS}


def _general_error(problem: Problem, translate: Translate) -> str:
    """What is wrong with fields that the page does not have, or with the request as a whole."""
    said = " ".join(translate(error.msg) for error in problem.errors)
    return said or problem.explain(translate)


def with_nonce(context: dict[str, Any]) -> dict[str, Any]:
    return {**context, "nonce": secrets.token_urlsafe(16)}


def render(
    template: Template,
    context: dict[str, Any],
    *,
    status: int = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
    policy: str = POLICY,
) -> HTMLResponse:
    context = with_nonce(context)
    own = {
        "Content-Security-Policy": policy.format(nonce=context["nonce"]),
        "Content-Language": context["language"],
    }
    return HTMLResponse(template.render(context), status, {**HEADERS, **own, **(headers or {})})
