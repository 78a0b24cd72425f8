"""Passes many rows as one parameter: a JSON document, which the database unpacks.

Binding each value of each row took this process longer than all its other SQL work.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Subquery,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy import column as named
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import Column
from sqlmodel.sql.sqltypes import AutoString, UTCDateTime

from service.database.engine import Database

TIMESTAMP_LENGTH = 26  # characters of 2026-11-22 15:04:05.123456, SQLite's format


def rows_from_json(database: Database, *columns: Column[Any], parameter: str) -> Subquery:
    """The rows that `encode_rows` encoded; their values are for these columns, in this order."""
    text = bindparam(parameter, type_=Text)
    # JSONB is parsed once. JSON would be parsed again for each column: a quarter of the time of a batch.
    elements = func.json_each(text) if database.is_sqlite else func.jsonb_array_elements(cast(text, JSONB))
    row = elements.table_valued(named("value", Text)).c.value
    convert = _to_sqlite if database.is_sqlite else _to_postgresql
    fields = (row.op("->>")(literal_column(str(position))) for position in range(len(columns)))
    return select(
        *(
            convert(field, column.type).label(column.name)
            for field, column in zip(fields, columns, strict=True)
        )
    ).subquery(f"given_{parameter}")


def encode_rows(rows: Iterable[Sequence[object]]) -> str:
    """Encodes the rows as the parameter of `rows_from_json`."""
    return _ENCODER.encode(list(rows))


def format_timestamp(at: datetime) -> str:
    """The format in which SQLite stores timestamps, and which PostgreSQL accepts."""
    return at.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")


def _to_sqlite(field: ColumnElement[Any], kind: Any) -> ColumnElement[Any]:
    return type_coerce(
        func.substr(field, 1, TIMESTAMP_LENGTH) if isinstance(kind, UTCDateTime) else field, kind
    )


def _to_postgresql(field: ColumnElement[Any], kind: Any) -> ColumnElement[Any]:
    # A cast to VARCHAR(100) would silently cut longer values.
    return cast(field, Text if isinstance(kind, AutoString) else kind)


def _encode_value(value: object) -> str:
    match value:
        case UUID():
            return value.hex
        case datetime():
            return format_timestamp(value)
    raise TypeError(f"no column takes a {type(value).__name__}")


_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_encode_value)
