"""The compose file."""

from typing import Any

import yaml

from tests.support.forks import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))


SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
