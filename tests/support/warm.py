"""Imported last by the process that others are forked from: what each of them would do first is done here,
once for all."""

import gc
from importlib import import_module
from pkgutil import walk_packages

import pytest

import service
from service.app import create_app
from service.inbox.app import create_inbox
from service.inbox.store import MailStore
from service.settings import Settings
from tests.support import template_cache

LATE = ("aiosqlite", "encodings.idna", "pydantic.v1", "rich.console", "rich.progress")  # imported when used

for module in (*(found.name for found in walk_packages(service.__path__, "service.")), *LATE):
    if not module.endswith("__main__"):
        import_module(module)

template_cache.compile_once(pytest.MonkeyPatch())
create_app(Settings(_env_file=None))  # opens nothing
create_inbox(MailStore())

gc.collect()
gc.freeze()  # or each process would visit, and so copy, all of this
