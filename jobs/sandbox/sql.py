"""The little that stands between SQLite and the queries: rows as Any (the schema is STRICT), lists as parameters."""

from collections.abc import Iterable
from typing import Any

import apsw
import orjson

IDS = "(SELECT value FROM json_each(?))"
"""A list of ids inside a statement, filled by `as_json`."""


def as_json(ids: Iterable[int]) -> str:
    """Ids as the one parameter that `IDS` takes."""
    return orjson.dumps(list(ids)).decode()


def select(db: apsw.Connection, statement: str, *values: str | float | None) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return db.execute(statement, values).fetchall()


def column(db: apsw.Connection, statement: str, *values: str | float | None) -> list[Any]:
    """The first value of every row."""
    return [row[0] for row in db.execute(statement, values)]
