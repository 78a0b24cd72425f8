"""What the OpenAPI document says of POST /signup."""

from typing import Any

from service.settings import DuplicatePolicy
from service.signup.body import FORM
from service.signup.schemas import (
    ABOUT_TRAP,
    AcceptedToConfirm,
    SignupAccepted,
    SignupConfirmation,
    SignupToConfirm,
)
from service.web.openapi import problem_responses, with_headers
from service.web.problems import ProblemType

REFUSED = (
    ProblemType.UNPARSABLE,
    ProblemType.MALFORMED,
    ProblemType.FOREIGN_FORM,
    ProblemType.TIMEOUT,
    ProblemType.TOO_LARGE,
    ProblemType.UNSUPPORTED_MEDIA_TYPE,
    ProblemType.INVALID,
    ProblemType.RATE_LIMITED,
    ProblemType.UNAVAILABLE,
    ProblemType.OVERLOADED,
    ProblemType.PAUSED,
)

# Besides JSON, which FastAPI describes.
FORM_BODY: dict[str, Any] = {
    "requestBody": {
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "email": {"type": "string", "format": "email", "maxLength": 254},
                        "name": {"type": "string", "maxLength": 100, "description": "Empty is none."},
                        "website": {"type": "string", "description": ABOUT_TRAP},
                        "idempotency_key": {
                            "type": "string",
                            "description": "Makes the same form sent again harmless.",
                        },
                    },
                    "required": ["email"],
                    "additionalProperties": False,
                }
            }
        }
    }
}
SEE_OTHER: dict[int | str, dict[str, Any]] = {
    303: {
        "description": "For a form whose `Accept` names `text/html`: `/welcome/{id}`, or `/welcome`, which "
        "says nothing about the address.",
        "headers": with_headers("Location"),
    }
}
BY_POLICY: dict[DuplicatePolicy, dict[str, Any]] = {
    DuplicatePolicy.CONFLICT: {
        "status_code": 201,
        "response_model": SignupConfirmation,
        "response_description": "The user is on disk.",
        "responses": {
            201: {"headers": with_headers("Location")},
            202: {
                "model": SignupAccepted,
                "description": "A bot filled in `website`: nothing is stored.",
            },
        }
        | SEE_OTHER
        | problem_responses(
            *REFUSED,
            ProblemType.ADDRESS_TAKEN,
            ProblemType.KEY_REUSED,
            ProblemType.MAILBOX_RATE_LIMITED,
        ),
        "description": "Stores the user and answers at once. The welcome email follows by itself.",
    },
    DuplicatePolicy.UNIFORM: {
        "status_code": 202,
        "response_model": SignupAccepted,
        "response_description": "The user is on disk.",
        "responses": SEE_OTHER | problem_responses(*REFUSED),
        "description": "Stores the user if the address is new. A known address gets the same answer.",
    },
}
TO_CONFIRM = (
    "Stores the user and answers at once. An email with a link to confirm the address follows by itself, and "
    "the welcome email after that. A repeat of an address that is not confirmed yet sends the link again."
)
UNIFORM_REPEATS = "An address that is not confirmed yet gets its link again."


def route_options(policy: DuplicatePolicy, *, asks_to_confirm: bool) -> dict[str, Any]:
    options = BY_POLICY[policy]
    if not asks_to_confirm:
        return options
    if policy is DuplicatePolicy.UNIFORM:
        return {
            **options,
            "response_model": AcceptedToConfirm,
            "description": f"{options['description']} {UNIFORM_REPEATS}",
        }
    trapped = {202: {**options["responses"][202], "model": AcceptedToConfirm}}
    about_conflicts = problem_responses(ProblemType.ADDRESS_TAKEN, ProblemType.UNCONFIRMED)
    return {
        **options,
        "response_model": SignupToConfirm,
        "responses": options["responses"] | trapped | about_conflicts,
        "description": TO_CONFIRM,
    }
