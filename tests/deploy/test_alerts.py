"""Alert rules and dashboard use only metrics that exist."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.observability.metrics import Metrics
from tests.support.compose import SERVICES
from tests.support.forks import ROOT

FOLDER = ROOT / "deploy"
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana/signup-service.json").read_text("utf-8"))

# Without strings, label matchers, durations and groupings, only names are left of PromQL.
NO_NAMES = re.compile(r'"[^"]*"|\{[^}]*\}|\[\w+\]|by \([^)]*\)|\b\d[\d.e]*\b')
WORDS = {"max", "min", "sum", "rate", "increase", "delta", "histogram_quantile", "and", "or"}


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])


def names(expression: str) -> set[str]:
    return set(re.findall(r"[a-z_]+", NO_NAMES.sub(" ", expression))) - WORDS


async def told(client: httpx.AsyncClient) -> set[str]:
    """The names of all metrics after one signup."""
    await client.post("/signup", json={"email": "ada@example.com"})
    text = (await client.get("/metrics")).text
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


async def test_every_metric_asked_for_is_told(client: httpx.AsyncClient) -> None:
    known = await told(client)

    for expression in expressions():
        assert names(expression)
        assert names(expression) <= known


@pytest.mark.parametrize("label", ["POST", "/signup", "sent"])
async def test_every_label_asked_for_is_told(client: httpx.AsyncClient, label: str) -> None:
    await told(client)

    assert f'"{label}"' in (await client.get("/metrics")).text
    assert any(f'"{label}"' in expression for expression in expressions())


def test_an_alert_counts_what_all_processes_share() -> None:
    """A counter of one process seems to begin anew whenever a scrape is answered by another."""
    shared = {sample.name for family in Metrics().shared.collect() for sample in family.samples}

    for rule in RULES:
        assert set(re.findall(r"(?:increase|rate)\((\w+)", rule["expr"])) <= shared


def test_an_alert_says_how_to_fix_it() -> None:
    assert [rule["alert"] for rule in RULES] == [
        "WelcomeEmailsWait",
        "WelcomeEmailsFail",
        "WebhookEventsWait",
        "WebhookEventsFail",
        "AuditEntriesWait",
    ]
    for rule in RULES:
        assert "`" in rule["annotations"]["description"]


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_what_a_container_reads_is_there_and_stays_as_it_is(name: str) -> None:
    files = [volume for volume in SERVICES[name]["volumes"] if volume.startswith("./")]

    assert files
    for file in files:
        assert (ROOT / file.partition(":")[0]).is_file()
        assert file.endswith(":ro")


def test_nobody_gets_them_who_did_not_ask() -> None:
    asked_for = {name for name, service in SERVICES.items() if service.get("profiles") == ["observability"]}

    assert asked_for == {"prometheus", "grafana"}
    for name in asked_for:
        assert SERVICES[name]["networks"] == ["metrics"]
