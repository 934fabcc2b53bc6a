"""Rows as tables, for CSV and Parquet. Nothing is lost: what no column can tell exactly stands as JSON in one more.

Only the difference between a key that is null and one that is absent is not kept, and that between 10 and “10”.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from math import isfinite
from typing import Any

from engine.text import spreadsheet
from engine.where import Field, Row, Type, read_time

from .jsontext import json_text
from .naming import is_whole

MORE = "more"
_INT64 = 1 << 63
_EXACT_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)", re.ASCII)


class Nested(Enum):
    """What is no single value."""

    JSON = "an object or a list, as JSON text"


JSON = Nested.JSON


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, which is a key of the row too, its type, and how to read it. What `read` gives fits, or is None.

    Whole numbers fit 64 bits, times are in UTC, lists and objects are JSON text.
    """

    name: str
    type: Type | Nested
    read: Callable[[Row], Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "read", partial(_read_fitting, self.type, self.read))


def columns_of(fields: Mapping[str, Field]) -> tuple[Column, ...]:
    """A column for each field; a field that is a list is kept whole, not as `where` sees it."""
    return tuple(
        Column(name, JSON, partial(_raw, name)) if field.type is Type.LIST else Column(name, field.type, field.read)
        for name, field in fields.items()
    )


class Layout:
    """The columns of one file. `folders` are the fields that its path tells, with their values: readers take them from there."""

    def __init__(self, columns: Sequence[Column], folders: Mapping[str, Any], *, for_spreadsheets: bool) -> None:
        """`for_spreadsheets`: texts that would be formulas are defused, and kept as they were in the last column."""
        self.columns = [column for column in columns if column.name not in folders]
        self.names = [column.name for column in self.columns]
        taken = {*self.names, *folders}
        self.names.append(next(name for count in range(len(taken) + 1) if (name := MORE + "_" * count) not in taken))
        self._from_path = {name: value for name, value in folders.items() if is_whole(value)}
        self._for_spreadsheets = for_spreadsheets

    def cells(self, row: Row) -> list[Any]:
        """A value or None for each name."""
        told = {column.name: self._cell(column, row) for column in self.columns}
        known = {**self._from_path, **told}
        rest = {key: value for key, value in row.items() if not represents(known.get(key), value)}
        cells = [*told.values(), json_text(rest) if rest else None]
        return self._without_semicolons(cells) if self._for_spreadsheets else cells

    def _cell(self, column: Column, row: Row) -> Any:
        cell = column.read(row)
        is_text = self._for_spreadsheets and column.type is Type.TEXT and cell is not None
        return spreadsheet(cell) if is_text else cell

    def _without_semicolons(self, cells: list[Any]) -> list[Any]:
        """JSON begins with a bracket, and a semicolon can only stand in one of its texts: written as its code it is harmless."""
        nested = [*(column.type in _NESTED for column in self.columns), True]
        pairs = zip(cells, nested, strict=True)
        return [cell.replace(";", "\\u003b") if is_json and cell is not None else cell for cell, is_json in pairs]


def represents(cell: Any, raw: Any) -> bool:
    """Whether `cell` tells everything that the service sent as `raw`."""
    if raw is None or cell is None:
        return raw is None
    if isinstance(raw, dict | list):
        return isinstance(cell, str) and cell == json_text(raw)
    if isinstance(cell, datetime):
        return isinstance(raw, str) and _EXACT_TIME.fullmatch(raw) is not None and read_time(raw) == cell
    if isinstance(raw, bool) or isinstance(cell, bool):
        return raw is cell or (isinstance(raw, str) and raw == str(cell).lower())
    if isinstance(cell, int) and isinstance(raw, str):
        return raw == str(cell)
    return bool(raw == cell)


def _raw(name: str, row: Row) -> Any:
    return row.get(name)


def _read_fitting(kind: Type | Nested, read: Callable[[Row], Any], row: Row) -> Any:
    value = read(row)
    return None if value is None else _FITS[kind](value)


def _whole(value: Any) -> int | None:
    return value if type(value) is int and -_INT64 <= value < _INT64 else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value) else None


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _time(value: Any) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:  # the first or the last day of the calendar
        return None


def _nested(value: Any) -> str | None:
    return json_text(value) if isinstance(value, dict | list) else None


_NESTED = frozenset({Type.LIST, JSON})
_FITS: dict[Type | Nested, Callable[[Any], Any]] = {
    Type.WHOLE: _whole,
    Type.NUMBER: _number,
    Type.TEXT: _text,
    Type.TRUTH: _truth,
    Type.TIME: _time,
    Type.LIST: _nested,
    JSON: _nested,
}
