"""Conditions over the rows of a list: `{status: [completed, failed], created_at: {older_than: 30d}, not: {…}}`.

Fields are ANDed, a list means “in”, and a missing value never matches an ordering test. A condition is read once into a
predicate; every mistake is collected with its path, so that all are told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from enum import Enum
from operator import ge, gt, le, lt
from typing import Any

from .pattern import matcher
from .units import parse_duration

Row = Mapping[str, Any]
Predicate = Callable[[Row], bool]
Path = tuple[str | int, ...]


class Type(Enum):
    """What a field holds. The value is what a person calls it."""

    WHOLE = "a whole number"
    NUMBER = "a number"
    TEXT = "text"
    TRUTH = "true or false"
    TIME = "a time, such as 2026-01-31 or 2026-01-31T12:00:00Z"
    LIST = "the text of one element"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a row: its type, how to read it from what the service sent, its values where they are few.

    `most` is the end of its range where it goes from 0 to something.
    """

    type: Type
    read: Callable[[Row], Any]
    values: tuple[str, ...] = ()
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a spec: where, as a path of keys and indexes, and what. `at_key` points at the key itself."""

    path: Path
    message: str
    at_key: bool = False


_ORDER: dict[str, Callable[[Any, Any], bool]] = {"lt": lt, "le": le, "gt": gt, "ge": ge}
_AGE = ("older_than", "newer_than")
OPERATORS: dict[Type, tuple[str, ...]] = {
    Type.WHOLE: ("eq", "ne", "in", "not_in", *_ORDER),
    Type.NUMBER: ("eq", "ne", "in", "not_in", *_ORDER),
    Type.TEXT: ("eq", "ne", "in", "not_in", "contains", "matches"),
    Type.TRUTH: ("eq", "ne", "in", "not_in"),
    Type.TIME: ("eq", "ne", "in", "not_in", *_ORDER, *_AGE),
    Type.LIST: ("contains", "in", "not_in"),
}
COMBINERS = ("any", "all", "not")


def parse_where(raw: Any, fields: Mapping[str, Field], now: datetime) -> tuple[Predicate, list[Problem]]:
    """Read a condition. The predicate is meaningful only when there are no problems. `now` anchors the ages."""
    reader = _Reader(fields, now)
    return reader.condition(raw, ("where",)), reader.problems


def named(raw: Any) -> set[str]:
    """The fields that a condition, which has no mistakes, tests."""
    if isinstance(raw, list):
        return {field for part in raw for field in named(part)}
    if not isinstance(raw, dict):
        return set()
    inner = {field for key in COMBINERS for field in named(raw.get(key))}
    return inner | (raw.keys() - set(COMBINERS))


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?`, or nothing when nothing is near."""
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean “{near[0]}”?" if near else ""


