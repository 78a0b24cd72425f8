"""The OpenAPI document with CONFIRMATION=link, and without."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.routing import Route

from service.app import create_app
from service.settings import Confirmation, DuplicatePolicy, Settings
from service.signup import schemas
from service.web.problems import ProblemType
from tests.support.forks import ROOT


def settings(folder: Path, policy: DuplicatePolicy, confirmation: Confirmation) -> Settings:
    return Settings(data_dir=folder, duplicate_policy=policy, confirmation=confirmation)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("data")
    return create_app(settings(folder, DuplicatePolicy.CONFLICT, Confirmation.LINK)).openapi()


def test_every_operation_has_a_name_and_its_own_types_of_problem(document: Any) -> None:
    link = {"404": ["link-unknown"], "410": ["link-expired"], "503": ["unavailable"]}
    expected = {
        ("get", "/confirm/{token}"): ("getConfirmation", link),
        ("post", "/confirm/{token}"): (
            "confirmAddress",
            {**link, "503": ["unavailable", "overloaded"]},
        ),
        ("post", "/confirm/{token}/deny"): ("denyAddress", {**link, "409": ["already-confirmed"]}),
    }

    for (method, path), (name, problems) in expected.items():
        operation = document["paths"][path][method]
        assert operation["operationId"] == name
        assert "422" not in operation["responses"]
        for status, slugs in problems.items():
            [content] = operation["responses"][status]["content"].values()
            types = content["schema"]["allOf"][1]["properties"]["type"]["enum"]
            assert types == [f"/problems/{slug}" for slug in slugs]
    conflicts = document["paths"]["/signup"]["post"]["responses"]["409"]["content"]
    assert set(conflicts["application/problem+json"]["examples"]) == {"address-taken", "unconfirmed"}
    possible = document["components"]["schemas"]["ProblemDetails"]["properties"]["type"]["enum"]
    assert possible == [kind.uri for kind in ProblemType]


@pytest.mark.parametrize(
    "name",
    [
        "SignupToConfirm",
        "AcceptedToConfirm",
        "ConfirmableState",
        "ConfirmationLink",
        "ConfirmedAddress",
        "ErasedUser",
    ],
)
def test_examples_are_what_is_answered(document: Any, name: str) -> None:
    example = document["components"]["schemas"][name]["example"]

    model = TypeAdapter(getattr(schemas, name))
    assert model.validate_python(example).model_dump(mode="json") == example


@pytest.mark.parametrize("policy", DuplicatePolicy)
def test_without_it_nothing_speaks_of_it(tmp_path: Path, policy: DuplicatePolicy) -> None:
    app = create_app(settings(tmp_path, policy, Confirmation.OFF))

    said = json.dumps(app.openapi()).replace("SignupConfirmation", "")  # what a signup is answered with
    assert "confirm" not in said.lower()
    assert not [route for route in app.routes if isinstance(route, Route) and "confirm" in route.path]


def test_the_api_page_names_every_route(tmp_path: Path) -> None:
    page = (ROOT / "docs/api.md").read_text("utf-8")
    app = create_app(settings(tmp_path, DuplicatePolicy.CONFLICT, Confirmation.LINK))

    routes = [route for route in app.routes if isinstance(route, Route) and "confirm" in route.path]

    assert routes
    assert all(f"{route.path}`" in page for route in routes)
