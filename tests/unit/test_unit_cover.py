"""The certified walk's bookkeeping, driven by every schedule of a moving list that Hypothesis can think of."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.cover import MIN_WIDTH, Coverage, Window, aim, overlap, windows

ROUNDS = 40


@dataclass
class Table:
    """A list of descending ids behind DRF's paginator: COUNT and SELECT are two moments, the slice is cut at the count."""

    ids: list[int]
    largest: int  # the server's maximum page size
    top: int = 0
    always: set[int] = field(default_factory=set)
    ever: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.top = max(self.ids, default=0)
        self.always, self.ever = set(self.ids), set(self.ids)

    def insert(self) -> None:
        """A new row at the head."""
        self.top += 3
        self.ids.insert(0, self.top)
        self.ever.add(self.top)

    def delete(self, where: float) -> None:
        """A row anywhere: 0 is the head, 1 the end."""
        if self.ids:
            self.always.discard(self.ids.pop(min(int(where * len(self.ids)), len(self.ids) - 1)))

    def change(self, code: int) -> None:
        """One change, by number."""
        if code % 3:
            self.delete((code % 100) / 99)
        else:
            self.insert()


@dataclass
class Request:
    """A page on its way: asked for, then counted, then read."""

    window: Window
    asked: int  # how many answers there were when it was asked for
    counted: int | None = None
    more: bool = False
    top: int = 0  # the head's id when the list was counted


