"""What a job leaves alone whatever `where` says: `keep: {last: 10, per: agent_id, by: created_at, among: {…}}`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import Field as Option

from .kind import Resource, Strict
from .where import Field, Predicate, Problem, Row, Type, named, parse_where, suggest

ORDERED = frozenset({Type.WHOLE, Type.NUMBER, Type.TIME})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Keep(Strict):
    """The last few of each, counted over everything in scope before anything is selected."""

    last: int = Option(ge=1, description="How many of each.")
    per: str | None = Option(None, description="Of each value of this field; without it, of all.")
    by: str = Option("created_at", description="The last ones by this field. Where it is missing, the item is kept.")
    among: Any = Option(None, description="A condition, as in `where`: others do not count, and are not kept.")

    @property
    def fields(self) -> set[str]:
        """The fields that it takes to tell."""
        return {self.by} | ({self.per} if self.per else set()) | named(self.among)


@dataclass(frozen=True, slots=True)
class Keeping:
    """How to tell of a row what `keep` needs to know."""

    among: Predicate
    per: Field | None
    by: Field

    def of(self, row: Row) -> tuple[bool, str | int | float | None, int | float | None]:
        """Whether the row counts, of what it is one, and its place among these: the last are kept."""
        return self.among(row), _plain(self.per.read(row)) if self.per else None, _place(self.by.read(row))


def read_keep(keep: Keep, resource: Resource, now: datetime) -> tuple[Keeping | None, list[Problem]]:
    """Check it against the fields of a resource. Ages in `among` are counted back from `now`."""
    problems: list[Problem] = []
    fields = resource.fields
    for key, name in (("per", keep.per), ("by", keep.by)):
        if name is not None and name not in fields:
            problems.append(Problem(("keep", key), f"unknown field “{name}”{suggest(name, fields)}"))
    by, per = fields.get(keep.by), fields.get(keep.per or "")
    if by and by.type not in ORDERED:
        problems.append(Problem(("keep", "by"), f"“{keep.by}” has no order: a number or a time is needed"))
    if per and per.type is Type.LIST:
        problems.append(Problem(("keep", "per"), f"“{keep.per}” is a list; a field with one value is needed"))
    among: Predicate = lambda _row: True  # noqa: E731 - where nothing is said
    if keep.among is not None:
        among, found = parse_where(keep.among, fields, now)
        problems += [Problem(("keep", "among", *each.path[1:]), each.message, each.at_key) for each in found]
    return (Keeping(among, per, by) if by and not problems else None), problems


def _plain(value: Any) -> str | int | float | None:
    return value.isoformat() if isinstance(value, datetime) else value


def _place(value: Any) -> int | float | None:
    """Numbers as they are, times in microseconds since 1970."""
    if isinstance(value, datetime):
        since = value - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