def read_time(value: Any) -> datetime | None:
    """A time with its zone from ISO text, a date or a datetime; without a zone it is UTC. None if it is none of these."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime.combine(value, time(), UTC) if isinstance(value, date) else None


def _never(_row: Row) -> bool:
    return False


class _Reader:
    def __init__(self, fields: Mapping[str, Field], now: datetime) -> None:
        self.fields = fields
        self.now = now
        self.problems: list[Problem] = []

    def _wrong(self, path: Path, message: str, *, at_key: bool = False) -> Predicate:
        self.problems.append(Problem(path, message, at_key))
        return _never

    def condition(self, raw: Any, path: Path) -> Predicate:
        if not isinstance(raw, dict) or not raw:
            return self._wrong(path, "expected conditions such as {status: failed}")
        parts = [self._entry(str(key), value, (*path, key)) for key, value in raw.items()]
        return lambda row: all(part(row) for part in parts)

    def _entry(self, key: str, raw: Any, path: Path) -> Predicate:
        if key == "not":
            inner = self.condition(raw, path)
            return lambda row: not inner(row)
        if key in COMBINERS:
            return self._several(key, raw, path)
        if key not in self.fields:
            return self._wrong(path, f"unknown field “{key}”{suggest(key, [*self.fields, *COMBINERS])}", at_key=True)
        return self._tests(self.fields[key], raw, path)

    def _several(self, key: str, raw: Any, path: Path) -> Predicate:
        if not isinstance(raw, list) or not raw:
            return self._wrong(path, f"“{key}” takes a list of conditions")
        parts = [self.condition(value, (*path, index)) for index, value in enumerate(raw)]
        combine = any if key == "any" else all
        return lambda row: combine(part(row) for part in parts)

    def _tests(self, field: Field, raw: Any, path: Path) -> Predicate:
        if isinstance(raw, list):
            return self._test(field, "in", raw, path)
        if not isinstance(raw, dict):
            return self._test(field, "contains" if field.type is Type.LIST else "eq", raw, path)
        if not raw:
            return self._wrong(path, "expected a test such as {lt: 0.5}")
        tests = [self._test(field, str(op), value, (*path, op)) for op, value in raw.items()]
        return lambda row: all(test(row) for test in tests)

    def _test(self, field: Field, op: str, raw: Any, path: Path) -> Predicate:
        allowed = OPERATORS[field.type]
        if op not in allowed:
            hint = suggest(op, allowed) or f"; it takes {', '.join(allowed)}"
            return self._wrong(path, f"“{op}” does not apply to {_noun(field)}{hint}", at_key=True)
        if op in _AGE:
            return self._age(field, op, raw, path)
        if op in {"in", "not_in"}:
            return self._membership(field, op, raw, path)
        if op == "matches":
            return self._pattern(field, raw, path)
        whole = replace(field, values=()) if op == "contains" else field
        wanted = self._value(whole, raw, path, nullable=op in {"eq", "ne"})
        return _compare(op, field.read, wanted)

    def _age(self, field: Field, op: str, raw: Any, path: Path) -> Predicate:
        try:
            edge = self.now - parse_duration(str(raw))
        except (ValueError, OverflowError) as error:
            return self._wrong(path, str(error))
        return _compare("lt" if op == "older_than" else "gt", field.read, edge)

    def _membership(self, field: Field, op: str, raw: Any, path: Path) -> Predicate:
        if not isinstance(raw, list) or not raw:
            return self._wrong(path, f"“{op}” takes a list of at least one value")
        wanted = {self._value(field, value, (*path, index), nullable=True) for index, value in enumerate(raw)}
        inside = op == "in"
        if field.type is Type.LIST:
            return lambda row: (not wanted.isdisjoint(field.read(row) or ())) is inside
        return lambda row: (field.read(row) in wanted) is inside

    def _pattern(self, field: Field, raw: Any, path: Path) -> Predicate:
        try:
            found = matcher(raw)
        except ValueError as error:
            return self._wrong(path, str(error))
        return lambda row: (value := field.read(row)) is not None and found(value)

    def _value(self, field: Field, raw: Any, path: Path, *, nullable: bool) -> Any:
        if raw is None and nullable:
            return None
        value = _cast(field.type, raw)
        if value is None:
            self._wrong(path, f"expected {field.type.value}, not {_show(raw)}")
        elif field.most is not None and not 0 <= value <= field.most:
            self._wrong(path, f"{value:g} is out of range: this field goes from 0 to {field.most:g}")
        elif field.values and value not in field.values:
            hint = suggest(value, field.values) or f"; one of {', '.join(field.values)}"
            self._wrong(path, f"“{value}” is no value of this field{hint}")
        return value


def _compare(op: str, read: Callable[[Row], Any], wanted: Any) -> Predicate:
    if op == "eq":
        return lambda row: bool(read(row) == wanted)
    if op == "ne":
        return lambda row: bool(read(row) != wanted)
    if op == "contains":
        return lambda row: (value := read(row)) is not None and wanted in value
    order = _ORDER[op]
    return lambda row: (value := read(row)) is not None and order(value, wanted)


def _cast(kind: Type, raw: Any) -> Any:
    """The value as this type, or None. A bool is an int to Python, but not to a person."""
    if kind is Type.TIME:
        return read_time(raw)
    if kind is Type.TRUTH:
        return raw if isinstance(raw, bool) else None
    if kind in {Type.TEXT, Type.LIST}:
        return raw if isinstance(raw, str) else None
    if isinstance(raw, bool) or not isinstance(raw, int if kind is Type.WHOLE else int | float):
        return None
    return raw


def _noun(field: Field) -> str:
    return {Type.TIME: "a time", Type.LIST: "a list"}.get(field.type, field.type.value)


def _show(raw: Any) -> str:
    if isinstance(raw, dict | list):
        return "a mapping" if isinstance(raw, dict) else "a list"
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return "nothing" if raw is None else f"“{raw}”"
