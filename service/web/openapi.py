"""The document's errors as they are: problem details everywhere, and what any request may meet."""

from typing import Any

from service.web.problems import ProblemResponse, ProblemType, problem_responses

ANYWHERE = problem_responses(
    ProblemType.MALFORMED, ProblemType.TIMEOUT, ProblemType.HEADERS_TOO_LARGE, ProblemType.INTERNAL
)


def describe_problems(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI gives every answer its own media type, and every route with a parameter its own 422."""
    for operations in document["paths"].values():
        for operation in operations.values():
            answers = operation["responses"]
            if "HTTPValidationError" in str(answers.get("422")):
                del answers["422"]
            for status, answer in ANYWHERE.items():
                described = {name: answer[name] for name in ("description", "content")}
                answers.setdefault(str(status), described)
            for answer in answers.values():
                if ProblemResponse.media_type in (content := answer.get("content", {})):
                    answer["content"] = {ProblemResponse.media_type: content[ProblemResponse.media_type]}
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    return document
