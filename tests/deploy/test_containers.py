"""Containers may do only what they need to."""

import re

import pytest
import yaml

from service.settings import Settings
from tests.support.compose import COMPOSE, SERVICES
from tests.support.forks import ROOT

LAST_STAGE = (ROOT / "Dockerfile").read_text("utf-8").rpartition("\nFROM ")[2]

each_service = pytest.mark.parametrize("name", SERVICES)


class Resetting(yaml.SafeLoader):
    """Knows the tag with which Compose overrides remove values."""


Resetting.add_constructor("!reset", lambda *_: None)
SECRETS = Resetting((ROOT / "deploy/docker-compose.secrets.yml").read_text("utf-8")).get_single_data()


@each_service
def test_no_container_can_write_gain_rights_or_use_any(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {
        "privileged",
        "cap_add",
        "devices",
        "network_mode",
        "pid",
        "ipc",
        "userns_mode",
    }


@each_service
def test_no_container_runs_as_root(name: str) -> None:
    ours = SERVICES[name]["image"] == "signup-service"
    user = re.findall(r"^USER (.+)$", LAST_STAGE, re.MULTILINE)[-1] if ours else SERVICES[name]["user"]

    assert user not in ("root", "0")
    assert not ours or user.isdigit()


@each_service
def test_no_port_is_open_to_other_machines(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert port.startswith("127.0.0.1:")


def test_database_and_relay_are_reached_by_those_alone_that_need_them() -> None:
    def members(network: str) -> set[str]:
        return {name for name, service in SERVICES.items() if network in service["networks"]}

    assert members("database") == {"db", "migrate", "api", "worker"}
    assert members("mail") == {"mailhog", "api", "worker"}
    assert COMPOSE["networks"]["database"]["internal"] is True
    assert "ports" not in SERVICES["db"]


@pytest.mark.parametrize("secret", ["database_url", "smtp_password", "ops_token", "audit_key"])
def test_each_secret_of_ours_can_be_a_file(secret: str) -> None:
    assert secret in Settings.model_fields
    assert SECRETS["secrets"][secret] == {"file": f"secrets/{secret}"}
    assert any(secret in service["secrets"] for service in SECRETS["services"].values())


def test_whoever_gets_the_user_name_of_the_relay_gets_its_password() -> None:
    ours = {name for name, service in SERVICES.items() if service["image"] == "signup-service"}

    assert {
        name for name, service in SECRETS["services"].items() if "smtp_password" in service["secrets"]
    } == ours


def test_where_secrets_are_files_no_variable_holds_them() -> None:
    for name, variables in {
        "migrate": {"DATABASE_URL", "PGPASSWORD"},
        "api": {"DATABASE_URL", "PGPASSWORD"},
        "worker": {"DATABASE_URL", "PGPASSWORD"},
        "db": {"POSTGRES_PASSWORD"},
    }.items():
        taken_out = {key for key, value in SECRETS["services"][name]["environment"].items() if value is None}
        assert taken_out == variables
        assert variables <= SERVICES[name]["environment"].keys()


def test_no_secret_and_no_history_gets_into_the_image() -> None:
    kept = (ROOT / ".dockerignore").read_text("utf-8").splitlines()

    assert "*" in kept
    assert [line for line in kept if line.startswith("!")] == [
        "!requirements.lock",
        "!service",
        "!migrations",
    ]
