"""The figures of one section of the torture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self


@dataclass
class Tally:
    """How many trials, and what was wrong in them; each of the wrong ones with a command that replays it."""

    trials: int = 0
    lost: int = 0
    doubled: int = 0
    corrupt: int = 0
    held: int = 0
    replays: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing was wrong. What is held was told to a person: it is neither lost nor doubled."""
        return not (self.lost or self.doubled or self.corrupt or self.replays)

    def __iadd__(self, other: Self) -> Self:
        self.trials += other.trials
        self.lost += other.lost
        self.doubled += other.doubled
        self.corrupt += other.corrupt
        self.held += other.held
        self.replays += other.replays
        return self
