"""What dispatch asks of whatever keeps the books, and the values in them; the same pool can work with another store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple, Protocol

from .fates import ItemFate, Outcome

PLAN_TTL_S = 86_400.0  # a day: what a plan was made of has been looked at by whoever agrees to it
CHUNK = 100  # items in one request; the service takes no more (`maxItems: 100` of each bulk endpoint)


@dataclass(frozen=True, slots=True)
class Chunk:
    """At most `CHUNK` items of one group. `first` names it; `ids` are its items that have no fate of their own yet.

    `attempts` are those of this process: whoever resumes brings new patience.
    """

    first: int
    last: int
    group: int
    attempts: int
    ids: tuple[int, ...]
    root: int = 0  # the chunk of the plan that it was cut from, or is
    sent: bool = False  # once already, by this process or an earlier one
    looked_at: float = -inf  # when its items were last seen to be as planned, on the event loop's clock


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A chunk whose latest attempt has no known fate, and what its items looked like before it."""

    chunk: Chunk
    fingerprints: dict[int, list[Any]]


class Seen(NamedTuple):
    """One row of the walk. A tuple, since there are a hundred in each page, and a statement takes them as they are.

    `fingerprint`, as JSON, is None when `where` does not select it, `credits` when its cost is not known; `measure` is 0.0 to 1.0,
    if there is one. `parent` is the row of the list that it lies in. `among` tells whether `keep` may keep it: of those
    with the same `per`, the ones with the largest `by`.
    """

    id: int
    group: int
    fingerprint: str | None
    credits: float | None = 0.0
    measure: float | None = None
    parent: int | None = None
    among: bool = False
    per: str | int | float | None = None
    by: int | float | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """What a walk found, in numbers. `credits` are those of the selected items that tell; `untold` do not."""

    in_scope: int
    selected: int
    credits: float = 0.0
    untold: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """What becomes of a refused chunk: some items `failed`, each with its own words, `parts` go out again.

    What is in neither has failed with the chunk, of which `rest` is said.
    """

    failed: dict[int, str] = field(default_factory=dict)
    parts: tuple[tuple[int, ...], ...] = ()
    rest: str | None = None


ENDED = frozenset({"finished", "refused", "cancelled"})  # states of a job that nothing leads out of
Apart = dict[int, tuple[ItemFate, str | None]]  # items that differ from their chunk: their fate, and what is said of it


class StaleAttemptError(Exception):
    """Somebody else has begun a newer attempt of this chunk; this outcome must not overwrite it."""


class Ledger(Protocol):
    """What dispatch needs. `begin` and `record` return when what they say is durable."""

    async def begin(self, chunk: Chunk, at: float) -> int:
        """Write the intent to send `chunk`; the answer is a token. Raises StaleAttemptError."""

    async def record(self, token: int, chunk: Chunk, outcome: Outcome, fate: ItemFate, at: float) -> None:
        """Write what became of an attempt and of its chunk. Raises StaleAttemptError."""

    async def narrow(self, token: int, chunk: Chunk, outcome: Outcome, cut: Cut, at: float) -> Sequence[Chunk]:
        """Write that an attempt was refused and what becomes of its chunk, at once; the parts. Raises StaleAttemptError."""

    async def close(self, chunk: Chunk, fate: ItemFate, said: str) -> None:
        """End a chunk that is not sent after all. Raises StaleAttemptError."""

    async def pending(self, after: int, last: int, limit: int) -> Sequence[Chunk]:
        """The next chunks beyond `after`, up to `last`, that are to be sent."""

    async def unsettled(self, first: int, last: int) -> Sequence[Unsettled]:
        """The chunks from `first` to `last` whose latest attempt has no known fate."""

    async def settle(self, chunk: Chunk, fate: ItemFate, error: str | None, apart: Apart) -> None:
        """Write what reading back showed: `fate` for the chunk, and for items that differ from it, their own."""
