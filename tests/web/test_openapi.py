"""The OpenAPI document, as programs read it."""

from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from service.app import ABOUT_CONFIRMATION, create_app
from service.person.reason import Reason
from service.settings import DuplicatePolicy, Settings
from service.signup.schemas import SignupConfirmation, SignupState
from service.web.problems import ProblemDetails, ProblemType

PROBLEM = "application/problem+json"
BY_STATUS = {
    "400": {"unparsable", "malformed"},
    "403": {"foreign-form"},
    "408": {"timeout"},
    "409": {"address-taken"},
    "413": {"too-large"},
    "415": {"unsupported-media-type"},
    "422": {"invalid", "key-reused"},
    "429": {"rate-limited", "mailbox-rate-limited"},
    "431": {"headers-too-large"},
    "500": {"internal"},
    "503": {"unavailable", "overloaded", "paused"},
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return create_app(Settings(data_dir=tmp_path_factory.mktemp("data"))).openapi()


def test_every_operation_has_a_name(document: Any) -> None:
    named = {
        (method, path): operation["operationId"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }

    assert named == {
        ("post", "/signup"): "signUp",
        ("get", "/signup/{signup_id}"): "getSignup",
        ("get", "/healthz"): "getHealth",
        ("get", "/readyz"): "getReadiness",
        ("get", "/metrics"): "getMetrics",
    }


def test_each_status_has_its_own_types_and_an_example_of_each(document: Any) -> None:
    responses = document["paths"]["/signup"]["post"]["responses"]

    assert set(responses) == {"201", "202", "303", *BY_STATUS}
    for status, slugs in BY_STATUS.items():
        content = responses[status]["content"][PROBLEM]
        assert set(content["schema"]["allOf"][1]["properties"]["type"]["enum"]) == {
            f"/problems/{slug}" for slug in slugs
        }
        assert set(content["examples"]) == slugs
        for slug, example in content["examples"].items():
            details = ProblemDetails.model_validate(example["value"])
            assert (details.type, str(details.status)) == (f"/problems/{slug}", status)
            assert bool(details.errors) == (slug == "invalid")


def test_errors_are_problem_documents_and_nothing_else(document: Any) -> None:
    errors = {
        (path, status): set(answer["content"])
        for path, operations in document["paths"].items()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        if status >= "400"
    }
    del errors["/readyz", "503"]  # names what is not ready
    assert {kind for kinds in errors.values() for kind in kinds} == {PROBLEM}


def test_types_and_reasons_are_lists_to_choose_from(document: Any) -> None:
    schemas = document["components"]["schemas"]

    possible = [kind.uri for kind in ProblemType if kind not in ABOUT_CONFIRMATION]
    assert schemas["ProblemDetails"]["properties"]["type"]["enum"] == possible
    assert schemas["Reason"]["enum"] == list(Reason)
    assert schemas["ProblemDetails"]["properties"]["errors"]["type"] == "array"


def test_the_trap_is_described_and_in_no_example(document: Any) -> None:
    body = document["components"]["schemas"]["SignupRequest"]
    form = document["paths"]["/signup"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]

    for schema in (body, form["schema"]):
        assert "bots" in schema["properties"]["website"]["description"]
        assert "website" not in schema["required"]
    assert body["example"] == {"email": "ada@example.com", "name": "Ada"}
    accepted = document["paths"]["/signup"]["post"]["responses"]["202"]
    assert accepted["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/SignupAccepted"
    }


def test_nothing_of_the_inside_is_shown(document: Any) -> None:
    assert set(document["components"]["schemas"]) == {
        "EmailStatus",
        "Health",
        "InvalidField",
        "ProblemDetails",
        "Readiness",
        "Reason",
        "SignupAccepted",
        "SignupConfirmation",
        "SignupRequest",
        "SignupState",
    }


def test_headers_are_described_where_they_are_sent(document: Any) -> None:
    responses = document["paths"]["/signup"]["post"]["responses"]

    sent = {status: set(response["headers"]) - {"X-Request-ID"} for status, response in responses.items()}
    assert {status: names for status, names in sent.items() if names} == {
        "201": {"Location"},
        "303": {"Location"},
        "429": {"Retry-After"},
        "503": {"Retry-After"},
    }
    assert all("X-Request-ID" in response["headers"] for response in responses.values())


def test_examples_are_what_is_answered(document: Any) -> None:
    schemas = document["components"]["schemas"]

    for model in (SignupConfirmation, SignupState):
        example = schemas[model.__name__]["example"]
        assert TypeAdapter(model).validate_python(example).model_dump(mode="json") == example


def test_uniform_describes_what_it_answers(tmp_path: Any) -> None:
    settings = Settings(data_dir=tmp_path, duplicate_policy=DuplicatePolicy.UNIFORM)

    document = create_app(settings).openapi()

    responses = document["paths"]["/signup"]["post"]["responses"]
    assert {"202", "503"} <= set(responses)
    assert not {"201", "409"} & set(responses)
    assert set(document["components"]["schemas"]["SignupAccepted"]["example"]) == {"message"}


@pytest.mark.shares_app
@pytest.mark.parametrize("engine_name", ["sqlite"])
class TestDocs:
    async def test_load_nothing_from_elsewhere(self, client: httpx.AsyncClient) -> None:
        page = await client.get("/docs")

        assert page.status_code == 200
        assert "://" not in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]

    @pytest.mark.parametrize(
        ("path", "media_type"),
        [("/docs/files/swagger-ui.css", "text/css"), ("/docs/files/swagger-ui-bundle.js", "text/javascript")],
    )
    async def test_bring_their_files(self, client: httpx.AsyncClient, path: str, media_type: str) -> None:
        answer = await client.get(path)

        assert answer.headers["Content-Type"].startswith(media_type)
        assert len(answer.content) > 100_000

    async def test_have_no_other_files(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/docs/files/../main.py")).status_code == 404