class Walk:
    """The walk as `engine.walk` does it, without a network: `step` moves one of the requests in flight on by a query."""

    def __init__(self, table: Table, in_flight: int) -> None:
        self.table, self.width = table, 100
        self.coverage = Coverage()
        self.seen: set[int] = set()
        self.rounds = self.pages = 0
        self.racers: set[int] = set()  # rows inserted between COUNT and SELECT of a last page, which pushed others out
        self.verdict: str | None = None
        self.flying: list[Request] = []
        self._slots = in_flight
        self._queue: Iterator[Window] = iter([Window(1, 100)])
        self._first = True
        self._refill()

    def step(self, which: int = 0) -> None:
        """One query of one request in flight."""
        request = self.flying[which % len(self.flying)]
        size = min(request.window.size, self.table.largest)
        start = (request.window.page - 1) * size
        if request.counted is None:
            request.counted, request.top = len(self.table.ids), self.table.top
            pages = max(1, -(-request.counted // size))
            request.more = request.window.page < pages
            if request.window.page <= pages:
                return
            self.coverage.miss(request.window)
        else:
            stop = min(start + size, request.counted)
            self._take(request, self.table.ids[start:stop])
            if not request.more and len(self.table.ids) > request.counted:
                self.racers.update(row for row in self.table.ids if row > request.top)
        self.flying.remove(request)
        self._refill()

    def _take(self, request: Request, ids: list[int]) -> None:
        window = request.window
        assert request.counted is not None
        self.seen.update(ids)
        if request.more and 0 < len(ids) < window.size:
            self.width = min(self.width, len(ids))
            window = Window(window.page, len(ids))
        self.coverage.add(window, ids, request.counted, more=request.more, asked=request.asked)

    def _refill(self) -> None:
        while self.verdict is None and len(self.flying) < self._slots:
            window = next(self._queue, None)
            if window is not None:
                self.pages += 1
                self.flying.append(Request(window, self.coverage.answers))
            elif self.flying:
                return
            else:
                self._next_round()

    def _next_round(self) -> None:
        if self.width < MIN_WIDTH:
            self.verdict = "small"
        elif self._first:
            self._first = False
            self._queue = windows(self.coverage.count, self.width, row=self.width)
        elif self.coverage.complete:
            self.verdict = "complete"
        elif not self.coverage.ordered:
            self.verdict = "unordered"
        elif self.rounds == ROUNDS:
            self.verdict = "too fast"
        else:
            self.rounds += 1
            self._queue = iter(self.coverage.gaps(self.width))


def descending(size: int) -> list[int]:
    """Ids with room between them."""
    return [7 * number for number in range(size, 0, -1)]


def drive(table: Table, in_flight: int, schedule: list[int]) -> Walk:
    """Walk while the schedule lasts, then to the end on a quiet list."""
    walk = Walk(table, in_flight)
    codes = deque(schedule)
    while walk.verdict is None:
        code = codes.popleft() if codes else 0
        if code < 0:
            table.change(-code)
        else:
            walk.step(code)
    return walk


def assert_certain(walk: Walk) -> None:
    """What “complete” promises, and that nothing was invented.

    One exception is known: two inserts that race with the two reads of the end, each of them between COUNT and SELECT,
    while something is deleted in between, look to any client like a list that is one row shorter.
    """
    assert walk.seen <= walk.table.ever
    if walk.verdict == "complete" and len(walk.racers) < 2:
        assert walk.table.always <= walk.seen


@settings(max_examples=1000)
@given(
    size=st.integers(0, 120),
    largest=st.integers(11, 30),
    in_flight=st.integers(1, 4),
    schedule=st.lists(st.one_of(st.integers(0, 7), st.integers(-99, -1)), max_size=150),
)
def test_a_walk_that_says_complete_has_seen_whatever_was_there_throughout(
    size: int, largest: int, in_flight: int, schedule: list[int]
) -> None:
    """Rows come at the head and go anywhere between any two queries, and still nothing that stayed is missed."""
    assert_certain(drive(Table(descending(size), largest), in_flight, schedule))


@settings(max_examples=2000)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(0, 90),
    largest=st.integers(11, 16),
    in_flight=st.integers(1, 8),
    churn=st.floats(0, 0.5),
    inserts=st.floats(0, 1),
)
def test_a_storm_of_inserts_and_deletes_makes_no_walk_lie(
    seed: int, size: int, largest: int, in_flight: int, churn: float, inserts: float
) -> None:
    """The same with longer schedules of dice: light churn, heavy churn, deletions alone, inserts alone."""
    dice = Random(seed)
    schedule = [
        (-3 if dice.random() < inserts else -dice.randrange(33) * 3 - 1) if dice.random() < churn else dice.randrange(8)
        for _ in range(200)
    ]
    assert_certain(drive(Table(descending(size), largest), in_flight, schedule))


def test_one_insert_cannot_hide_the_last_row_from_two_reads_in_flight_at_once() -> None:
    """Two reads of the end that were under way together are one witness: the same insert pushed the row out of both."""
    table = Table(descending(27), 14)
    walk = Walk(table, 2)
    walk.step()
    walk.step()  # the first page: 27 rows, 14 at most in a page; now pages 2 of 13 and 3 of 12 are asked for
    table.delete(0.79)
    walk.step(0)
    walk.step(1)  # both are counted: 26 rows, so each of them is the last page
    table.insert()
    while walk.verdict is None:
        walk.step()
    assert walk.verdict != "complete" or table.always <= walk.seen


@given(size=st.integers(0, 3000), largest=st.integers(13, 100), in_flight=st.integers(1, 16))
def test_a_quiet_list_is_proven_complete(size: int, largest: int, in_flight: int) -> None:
    """Where nothing changes, the walk ends with a proof, whatever the page size."""
    walk = drive(Table(descending(size), largest), in_flight, [])
    assert walk.verdict == "complete"
    assert walk.seen == walk.table.ever


@pytest.mark.parametrize("largest", [100, 90, 75])
@pytest.mark.parametrize("pages", [20, 33, 80])
def test_a_quiet_list_costs_little_more_than_its_pages(largest: int, pages: int) -> None:
    """At most a quarter more requests than pages, and three: what the overlap and the second look at the end cost."""
    walk = drive(Table(descending(pages * largest), largest), 8, [])
    assert walk.pages <= 1.25 * pages + 3


@pytest.mark.parametrize("largest", [13, 20, 35, 50, 60])
def test_small_pages_cost_at_most_half_as_much_again(largest: int) -> None:
    """The smaller the page, the coarser the choice of windows."""
    walk = drive(Table(descending(40 * largest), largest), 8, [])
    assert walk.pages <= 1.6 * 40 + 3


@given(width=st.integers(MIN_WIDTH, 100), row=st.integers(0, 2_000_000))
@example(width=11, row=27_720)
@example(width=12, row=27_720)
@example(width=15, row=360_360)
def test_every_window_overlaps_the_one_before_and_goes_on(width: int, row: int) -> None:
    """From any row on, the next window begins before it, shares rows with what is known, and ends beyond it."""
    window = next(windows(row + 1, width, row=row))
    assert window.end > row
    shared = max(0, row - overlap(width))
    assert window.start <= (shared if aim(shared, width).end > row else row)
    assert width // 2 <= window.size <= width


@pytest.mark.parametrize("width", [11, 12])
def test_windows_of_the_smallest_pages_reach_the_end_of_a_long_list(width: int) -> None:
    """The lazily made windows of a list of 30,000 rows come to an end."""
    assert sum(1 for _ in islice(windows(30_000, width, row=width), 30_000)) < 30_000


@given(width=st.integers(MIN_WIDTH, 100), row=st.integers(-5, 10_000))
def test_a_window_is_aimed_so_that_it_holds_its_row(width: int, row: int) -> None:
    """Only whole multiples of a size can be asked for, and the row is always inside."""
    window = aim(row, width)
    assert window.start <= max(0, row) < window.end
    assert window.page >= 1


def test_rows_that_rise_are_never_called_complete() -> None:
    """Where ids do not descend a page certifies nothing between its ends."""
    coverage = Coverage()
    coverage.add(Window(1, 100), [3, 5, 1], 3, more=False)
    coverage.add(Window(1, 100), [3, 5, 1], 3, more=False)
    assert not coverage.complete


def test_duplicate_rows_do_no_harm() -> None:
    """The `scenarios` filter returns a result several times; equal neighbours descend well enough."""
    coverage = Coverage()
    coverage.add(Window(1, 100), [5, 5, 5, 3, 3], 5, more=False)
    assert not coverage.complete
    coverage.add(Window(1, 100), [5, 5, 5, 3, 3], 5, more=False)
    assert coverage.complete


def test_a_last_page_shorter_than_counted_shows_the_end() -> None:
    """A row deleted between COUNT and SELECT leaves the slice short: nothing was cut off."""
    coverage = Coverage()
    coverage.add(Window(1, 100), [9, 8], 3, more=False)
    assert coverage.complete


def test_a_last_page_as_long_as_counted_is_read_again() -> None:
    """A row inserted between COUNT and SELECT pushes the last one out, so one read proves nothing."""
    coverage = Coverage()
    coverage.add(Window(1, 100), [9, 8], 2, more=False)
    assert not coverage.complete
    assert coverage.gaps(100)


def test_an_empty_list_is_complete_only_if_it_was_counted_empty() -> None:
    """No rows with a count above zero proves nothing."""
    coverage = Coverage()
    coverage.add(Window(2, 100), [], 150, more=False)
    assert not coverage.complete
    coverage.add(Window(1, 100), [], 0, more=False)
    assert coverage.complete


def test_pages_that_do_not_overlap_leave_a_gap_that_is_asked_for() -> None:
    """Between two pages that share no row there may have been another."""
    coverage = Coverage()
    coverage.add(Window(1, 20), list(range(200, 180, -1)), 60, more=True)
    coverage.add(Window(3, 20), list(range(179, 159, -1)), 60, more=False)  # was there a 180?
    coverage.add(Window(3, 20), list(range(179, 159, -1)), 60, more=False)
    assert not coverage.complete
    (gap,) = coverage.gaps(20)
    assert gap.start <= 19 < gap.end
