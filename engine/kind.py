"""What the engine must be told about a service: a *resource* that can be listed, and *kinds* of job on its items.

Both are small. Everything that is the same for every kind (walking, pacing, retrying, writing down, resuming) is not here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self

from annotated_types import Ge, Len, Lt
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic import Field as Option

from .exchange import Request
from .fates import Evidence, ItemFate, Outcome
from .files.columns import Column
from .files.target import Target
from .where import Field, Row

ABOUT_ITEMS = frozenset({400, 413, 422})  # refusals that a smaller request may not meet


class Strict(BaseModel):
    """A part of a spec: an unknown key is an error, and a number is not read from a text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


LARGEST = 2**63  # beyond it no number fits into SQLite or JSON
Id = Annotated[int, Ge(1), Lt(LARGEST)]


class NamedScope(Strict):
    """A scope that may name its items. What a resource adds to it are the service's own filters."""

    ids: Annotated[list[Id], Len(min_length=1)] | None = Option(None, description="These alone.")
    ids_from: str | None = Option(
        None, min_length=1, description="Those in this file alone: .csv, .jsonl, .txt; - is standard input."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.ids is not None and self.ids_from is not None:
            raise ValueError("“ids” and “ids_from” cannot both be given")
        return self

    @property
    def filters(self) -> dict[str, Any]:
        """What is set of the service's own filters."""
        return self.model_dump(exclude_none=True, exclude={"ids", "ids_from"})


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `count` is what the service says the whole list has; `more` whether it names a next page."""

    rows: Sequence[Row]
    count: int
    more: bool


class Resource(ABC):
    """A sort of item, and the paginated list that it is found in. Rows are mappings with an integer `id`.

    Mostly the rows of the list are the items. Where each holds several, as results hold runs, `items` takes them out.
    """

    name: ClassVar[str]
    fields: ClassVar[Mapping[str, Field]]  # what `where` may name
    Scope: ClassVar[type[Strict]]  # the service's own filters; a `NamedScope` where items can be named
    at_once: ClassVar[int] = 1  # items that one request can ask for by their ids

    @abstractmethod
    def page(self, scope: Any, number: int, size: int) -> Request:
        """The request for page `number`, from 1, of `size` rows."""

    @abstractmethod
    def read_page(self, body: bytes) -> Page:
        """Decode a page. Raises ValueError when it is not one."""

    def reader(self, fields: Collection[str]) -> Callable[[bytes], Page]:  # noqa: ARG002 - for those that can read less
        """What decodes pages where rows need no more than these fields, and what `fingerprint`, `items` and `parent` read."""
        return self.read_page

    @abstractmethod
    def by_id(self, ids: Sequence[int]) -> Request:
        """The request for at most `at_once` items in full; what is not in its answer, or a 404, is gone."""

    @abstractmethod
    def read_by_id(self, body: bytes) -> Sequence[Row]:
        """Decode that answer into rows with at least what `fingerprint` reads. Raises ValueError."""

    @abstractmethod
    def is_own_404(self, body: bytes) -> bool:
        """Whether a 404 with this body was said by the service itself, and not by something on the way to it."""

    @abstractmethod
    def lasting(self, scope: Any) -> Any:
        """A scope at least as wide that no item leaves as long as it exists: what is not met in it is gone."""

    @abstractmethod
    def fingerprint(self, row: Row) -> list[Any]:
        """Values that JSON can hold and that change when the service works on the item."""

    def items(self, listed: Row) -> Sequence[Row] | None:
        """The items of a row of the list; None when only its detail tells."""
        return [listed]

    def detail(self, listed_id: int) -> Request:
        """The request for the detail of a row of the list, where `items` asks for it."""
        raise NotImplementedError

    def read_detail(self, body: bytes) -> Row:
        """Decode that detail into a row whose `items` are known. Raises ValueError."""
        raise NotImplementedError

    def lacks(self, row: Row, fields: Collection[str]) -> bool:  # noqa: ARG002 - for those whose list tells less
        """Whether a row of the list leaves out one of these fields, or what its fingerprint needs, and `by_id` has it."""
        return False

    def completed(self, row: Row, full: Row) -> Row:
        """A row of the list with what `by_id` tells of it; where it lies only the list knows."""
        return {**row, **full}

    @cached_property
    def tells_items(self) -> bool:
        """Whether each row of the list is an item and tells all that its detail would: nothing is to be asked for."""
        return type(self).items is Resource.items and type(self).lacks is Resource.lacks

    def parent(self, row: Row) -> int | None:  # noqa: ARG002 - for those that lie within something
        """The row of the list that an item lies in; None where the item is that row."""
        return None


class Kind(ABC):
    """A sort of job: a `Change` at the service or an `Export` from it. Stateless; found by the entry points `rebatch.kinds`."""

    name: ClassVar[str]  # the `type` of a spec's action
    resource: ClassVar[Resource]
    Action: ClassVar[type[Strict]]  # the other keys of a spec's action

    irreversible: ClassVar[bool] = False  # a person types the number of items before it runs
    grouped_by: ClassVar[str] = ""  # what the number of a group is to a person; empty when there is one group only
    measured: ClassVar[str] = ""  # what `measure` is to a person; empty when there is nothing to measure
    # The fields that `group`, `cost`, `measure` and, beside the fingerprint, `evidence` read; None: perhaps all.
    reads: ClassVar[Collection[str] | None] = None

    @abstractmethod
    def describe(self, action: Any) -> str:
        """What it will do to each item, as the beginning of a sentence: “Delete”, “Re-evaluate metrics 11, 12 on”."""

    def group(self, row: Row) -> int:  # noqa: ARG002 - for those whose items cannot all travel together
        """Items travel only with others of their group."""
        return 0

    def priced(self, action: Any) -> str:  # noqa: ARG002 - for those that cost something
        """What acting costs, for a person: “0.4 credits for each run”; empty when it costs nothing."""
        return ""

    def cost(self, action: Any, row: Row) -> float | None:  # noqa: ARG002 - for those that cost something
        """The credits that acting on this row is going to cost at most; None when the row does not tell."""
        return 0.0

    def measure(self, row: Row) -> float | None:  # noqa: ARG002 - for those that have something to measure
        """What the job is to change, from 0.0 to 1.0, so that a report can say before and after; None when it is unknown."""
        return None


class Change(Kind):
    """A kind that changes something at the service: one request for a chunk, and what proves that it was carried out."""

    repeatable: ClassVar[bool]  # sending it twice does no more than sending it once
    unmoved: ClassVar[ItemFate]  # what an accepted item is if it stays as it was: FAILED, or ACCEPTED
    one_at_a_time: ClassVar[bool] = False  # of each group, one request is under way at most

    @abstractmethod
    def request(self, action: Any, group: int, ids: Sequence[int]) -> Request:
        """The request for a chunk of at most `CHUNK` items of one group."""

    @abstractmethod
    def evidence(self, before: list[Any], after: Row | None) -> Evidence:
        """Compare the fingerprint of a plan with the row as it is now; None when the item is gone."""

    def stops_all(self, outcome: Outcome) -> bool:  # noqa: ARG002 - for those that know such refusals
        """Whether a refusal concerns every chunk alike, as one about the balance does: the job stops and can be resumed."""
        return False

    def about_items(self, outcome: Outcome) -> bool:
        """Whether a refusal may be due to some of the items, so that the others would go through without them."""
        return outcome.status in ABOUT_ITEMS

    def narrow(self, scope: Any, group: int) -> Any:  # noqa: ARG002 - for those whose groups the service can list
        """A scope that lists the items of a group, and as little else as possible."""
        return scope

    def backup(self, action: Any) -> str | None:  # noqa: ARG002 - for those that take something away
        """The path of the archive in which each item is kept in full before it is changed; None when there is none."""
        return None


class Export(Kind):
    """A kind that only reads: every item goes in full into files."""

    @abstractmethod
    def target(self, action: Any) -> Target:
        """Where the files go."""

    @abstractmethod
    def partition(self, action: Any, row: Row) -> tuple[Any, ...]:
        """The values of the fields by which the files are partitioned, for what is written of an item."""

    def rows_per_part(self, action: Any) -> int:  # noqa: ARG002 - for those that leave it to the spec
        """How many items go into one part, about."""
        return 50_000

    @abstractmethod
    def columns(self) -> Sequence[Column]:
        """The columns of formats that have them."""

    def row(self, row: Row, parent: int | None) -> Row:  # noqa: ARG002 - for those whose items lie within something
        """What is written of an item; `parent` is the row of the list that it lies in."""
        return row
