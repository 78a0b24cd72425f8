"""Whatever is sent: never a 5xx, never a long answer, never an echo."""

import functools
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.inputs.live import MOST_ANSWERED, Live, is_problem, repeats_nothing
from tests.inputs.requests import head, post
from tests.support.http import Answer

TEXT = st.text(st.characters(exclude_categories=()), max_size=300)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "email": TEXT | st.emails() | st.builds("{}@{}.com".format, TEXT, TEXT) | JSON,
        "name": TEXT | JSON,
        "is_admin": JSON,
    },
)
HEADER = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n"), max_size=300)  # Latin-1

quickly = settings(
    max_examples=100,
    deadline=None,
    # The server is the same for all examples, and they need not be independent of each other.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def keeps_its_manners(live: Live, request: bytes) -> Answer:
    answer = live.ask(request)

    assert answer.status < 500
    assert len(answer.content) <= MOST_ANSWERED
    if answer.status >= 400:
        is_problem(answer)
        repeats_nothing(answer, request)
    return answer


@quickly
@given(body=FIELDS | JSON)
def test_any_json_is_answered(live: Live, body: Any) -> None:
    keeps_its_manners(live, post(body))


@quickly
@given(body=FIELDS, cut=st.integers(1, 40), junk=st.binary(max_size=20))
def test_json_that_was_damaged_is_answered(live: Live, body: Any, cut: int, junk: bytes) -> None:
    intact = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")

    keeps_its_manners(live, post(intact[:cut] + junk + intact[cut:]))


@quickly
@given(body=st.binary(max_size=500))
def test_any_bytes_are_answered(live: Live, body: bytes) -> None:
    keeps_its_manners(live, post(body))


@quickly
@given(
    name=st.sampled_from(
        ["Idempotency-Key", "X-Request-ID", "Content-Type", "Origin", "X-Forwarded-For", "Accept"]
    ),
    value=HEADER,
)
def test_any_header_is_answered(live: Live, name: str, value: str) -> None:
    request = head("POST /signup", "Content-Type: application/json", "Content-Length: 2")
    line = f"{name}: ".encode() + value.encode("latin-1")

    keeps_its_manners(live, request[:-2] + line + b"\r\n\r\n{}")


@quickly
@given(path=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=80))
def test_any_path_is_answered(live: Live, path: str) -> None:
    keeps_its_manners(live, head(f"PUT /{path}"))


@functools.cache
def documented(url: str) -> list[Any]:
    import schemathesis  # takes half a second, and nothing else needs it

    config = schemathesis.Config()
    # All that UTF-8 encodes, without trying each code point for seconds.
    config.projects.default.generation.codec = None
    document: Any = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)
    return [found.ok() for found in document.get_all_operations()]


@quickly
@given(data=st.data())
def test_the_document_tells_the_truth(live: Live, data: st.DataObject) -> None:
    from schemathesis import GenerationMode  # as above
    from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

    operation = data.draw(st.sampled_from(documented(live.url)))
    case = data.draw(operation.as_strategy(data.draw(st.sampled_from(GenerationMode))))

    response = case.call()

    # No format of JSON Schema tells which addresses mail can be sent to, and the trap is silent about
    # whatever else is wrong.
    excluded = [positive_data_acceptance, *([negative_data_rejection] if response.status_code == 202 else [])]
    case.validate_response(response, excluded_checks=excluded)
