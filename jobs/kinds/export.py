"""Export results and runs into files. Nothing is changed at the service."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

from annotated_types import Ge
from pydantic import Field as Option
from pydantic import model_validator

from engine.files.columns import JSON, Column, columns_of
from engine.files.target import Target, read_target
from engine.kind import Export, Resource, Strict
from engine.where import Field, Row, suggest

from ..results import FIELDS as RESULT_FIELDS
from ..results import Results
from ..runs import FIELDS as RUN_FIELDS
from ..runs import NESTED, NOT_IN_FULL, Runs


class _Action(Strict):
    """Where to, and in which shape."""

    fields: ClassVar[Mapping[str, Field]]

    path: str = Option(
        description="A file, or an object by its address; the suffix tells the format: .jsonl .csv (also .gz .zst) .parquet. "
        "{job}, {date}, {part} and partitions stand for themselves."
    )
    partition_by: list[str] = Option([], description="Fields; the files of each value are apart.")
    rows_per_part: Annotated[int, Ge(1)] = Option(50_000, description="How many items go into one part, about.")

    @model_validator(mode="after")
    def _check(self) -> _Action:
        unknown = [name for name in self.partition_by if name not in self.fields]
        if unknown:
            raise ValueError(
                f"“partition_by” names “{unknown[0]}”, which is no field{suggest(unknown[0], self.fields)}"
            )
        read_target(self.path, self.partition_by)
        return self


def _value(name: str, row: Row) -> Any:
    return row.get(name)


class _RunsAction(_Action):
    fields: ClassVar[Mapping[str, Field]] = RUN_FIELDS


class _ResultsAction(_Action):
    fields: ClassVar[Mapping[str, Field]] = RESULT_FIELDS


class _Export(Export):
    """What both have in common."""

    reads: ClassVar[Collection[str]] = ()
    not_columns: ClassVar[Collection[str]] = {"agent_id"}  # fields that a row does not have by this name

    def describe(self, action: Any) -> str:  # noqa: ARG002 - where to is told beside it
        """What it does."""
        return "Export"

    def target(self, action: Any) -> Target:
        """As the action says."""
        return read_target(action.path, action.partition_by)

    def rows_per_part(self, action: Any) -> int:
        """As the action says."""
        return int(action.rows_per_part)

    def partition(self, action: Any, row: Row) -> tuple[Any, ...]:
        """The values of the fields that the action names."""
        return tuple(self.resource.fields[name].read(row) for name in action.partition_by)

    def columns(self) -> Sequence[Column]:
        """A column for each field, by the name that the service gives it."""
        return columns_of({name: field for name, field in self.resource.fields.items() if name not in self.not_columns})


class ExportResults(_Export):
    """`action: {type: export_results, path: …}`: results as the list shows them."""

    name: ClassVar[str] = "export_results"
    resource: ClassVar[Resource] = Results()
    Action: ClassVar[type[Strict]] = _ResultsAction


class ExportRuns(_Export):
    """`action: {type: export_runs, path: …}`: runs in full, with the result that each lies in."""

    name: ClassVar[str] = "export_runs"
    resource: ClassVar[Resource] = Runs()
    Action: ClassVar[type[Strict]] = _RunsAction
    not_columns: ClassVar[Collection[str]] = NOT_IN_FULL

    def columns(self) -> Sequence[Column]:
        """The same, and what is nested."""
        return (*super().columns(), *(Column(name, JSON, partial(_value, name)) for name in NESTED))

    def row(self, row: Row, parent: int | None) -> Row:
        """The run, and its result."""
        return {"id": row["id"], "result": parent} | {key: row[key] for key in row.keys() - {"result"}}
