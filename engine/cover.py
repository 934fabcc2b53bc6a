"""Which part of a list has certainly been seen: pure bookkeeping over pages of descending ids.

A list read by page number loses rows when something is inserted or deleted meanwhile. But one page is one slice of the
list at one moment: if its ids descend, no item that existed then lies between its first and its last id without being
on it. So a page certifies the closed interval [last id, first id]. Windows that overlap by a few rows certify intervals
that overlap too, unless the list moved by more; then a gap is left, and asked for again. An item that existed throughout
has its id in some certified interval, and that page held it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import NamedTuple

MIN_WIDTH = 11  # below it, windows cannot overlap and still advance
MAX_OVERLAP = 5


class Window(NamedTuple):
    """What is asked for: page `page`, from 1, of `size` rows."""

    page: int
    size: int

    @property
    def start(self) -> int:
        """Its first row, from 0."""
        return (self.page - 1) * self.size

    @property
    def end(self) -> int:
        """The row behind its last."""
        return self.page * self.size


def aim(row: int, width: int) -> Window:
    """The window that holds `row` and reaches furthest beyond it, of `width` rows at most.

    Only whole multiples of a page size can be asked for, so the size is varied between half the width and the width.
    """
    row = max(0, row)
    return max(
        (Window(row // size + 1, size) for size in range(max(1, width // 2), width + 1)),
        key=lambda window: (window.end, window.size),
    )


def overlap(width: int) -> int:
    """How many rows neighbouring windows share."""
    return min(MAX_OVERLAP, width // 10)


def windows(count: int, width: int, row: int = 0) -> Iterator[Window]:
    """Overlapping windows from `row` to the end of a list of `count` rows.

    Where every size divides the row (27,720 for sizes up to 12) no window reaches beyond it: the next one begins there.
    """
    while row < count:
        window = aim(row - overlap(width), width)
        if window.end <= row:
            window = aim(row, width)
        yield window
        row = window.end


@dataclass(slots=True)
class _Interval:
    """Certified ids, both ends included. `low_row` is where its lowest id was seen last."""

    low: float
    high: float
    low_row: int


class Coverage:
    """The certified intervals of one walk."""

    def __init__(self) -> None:
        """Nothing is certified yet."""
        self.ordered = True  # no page had ids that rise
        self.count = 0  # rows of the list, by the latest page
        self._intervals: list[_Interval] = []  # from the highest ids down, disjoint
        self.answers = 0  # pages taken note of
        self._tail: tuple[float, int, int] | None = None  # last id and count of a last page, and `answers` then

    @property
    def complete(self) -> bool:
        """Whether every id there could be lies in a certified interval."""
        only = self._intervals[0] if len(self._intervals) == 1 else None
        return self.ordered and only is not None and only.low == -inf and only.high == inf

    def add(self, window: Window, ids: Sequence[int], count: int, *, more: bool, asked: int | None = None) -> None:
        """Take note of a page: the ids it held, in its order, and what it said of the list.

        `asked` is what `answers` was when it was asked for; without it, it was asked for after every earlier answer.
        """
        asked = self.answers if asked is None else asked
        self.answers += 1
        self.count = count
        self.ordered = self.ordered and all(upper >= lower for upper, lower in pairwise(ids))
        if not ids:
            if count == 0:  # whatever existed throughout would have been counted
                self._merge(_Interval(-inf, inf, 0))
            return
        ends = not more and self._ends(window.start + len(ids), ids[-1], count, asked)
        page = _Interval(-inf if ends else ids[-1], inf if window.start == 0 else ids[0], window.start + len(ids) - 1)
        self._correct(window, page)
        self._merge(page)

    def miss(self, window: Window) -> None:
        """Take note that the list ends before this window (“Invalid page.”)."""
        self.count = min(self.count, window.start)

    def gaps(self, width: int) -> list[Window]:
        """One window for each gap, aimed at where the interval above it ended when last seen."""
        if not self._intervals or self._intervals[0].high != inf:
            return [Window(1, width)]
        open_ended = [interval for interval in self._intervals if interval.low != -inf]
        for interval in open_ended:
            interval.low_row = min(interval.low_row, max(0, self.count - 1))
        return [aim(interval.low_row - overlap(width) + 1, width) for interval in open_ended]

    def _ends(self, end: int, last: int, count: int, asked: int) -> bool:
        """Whether a last page shows the end of the list.

        COUNT and SELECT are two queries: a row inserted between them pushes the last one out of the page. So it must
        have fewer rows than were counted, or be read twice with the same end and the same count; and the second read
        asked for after the first was answered, or one insertion could fool both.
        """
        first = self._tail
        if end < count or (first and first[:2] == (last, count) and asked >= first[2]):
            return True
        self._tail = (last, count, self.answers)
        return False

    def _correct(self, window: Window, page: _Interval) -> None:
        """Learn from a page that missed the gap it was aimed at, because the list had moved."""
        for interval in self._intervals:
            if interval.low == -inf or not window.start <= interval.low_row < window.end:
                continue
            if page.high < interval.low:  # rows moved up: something above was deleted
                interval.low_row = max(0, window.start - window.size // 2)
            elif page.low > interval.low:  # rows moved down: something above was inserted
                interval.low_row = window.end

    def _merge(self, new: _Interval) -> None:
        apart = []
        for old in self._intervals:
            if old.low > new.high or old.high < new.low:
                apart.append(old)
                continue
            low_row = old.low_row if old.low < new.low else new.low_row
            new = _Interval(min(old.low, new.low), max(old.high, new.high), low_row)
        self._intervals = sorted([*apart, new], key=lambda interval: -interval.high)
