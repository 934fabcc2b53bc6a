"""Which part of a list has certainly been seen: pure bookkeeping over pages of descending ids.

A list read by page number loses rows when something is inserted or deleted meanwhile. But one page is one slice of the
list at one moment: if its ids descend, no item that existed then lies between its first and its last id without being
on it. So a page certifies the closed interval [last id, first id]. Windows that overlap by a few rows certify intervals
that overlap too, unless the list moved by more; then a gap is left, and asked for again. An item that existed throughout
has its id in some certified interval, and that page held it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import ceil, inf
from operator import ge, neg
from typing import NamedTuple

from .sight import Sight, pitch
from .tail import Ending
from .windows import HEAD, Window, aim, follow, last, overlap

CAREFUL = 50  # rows that the first guess at where a gap went may go: what moved it is small, mostly
FIRST_ROUND = 8  # windows of a span that are asked for before its density is known
EARLY = 3  # looks that show the end of a list that stands still
STILL = 8  # answers after which a list counts as one that stands still, if nothing was seen to change
FAR = 16  # windows; where the end is nearer, it is not worth while to look there before


class Span(NamedTuple):
    """The ids from `low` to `high`, both included, and a guess of the row, from 0, where they begin."""

    low: float
    high: float
    near_row: int


EVERYTHING = Span(-inf, inf, 0)


@dataclass(slots=True)
class _Interval:
    """Certified ids, both ends included, and where the lowest of them lies."""

    low: float
    high: float
    bottom: Sight
    tries: int = 0  # how often a gap below it was asked for


class Coverage:
    """The certified intervals of one walk over a span of ids.

    How rows are kept foresees how the list will have moved. In a walk over everything they are shares of its count, as if
    what comes and goes did so everywhere. In a walk over a span they are counted from the end, since what moves the list
    then is mostly our own deleting above the span.
    """

    def __init__(self, span: Span = EVERYTHING) -> None:
        """Nothing is certified yet."""
        self.ordered = True  # no page had ids that rise
        self.count = 0  # rows of the list, by the latest page
        self.answers = 0  # pages taken note of
        self.again = 0  # windows wanted to find the span, to close gaps and to be certain of the end
        self.merged = 0  # pages whose interval was certified
        self.ending = Ending()
        self._span = span
        self._intervals: list[_Interval] = []  # from the highest ids down, disjoint
        self._top: Sight | None = None  # where the span begins
        self._end: float | None = None  # the row behind the span's last, once it was seen
        self._pitch = 1.0
        self._lost = False  # a window was behind the end, so the count is wrong
        self._looked = 0  # looks at the end, or alone at the head, that were answered

    @property
    def complete(self) -> bool:
        """Whether every id of the span lies in a certified interval."""
        only = self._intervals[0] if len(self._intervals) == 1 else None
        return self.ordered and only is not None and only.low == -inf and only.high == inf

    @property
    def lacks_the_end(self) -> bool:
        """Whether all is certified down to some row, and what is missing is what lies below it, if anything does."""
        return len(self._intervals) == 1 and self._found and not self.complete

    @property
    def doubt(self) -> str:
        """Why it is not complete."""
        if self.lacks_the_end and self.ending.moving:
            return "new rows kept coming while its end was looked at"
        return "gaps stayed open: the list changes too fast, or its pages are too small"

    @property
    def row(self) -> int:
        """The row where the span ended; that of the list's end in a walk over everything."""
        return self.count if self._end is None else min(self.count, self._now(self._end))

    def add(self, window: Window, ids: Sequence[int], count: int, *, more: bool, asked: int | None = None) -> None:
        """Take note of a page: the ids it held, in its order, and what it said of the list.

        `asked` is what `answers` was when it was asked for; without it, it was asked for after every earlier answer.
        """
        asked = self.answers if asked is None else asked
        self.answers += 1
        self.count = count
        if not ids:
            self._lost = window.start > 0
            if window.start == 0:  # whatever existed throughout would have been there
                self._merge(-inf, inf, 0)
            return
        if not self._in_order(ids):
            return
        self.merged += 1
        self._looked += not more or window == HEAD
        self._look(window, ids)
        self._certify(ids[-1], inf if window.start == 0 else ids[0], window.start + len(ids) - 1)
        self.ending.note(window.start, ids, count, more=more, asked=asked, answered=self.answers)
        if self.ending.last is not None:
            self._certify(-inf, self.ending.last, count - 1)

    def miss(self, window: Window) -> None:
        """Take note that the list ends before this window (“Invalid page.”)."""
        self.count = min(self.count, window.start)
        self._lost = True

    def wanted(self, width: int) -> Iterator[Window]:
        """What to ask for next, aimed anew at each step by what was answered meanwhile; nothing if it is complete."""
        if self._lost:
            self._lost = False
            yield self._again(HEAD)
        elif not self._found:
            yield self._again(self._seek(width))
        else:
            yield from self._fill(width)

    def _in_order(self, ids: Sequence[int]) -> bool:
        self.ordered = self.ordered and all(map(ge, ids, ids[1:]))
        return self.ordered

    def _look(self, window: Window, ids: Sequence[int]) -> None:
        """Correct what was thought of the places of rows."""
        start, low, unit = self._lasting(window.start), self._span.low, self._unit
        if len(ids) > 1:
            self._pitch = pitch(ids)
        for interval in self._intervals:
            if interval.low != -inf and window.start <= self._held(interval.bottom.row) < window.end:
                interval.bottom.learn(start, ids, unit)
        if self._top is None:
            self._top = Sight(self._span.high, self._lasting(self._span.near_row))
        elif window != HEAD and not self._found:
            self._top.learn(start, ids, unit)
        if ids[-1] <= low and (ids[0] >= low or window.start == 0):
            self._end = start + bisect_right(ids, -low, key=neg) * unit

    def _certify(self, low: float, high: float, end_row: int) -> None:
        """Certify the part of [low, high] that lies in the span; beyond the span everything counts as certified."""
        if low > self._span.high or high < self._span.low:
            return
        self._merge(low if low > self._span.low else -inf, high if high < self._span.high else inf, end_row)

    def _merge(self, low: float, high: float, end_row: int) -> None:
        new, apart = _Interval(low, high, Sight(low, self._lasting(end_row), CAREFUL)), []
        for old in self._intervals:
            if old.low > new.high or old.high < new.low:
                apart.append(old)
                continue
            lower = old if old.low <= new.low else new
            new = _Interval(lower.low, max(old.high, new.high), lower.bottom, max(old.tries, new.tries))
        self._intervals = sorted([*apart, new], key=lambda interval: -interval.high)

    def _seek(self, width: int) -> Window:
        """A window where the span may begin."""
        row = self._top.row if self._top else 0
        return self._finish(width) if self._now(row) >= self.count else aim(self._now(row) - width // 4, width)

    def _finish(self, width: int) -> Window:
        """The next look that may show the end of the list."""
        return HEAD if self.ending.wants_head else last(self.count, width)

    def _fill(self, width: int) -> Iterator[Window]:
        intervals, at_end = self._intervals, False
        for upper, lower in zip_longest(intervals, intervals[1:]):
            if upper.low == -inf:
                continue
            upper.tries += 1
            below = self._now(upper.bottom.row) + 1 < self.count
            if lower is not None:
                yield from map(self._again, self._close(upper, lower, width))
            elif below:
                windows = self._descend(upper, width, self._remaining(upper, width))
                yield from self._with_the_end(windows, width) if self._whole else windows
            at_end = at_end or not below
        if at_end:  # above a gap, too: the rows below it may be gone since they were seen, and then no page spans it
            yield self._again(self._finish(width))

    def _with_the_end(self, windows: Iterable[Window], width: int) -> Iterator[Window]:
        """Look at the end meanwhile: one such look has to wait for the other, and later nothing else would be under way."""
        early, awaited = 0, self._looked
        for window in windows:
            still = self.answers > STILL and self.ending.still and self.ending.last is None
            far = window.end + FAR * width < self.count
            if still and far and early < EARLY and self._looked >= awaited:
                early, awaited = early + 1, self._looked + 1
                yield self._again(self._finish(width))
            yield window

    def _close(self, upper: _Interval, lower: _Interval, width: int) -> Iterator[Window]:
        """What may close a gap: a window with the gap in its middle, as the list moves on until it is read; or several.

        Where pages are small no window may reach over the gap from so far above it: each try begins nearer to it.
        """
        rows = (upper.low - lower.high) / self._pitch
        if rows < width:
            above = max(overlap(width), int(width - rows) // 2 // upper.tries)
            yield aim(self._held(upper.bottom.row) - above, width)
        else:
            yield from self._descend(upper, width, self._estimate(upper.low - lower.high, width, upper.tries))

    def _remaining(self, upper: _Interval, width: int) -> float:
        """How many windows are worth asking for below the lowest interval: up to the end of the list, or of the span."""
        if self._span.low == -inf:
            return inf
        return self._estimate(upper.low - self._span.low, width, upper.tries, FIRST_ROUND)

    def _estimate(self, ids: float, width: int, tries: int, first: int = 1) -> float:
        """How many windows so many ids may fill: a guess, so few at first, and more if they were not enough."""
        return min(ceil(ids / self._pitch / width), first << 2 * (tries - 1))

    def _descend(self, upper: _Interval, width: int, windows: float) -> Iterator[Window]:
        begin = self._now(upper.bottom.row) + 1
        while windows > 0 and begin < self.count and not self._beyond(begin):
            window = follow(begin, width, 1 if self.ending.still else overlap(width))
            kept = self._lasting(window.end)
            yield window
            begin = min(window.end, self._now(kept)) if self._whole else self._now(kept)
            windows -= 1

    def _beyond(self, row: int) -> bool:
        """Whether a row is known to lie below the span."""
        return self._end is not None and row >= self._now(self._end)

    def _again(self, window: Window) -> Window:
        self.again += 1
        return window

    def _lasting(self, row: float) -> float:
        """A row of the present list, as it is kept."""
        return row * self._unit if self._whole else row - self.count

    def _now(self, row: float) -> int:
        """A row that was kept, as it is in the present list."""
        return max(0, round(row / self._unit if self._whole else row + self.count))

    def _held(self, row: float) -> int:
        """The same, for a row that the list cannot have lost."""
        return max(0, min(self._now(row), self.count - 1))

    @property
    def _unit(self) -> float:
        """One row, as rows are kept."""
        return 1 / max(1, self.count) if self._whole else 1.0

    @property
    def _found(self) -> bool:
        """Whether it was seen where the span begins."""
        return bool(self._intervals) and self._intervals[0].high == inf

    @property
    def _whole(self) -> bool:
        return self._span.low == -inf and self._span.high == inf
