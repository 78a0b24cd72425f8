"""From a request to a stored user, for JSON and forms alike, with every refusal as a problem."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from fastapi import BackgroundTasks, Request

from service.database.engine import DatabaseUnavailable
from service.database.group_commit import Overloaded
from service.delivery.deliver import Delivery
from service.limits.per_mailbox import MailboxLimitExceeded
from service.observability.metrics import Metrics
from service.settings import DuplicatePolicy
from service.signup.progress import Progress
from service.signup.registration import AddressTaken, KeyReused, RegisteredUser, Registration, Signup
from service.signup.renewals import Unconfirmed
from service.signup.schemas import SignupRequest
from service.templating.languages import choose_language
from service.web.problems import Problem, ProblemType

RETRY_AFTER = {"Retry-After": "2"}  # s
NOT_SENT_AGAIN = (
    "This address is signed up but not confirmed yet. Please open the link in the email that we sent you."
)
STEP = 0.1  # s; what a new and a known address differ in takes a small part of it
REFUSALS: dict[type[BaseException], ProblemType] = {
    AddressTaken: ProblemType.ADDRESS_TAKEN,
    Unconfirmed: ProblemType.UNCONFIRMED,
    KeyReused: ProblemType.KEY_REUSED,
    MailboxLimitExceeded: ProblemType.MAILBOX_RATE_LIMITED,
    Overloaded: ProblemType.OVERLOADED,
    DatabaseUnavailable: ProblemType.UNAVAILABLE,
}


class SignupHandler:
    """`languages` are those that the mail is there in. `find_progress` raises DatabaseUnavailable."""

    def __init__(
        self,
        *,
        policy: DuplicatePolicy,
        signups: Registration,
        find_progress: Callable[[UUID], Awaitable[Progress | None]],
        delivery: Delivery,
        languages: frozenset[str],
        metrics: Metrics,
    ) -> None:
        self._reveals = policy is DuplicatePolicy.CONFLICT
        self._signups = signups
        self._find_progress = find_progress
        self._delivery = delivery
        self._languages = languages
        self._metrics = metrics

    async def handle(
        self, body: SignupRequest, request: Request, background: BackgroundTasks, key: str | None
    ) -> RegisteredUser | None:
        """None if the policy is to tell nothing. Raises Problem."""
        if not self._reveals:
            await self._accept_silently(body, request)
            return None
        registered = await self._register(body, request, key)
        if registered.claimed:
            background.add_task(self._delivery.deliver, registered.claimed)
        request.state.user_id = registered.id
        return registered

    async def progress(self, user_id: UUID) -> Progress | None:
        """None if there is no such user, or nobody may know. Raises DatabaseUnavailable."""
        return await self._find_progress(user_id) if self._reveals else None

    async def _accept_silently(self, body: SignupRequest, request: Request) -> None:
        """A new and a known address differ in nothing but the row: the key is not kept, the loop sends the
        mail, the audit does not name the user, and even a failure is answered at a whole step."""
        try:
            await self._register(body, request, None)
        except Problem as problem:
            if problem.problem_type is not ProblemType.ADDRESS_TAKEN:
                raise
            self._metrics.signups.labels(problem.problem_type.slug).inc()
        finally:
            await _wait_for_next_step(request.state.began)

    async def _register(self, body: SignupRequest, request: Request, key: str | None) -> RegisteredUser:
        signup = Signup(
            address=body.email,
            name=body.name,
            locale=choose_language(request.headers.get("accept-language", ""), self._languages),
            request_id=request.state.request_id,
            idempotency_key=key,
        )
        try:
            registered = await self._signups.register(signup)
        except tuple(REFUSALS) as exc:
            detail = NOT_SENT_AGAIN if isinstance(exc, Unconfirmed) and not exc.is_sent_again else ""
            raise Problem(REFUSALS[type(exc)], detail=detail, headers=_retry_after(exc)) from exc
        self._metrics.signups.labels("registered").inc()
        return registered


def _retry_after(exc: BaseException) -> dict[str, str] | None:
    match exc:
        case MailboxLimitExceeded():
            return {"Retry-After": str(math.ceil(exc.retry_after.total_seconds()))}
        case Unconfirmed() if not exc.is_sent_again:
            return {"Retry-After": str(exc.seconds)}
        case Overloaded() | DatabaseUnavailable():
            return RETRY_AFTER
        case _:
            return None


async def _wait_for_next_step(began: int) -> None:
    """Waits for the next whole step since then, in ns of `time.perf_counter_ns`."""
    step = STEP * (_seconds_since(began) // STEP + 1)
    # Timers count from the start of the loop's round, and so run early by what it had to do before:
    # one sleep alone would give that away.
    while (left := step - _seconds_since(began)) > 0:  # noqa: ASYNC110  # time is all that it waits for
        await asyncio.sleep(left)


def _seconds_since(began: int) -> float:
    return (time.perf_counter_ns() - began) / 1e9
