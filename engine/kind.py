"""What the engine must be told about a service: a *resource* that can be listed, and *kinds* of job on its items.

Both are small. Everything that is the same for every kind (walking, pacing, retrying, writing down, resuming) is not here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from .exchange import Request
from .fates import ItemFate, Outcome
from .where import Field, Row

CHUNK = 100  # items in one request; the service takes no more (`maxItems: 100` of each bulk endpoint)
ABOUT_ITEMS = frozenset({400, 413, 422})  # refusals that a smaller request may not meet


class Strict(BaseModel):
    """A part of a spec: an unknown key is an error, and a number is not read from a text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `count` is what the service says the whole list has; `more` whether it names a next page."""

    rows: Sequence[Row]
    count: int
    more: bool


class Evidence(Enum):
    """What reading an item back tells of the last attempt on it."""

    APPLIED = auto()
    WORKING = auto()  # applied, and the service is not done yet
    UNMOVED = auto()  # nothing happened to it since its fingerprint was taken
    UNCLEAR = auto()  # it changed in a way that proves nothing


class Resource(ABC):
    """A paginated list of a service. Rows are mappings with an integer `id`."""

    name: ClassVar[str]
    fields: ClassVar[Mapping[str, Field]]  # what `where` may name
    Scope: ClassVar[type[Strict]]  # the service's own filters

    @abstractmethod
    def page(self, scope: Any, number: int, size: int) -> Request:
        """The request for page `number`, from 1, of `size` rows."""

    @abstractmethod
    def one(self, item_id: int) -> Request:
        """The request for a single item; a 404 means that it is gone."""

    @abstractmethod
    def is_own_404(self, body: bytes) -> bool:
        """Whether a 404 with this body was said by the service itself, and not by something on the way to it."""

    @abstractmethod
    def lasting(self, scope: Any) -> Any:
        """A scope at least as wide that no item leaves as long as it exists: what is not met in it is gone."""

    @abstractmethod
    def read_page(self, body: bytes) -> Page:
        """Decode a page. Raises ValueError when it is not one."""

    @abstractmethod
    def read_one(self, body: bytes) -> Row:
        """Decode a single item into a row as the list has it. Raises ValueError."""

    @abstractmethod
    def fingerprint(self, row: Row) -> list[Any]:
        """Values that JSON can hold and that change when the service works on the item."""


class Kind(ABC):
    """A sort of job. Stateless; found through the entry-point group `rebatch.kinds`."""

    name: ClassVar[str]  # the `type` of a spec's action
    resource: ClassVar[Resource]
    Action: ClassVar[type[Strict]]  # the other keys of a spec's action
    irreversible: ClassVar[bool]  # a person types the number of items before it runs
    repeatable: ClassVar[bool]  # sending it twice does no more than sending it once
    unmoved: ClassVar[ItemFate]  # what an accepted item is if it stays as it was: FAILED, or ACCEPTED

    grouped_by: ClassVar[str]  # what the number of a group is to a person; empty when there is one group only
    measured: ClassVar[str] = ""  # what `measure` is to a person; empty when there is nothing to measure

    @abstractmethod
    def describe(self, action: Any) -> str:
        """What it will do to each item, as the beginning of a sentence: “Delete”, “Re-evaluate metrics 11, 12 on”."""

    @abstractmethod
    def group(self, row: Row) -> int:
        """Items travel only with others of their group."""

    @abstractmethod
    def request(self, action: Any, group: int, ids: Sequence[int]) -> Request:
        """The request for a chunk of at most `CHUNK` items of one group."""

    def priced(self, action: Any) -> str:  # noqa: ARG002 - for those that cost something
        """What acting costs, for a person: “0.4 credits for each run”; empty when it costs nothing."""
        return ""

    def cost(self, action: Any, row: Row) -> float | None:  # noqa: ARG002 - for those that cost something
        """The credits that acting on this row is going to cost at most; None when the row does not tell."""
        return 0.0

    def stops_all(self, outcome: Outcome) -> bool:  # noqa: ARG002 - for those that know such refusals
        """Whether a refusal concerns every chunk alike, as one about the balance does: the job stops and can be resumed."""
        return False

    def about_items(self, outcome: Outcome) -> bool:
        """Whether a refusal may be due to some of the items, so that the others would go through without them."""
        return outcome.status in ABOUT_ITEMS

    def narrow(self, scope: Any, group: int) -> Any:  # noqa: ARG002 - for those whose groups the service can list
        """A scope that lists the items of a group, and as little else as possible."""
        return scope

    def measure(self, row: Row) -> float | None:  # noqa: ARG002 - for those that have something to measure
        """What the job is to change, from 0.0 to 1.0, so that a report can say before and after; None when it is unknown."""
        return None

    @abstractmethod
    def evidence(self, before: list[Any], after: Row | None) -> Evidence:
        """Compare the fingerprint of a plan with the row as it is now; None when the item is gone."""
