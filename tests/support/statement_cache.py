"""SQLAlchemy's compiled statements, kept for all engines of a test run and not for each."""

from typing import Any

from sqlalchemy import Compiled


class StatementCache(dict[tuple[Any, ...], Compiled]):
    """Keyed by the dialect's name instead of the dialect, which is another for each engine."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get(_shared(key), default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Compiled) -> None:
        super().__setitem__(_shared(key), compiled)


def _shared(key: tuple[Any, ...]) -> tuple[Any, ...]:
    dialect, *statement = key
    return dialect.name, *statement
