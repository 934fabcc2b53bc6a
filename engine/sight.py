"""Where a row lies in a list that moves: a guess that every page on the way there corrects."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import neg


def pitch(ids: Sequence[int]) -> float:
    """How far the ids of neighbouring rows are apart on this page, on average."""
    return max(1.0, (ids[0] - ids[-1]) / max(1, len(ids) - 1))


class Sight:
    """The row where `target`, an id, is or would be.

    Rows are in a measure of the caller's that foresees how the list moves; `unit` is what one row is in it.
    """

    def __init__(self, target: float, row: float, limit: float | None = None) -> None:
        """`limit`, in rows: how far the first correction may go; each further one may go four times as far."""
        self.target, self.row = target, row
        self._above: float | None = None  # a row that was seen to lie above the target
        self._below: float | None = None
        self._limit, self._reach = limit, limit
        self._misses = 0

    def learn(self, start: float, ids: Sequence[int], unit: float) -> None:
        """Take note of a page that begins at row `start` and descends."""
        target, end = self.target, start + (len(ids) - 1) * unit
        if ids[0] >= target >= ids[-1]:
            self.row = start + (bisect_right(ids, -target, key=neg) - 1) * unit  # of rows with one id, the last
            self._above = self._below = None
            self._reach, self._misses = self._limit, 0
            return
        self._misses += 1
        if target < ids[-1]:
            self._above = end
            self.row = end + self._step((ids[-1] - target) / pitch(ids)) * unit
        else:
            self._below = start
            self.row = start - self._step((target - ids[0]) / pitch(ids)) * unit
        self._bisect()

    def _step(self, rows: float) -> float:
        """How many rows to go where `rows` would be right if the ids were even."""
        if self._reach is not None:
            rows = min(rows, self._reach)
            self._reach *= 4
        return max(1.0, rows)

    def _bisect(self) -> None:
        """Between two rows seen: what the ids suggest, and half-way, by turns; ids may be anything but even."""
        if self._above is None or self._below is None:
            return
        if self._above >= self._below:  # seen at different times: the list has moved since
            self._above = self._below = None
        elif self._misses % 2 == 0 or not self._above < self.row < self._below:
            self.row = (self._above + self._below) / 2
