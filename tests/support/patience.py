"""How long the service waits for its database: two seconds, which a busy machine may take for anything.

Tests of behavior give it half a minute; those marked `deadlines` are about the two seconds.
"""

import inspect

import pytest

from service import monitoring
from service.database import engine, readiness
from service.database.engine import Database
from service.database.group_commit import COMMIT_TIMEOUT, GroupCommit

PATIENT = 30.0  # s


def be_patient(patch: pytest.MonkeyPatch) -> None:
    for wait, timeout in (
        (GroupCommit.submit, COMMIT_TIMEOUT),
        (inspect.unwrap(Database.read_only), engine.READ_TIMEOUT),
    ):
        defaults = wait.__kwdefaults__ or {}
        [name] = [name for name, default in defaults.items() if default == timeout]
        patch.setitem(defaults, name, PATIENT)
    patch.setattr(engine, "CHECKOUT_TIMEOUT", PATIENT)
    patch.setitem(engine.POSTGRESQL_ARGUMENTS, "timeout", PATIENT)  # to connect
    for module in (monitoring, readiness):
        patch.setattr(module, "READ_TIMEOUT", PATIENT)


def is_patient() -> bool:
    return engine.CHECKOUT_TIMEOUT == PATIENT
