"""Rows as a service sends them, and what reads them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.files.columns import Column, columns_of
from engine.files.disk import File
from engine.files.part import Part
from engine.files.target import read_target
from engine.where import Field, Type, read_time

NAMED: dict[str, Any] = {"job": "k3w9q2fd", "date": "2026-01-31"}


def plain(name: str, *types: type) -> Any:
    """A reader of values of these types."""
    return lambda row: value if type(value := row.get(name)) in types else None


FIELDS: Mapping[str, Field] = {
    "id": Field(Type.WHOLE, plain("id", int)),
    "name": Field(Type.TEXT, plain("name", str)),
    "done": Field(Type.TRUTH, plain("done", bool)),
    "rate": Field(Type.NUMBER, plain("rate", float, int)),
    "made": Field(Type.TIME, lambda row: read_time(row.get("made"))),
    "tags": Field(Type.LIST, lambda row: [str(tag) for tag in row.get("tags") or ()]),
}
COLUMNS: Sequence[Column] = columns_of(FIELDS)


def row(number: int, **more: Any) -> dict[str, Any]:
    """A row."""
    return {
        "id": number,
        "name": f"run {number}",
        "done": number % 2 == 0,
        "rate": number / 8,
        "made": f"2026-01-{number % 28 + 1:02}T12:00:00.25Z",
        "tags": [{"id": number, "name": "a;=b"}],
        **more,
    }


def part(target: str | Path, *fields: str, number: int = 1, parts: int = 1, **named: Any) -> Part:
    """A part of an export to a path, partitioned by some fields."""
    return Part(read_target(str(target), fields), **{**NAMED, **named}, number=number, parts=parts, columns=COLUMNS)


def write(target: str | Path, rows: Sequence[Mapping[str, Any]], *fields: str, **more: Any) -> list[File]:
    """Write rows, partitioned by the values of some fields, and publish."""
    made = part(target, *fields, **more)
    made.write(rows, [tuple(each.get(field) for field in fields) for each in rows])
    files = made.finish()
    made.publish()
    return files


def names(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
