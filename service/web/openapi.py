"""Completes FastAPI's OpenAPI document: each status has its own types of problem, and examples."""

import json
from collections.abc import Collection
from typing import Any

from service.person.reason import Reason
from service.web.problems import InvalidField, ProblemDetails, ProblemResponse, ProblemType

PROBLEM = ProblemResponse.media_type
REQUEST_ID = "0190b6d76d247a579f4a0d8c6f2f2a11"
INSTANCE = "urn:uuid:0190b6d7-6d24-7a57-9f4a-0d8c6f2f2a11"
WITH_RETRY_AFTER = ("429", "503")

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "required": True,
        "description": "The request's id, in the log and the audit as well; yours if you sent one.",
        "schema": {"type": "string"},
        "example": REQUEST_ID,
    },
    "Location": {
        "required": True,
        "description": "Where to ask what became of the welcome email.",
        "schema": {"type": "string", "format": "uri-reference"},
        "example": "/signup/0190b6d7-6d24-7a57-9f4a-0d8c6f2f2a11",
    },
    "Retry-After": {
        "required": True,
        "description": "After how many seconds to try again.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 2,
    },
}
PROBLEMS_OF_ALL_ROUTES = (
    ProblemType.MALFORMED,
    ProblemType.TIMEOUT,
    ProblemType.HEADERS_TOO_LARGE,
    ProblemType.INTERNAL,
)


def problem_responses(*problem_types: ProblemType) -> dict[int | str, dict[str, Any]]:
    """What a route may answer besides its success, by status."""
    by_status: dict[int | str, list[ProblemType]] = {}
    for problem_type in problem_types:
        by_status.setdefault(problem_type.status, []).append(problem_type)
    return {status: _response(same_status) for status, same_status in by_status.items()}


def with_headers(*names: str) -> dict[str, dict[str, Any]]:
    return {name: HEADERS[name] for name in names}


def complete(document: dict[str, Any], *, without: Collection[ProblemType] = ()) -> dict[str, Any]:
    """Adds the problems that any request may meet. Removes responses and types of problem that this service
    never sends."""
    for operations in document["paths"].values():
        for operation in operations.values():
            _describe_responses(operation["responses"])
            for parameter in operation.get("parameters", ()):
                _leave_out_null(parameter["schema"])  # a header is there or not
    schemas = document["components"]["schemas"]
    while unused := [name for name in schemas if f'#/components/schemas/{name}"' not in json.dumps(document)]:
        for name in unused:  # classes of ours that FastAPI came across
            del schemas[name]
    problem = schemas["ProblemDetails"]["properties"]
    _leave_out_null(problem["errors"])  # left out where there are none
    impossible = {problem_type.uri for problem_type in without}
    problem["type"]["enum"] = [uri for uri in problem["type"]["enum"] if uri not in impossible]
    return document


def _leave_out_null(schema: dict[str, Any]) -> None:
    if "anyOf" in schema:
        schema.update(schema.pop("anyOf")[0])


def _describe_responses(responses: dict[str, Any]) -> None:
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    for status, response in problem_responses(*PROBLEMS_OF_ALL_ROUTES).items():
        responses.setdefault(str(status), {name: response[name] for name in ("description", "content")})
    for status, response in responses.items():
        if PROBLEM in (content := response.get("content", {})):
            response["content"] = {PROBLEM: content[PROBLEM]}
            if status in WITH_RETRY_AFTER:
                response["headers"] = with_headers("Retry-After")
        response["headers"] = {**response.get("headers", {}), **with_headers("X-Request-ID")}


def _response(problem_types: list[ProblemType]) -> dict[str, Any]:
    """The schema names only the types that come with this status, so that a generated client knows them."""
    uris = [problem_type.uri for problem_type in problem_types]
    narrowed = {
        "type": "object",
        "properties": {"type": {"type": "string", "enum": uris}},
        "required": ["type"],
    }
    schema = {"allOf": [{"$ref": "#/components/schemas/ProblemDetails"}, narrowed]}
    examples = {problem_type.slug: {"value": _example(problem_type)} for problem_type in problem_types}
    return {
        "description": " ".join(
            f"`{problem_type.uri}`: {problem_type.detail}" for problem_type in problem_types
        ),
        "model": ProblemDetails,
        "content": {PROBLEM: {"schema": schema, "examples": examples}},
    }


def _example(problem_type: ProblemType) -> dict[str, Any]:
    invalid = InvalidField(
        loc=["body", "email"], msg=Reason.EMAIL_INVALID.sentence, type=Reason.EMAIL_INVALID
    )
    details = ProblemDetails(
        type=problem_type.uri,
        title=problem_type.title,
        status=problem_type.status,
        detail=problem_type.detail,
        instance=INSTANCE,
        request_id=REQUEST_ID,
        errors=[invalid] if problem_type is ProblemType.INVALID else None,
    )
    return details.model_dump(mode="json", exclude_none=True)
