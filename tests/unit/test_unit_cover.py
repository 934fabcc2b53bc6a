"""The certified walk's bookkeeping: windows that overlap, intervals that merge, what shows the end, where a span begins."""

from __future__ import annotations

from itertools import islice, pairwise
from math import inf

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.cover import Coverage, Span
from engine.sight import Sight
from engine.windows import HEAD, MAX_OVERLAP, MIN_WIDTH, Window, aim, follow, last, overlap


def chain(count: int, width: int) -> int:
    """How many windows a list of `count` rows takes."""
    row = windows = 0
    while row < count:
        row = follow(row, width, overlap(width)).end if row else width
        windows += 1
    return windows


@given(width=st.integers(MIN_WIDTH, 100), row=st.integers(1, 2_000_000), shared=st.integers(1, MAX_OVERLAP))
@example(width=11, row=27_720, shared=1)
@example(width=12, row=27_720, shared=1)
@example(width=15, row=360_360, shared=1)
def test_every_window_overlaps_the_one_before_and_goes_on(width: int, row: int, shared: int) -> None:
    """From any row on, the next window begins before it, shares rows with what is known, and ends beyond it."""
    window = follow(row, width, shared)
    first = max(0, row - shared)
    assert window.end > row
    assert window.start <= (first if aim(first, width).end > row else row)
    assert width // 2 <= window.size <= width


@given(width=st.integers(MIN_WIDTH, 100), row=st.integers(1, 100_000), shared=st.integers(1, MAX_OVERLAP))
def test_no_window_that_overlaps_reaches_further(width: int, row: int, shared: int) -> None:
    """What can follow a window can follow one that reaches further, so the furthest is the best: a chain cannot be shorter."""
    first = max(0, row - shared)
    assert follow(row, width, shared).end >= max(Window(first // size + 1, size).end for size in range(1, width + 1))


@pytest.mark.parametrize("width", range(55, 101, 5))
def test_windows_of_a_service_that_clamps_a_little_cost_a_quarter_more_at_most(width: int) -> None:
    """The overlap, and that only multiples of a size can be asked for."""
    assert chain(100_000, width) <= 1.25 * 100_000 / width


@pytest.mark.parametrize("width", [11, 12])
def test_windows_of_the_smallest_pages_reach_the_end_of_a_long_list(width: int) -> None:
    """Where every size divides the row no window reaches beyond it, and the chain goes on all the same."""
    assert chain(30_000, width) < 30_000


@given(width=st.integers(MIN_WIDTH, 100), row=st.integers(-5, 10_000))
def test_a_window_is_aimed_so_that_it_holds_its_row(width: int, row: int) -> None:
    """Only whole multiples of a size can be asked for, and the row is always inside."""
    window = aim(row, width)
    assert window.start <= max(0, row) < window.end
    assert window.page >= 1


@given(width=st.integers(MIN_WIDTH, 100), count=st.integers(1, 10_000))
def test_the_last_window_holds_the_last_row(width: int, count: int) -> None:
    """The page that is asked for to see the end."""
    window = last(count, width)
    assert window.start < count <= window.end


def test_windows_share_one_row_until_the_list_is_seen_to_move() -> None:
    """What is shared is paid for in every window; a list that moves by more than is shared leaves a gap to be asked for."""
    rows, coverage = range(10_000, 0, -1), Coverage()
    coverage.add(Window(1, 100), rows[:100], len(rows), more=True)
    windows = coverage.wanted(100)
    still = list(islice(windows, 40))
    coverage.add(still[0], rows[still[0].start : still[0].end], len(rows) + 1, more=True)
    moving = list(islice(windows, 40))
    assert all(lower == follow(upper.end, 100, 1) for upper, lower in pairwise(still))
    assert all(lower == follow(upper.end, 100, MAX_OVERLAP) for upper, lower in pairwise([still[-1], *moving]))
    assert any(follow(each.end, 100, 1) != follow(each.end, 100, MAX_OVERLAP) for each in [*still, *moving])


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
    assert list(coverage.wanted(100)) == [Window(1, 100)]


def test_one_page_read_twice_with_a_new_row_proves_nothing() -> None:
    """Rows 9 to 1: 1 was cut off by 10, then 2 was deleted and 11 came in the same way. The second read has a new row."""
    coverage = Coverage()
    coverage.add(Window(1, 100), [10, 9, 3, 2], 4, more=False)
    coverage.add(Window(1, 100), [11, 10, 9, 3], 4, more=False)
    assert not coverage.complete


def test_an_empty_list_is_complete_only_if_its_head_was_looked_at() -> None:
    """No rows further down prove nothing."""
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
    assert not coverage.complete
    gap = next(iter(coverage.wanted(20)))
    assert gap.start <= 19 < gap.end


TOP, END = list(range(300, 200, -1)), list(range(201, 101, -1))


class Long:
    """A list of two pages, 300 to 102 with one row shared, of which the end must be seen."""

    def __init__(self) -> None:
        self.coverage = Coverage()
        self.coverage.add(Window(1, 100), TOP, 199, more=True)

    def end(self, ids: list[int] = END, count: int = 199, asked: int | None = None) -> None:
        """A look at the end; by default it holds as many rows as were counted."""
        self.coverage.add(Window(2, 99), ids[-(count - 99) :], count, more=False, asked=asked)

    def head(self, newest: int, asked: int | None = None) -> None:
        """A look at the head."""
        self.coverage.add(HEAD, [newest], 199, more=True, asked=asked)


def test_two_looks_at_the_end_between_equal_heads_show_it() -> None:
    """Nothing was inserted meanwhile, so nothing was cut off."""
    long = Long()
    long.end()
    long.end()
    assert not long.coverage.complete
    long.head(300)
    assert long.coverage.complete


def test_the_walk_asks_for_what_would_show_the_end() -> None:
    """The end once more, then the head."""
    long = Long()
    long.end()
    (window,) = long.coverage.wanted(100)
    assert window.start < 199 <= window.end
    long.end()
    assert list(long.coverage.wanted(100)) == [HEAD]


def test_two_equal_looks_at_the_end_prove_nothing_if_the_head_has_changed() -> None:
    """Each was raced by an insertion of its own, with a deletion in between: the last row was cut off twice."""
    long = Long()
    long.end()
    long.end()
    long.head(302)
    assert not long.coverage.complete


def test_one_look_between_equal_heads_is_not_enough() -> None:
    """The row that cut off the last one may have been deleted before the second look at the head."""
    long = Long()
    long.end()
    long.head(300)
    assert not long.coverage.complete


def test_a_list_that_was_seen_to_change_is_looked_at_a_third_time() -> None:
    """Rows that come and go unseen between two looks are likely only where rows come and go."""
    long = Long()
    long.coverage.add(HEAD, [300], 200, more=True)
    long.end()
    long.end()
    long.head(300)
    before = long.coverage.complete
    long.end()
    long.head(300)
    assert (before, long.coverage.complete) == (False, True)


def test_two_looks_that_were_under_way_together_count_once() -> None:
    """The same row may have cut off the last one in both."""
    long = Long()
    asked = long.coverage.answers
    long.end(asked=asked)
    long.end(asked=asked)
    long.head(300)
    assert not long.coverage.complete


def test_a_look_at_the_end_asked_for_before_the_head_was_seen_does_not_count() -> None:
    """Something may have been inserted between the two."""
    long = Long()
    long.head(301)
    asked = long.coverage.answers
    long.head(303)
    long.end(asked=asked)
    long.end()
    long.head(303)
    assert not long.coverage.complete


def test_a_look_at_the_end_answered_after_the_head_was_asked_for_does_not_count() -> None:
    """The head may have been read before it."""
    long = Long()
    long.end()
    asked = long.coverage.answers
    long.end()
    long.head(300, asked=asked)
    assert not long.coverage.complete


def test_more_rows_under_the_same_head_void_the_looks_before() -> None:
    """Something came that was not at the head, so the head tells nothing."""
    long = Long()
    long.end(count=198)
    long.end(count=199)
    long.end(count=199)
    long.head(300)
    assert not long.coverage.complete


SPAN = Span(401, 600, 0)


def page(first: int, number: int) -> list[int]:
    """So many ids down from `first`."""
    return list(range(first, first - number, -1))


def test_a_span_is_complete_once_its_ids_are_covered() -> None:
    """What lies above it and below it is not asked for."""
    coverage = Coverage(SPAN)
    coverage.add(Window(5, 100), page(610, 100), 1000, more=True)
    coverage.add(Window(6, 95), page(515, 95), 1000, more=True)
    before = coverage.complete
    coverage.add(Window(6, 100), page(421, 100), 1000, more=True)
    assert (before, coverage.complete) == (False, True)
    assert coverage.row == 521


def test_a_span_with_no_rows_is_complete_when_the_place_was_seen() -> None:
    """One page that reaches from above it to below it."""
    coverage = Coverage(SPAN)
    coverage.add(Window(5, 100), [*page(610, 5), *page(350, 95)], 1000, more=True)
    assert coverage.complete
    assert coverage.row == 405


def test_pages_above_and_below_a_span_do_not_make_it_complete() -> None:
    """Between them all of it may lie."""
    coverage = Coverage(SPAN)
    coverage.add(Window(4, 100), page(700, 100), 1000, more=True)
    coverage.add(Window(5, 100), page(400, 100), 1000, more=True)
    assert not coverage.complete


def test_a_span_below_the_end_of_the_list_is_complete_when_the_end_is_certain() -> None:
    """As certain as the end of a whole walk: one look does not do."""
    coverage = Coverage(Span(1, 50, 0))
    coverage.add(Window(1, 100), TOP, 199, more=True)
    coverage.add(Window(2, 99), END, 199, more=False)
    coverage.add(Window(2, 99), END, 199, more=False)
    before = coverage.complete
    coverage.add(HEAD, [300], 199, more=True)
    assert (before, coverage.complete) == (False, True)
    assert coverage.row == 199


@given(
    gaps=st.lists(st.integers(1, 10_000), min_size=1, max_size=600),
    place=st.floats(0, 1),
    guess=st.integers(-100, 900),
)
def test_a_row_is_found_in_a_dozen_pages_however_uneven_the_ids(gaps: list[int], place: float, guess: int) -> None:
    """What the ids suggest, and half-way, by turns."""
    ids = sorted((sum(gaps[: number + 1]) for number in range(len(gaps))), reverse=True)
    sight = Sight(ids[int(place * (len(ids) - 1))], guess)
    for _ in range(12):
        start = max(0, min(len(ids) - 1, round(sight.row)) - 2)
        rows = ids[start : start + 10]
        sight.learn(start, rows, 1)
        if sight.target in rows:
            break
    assert ids[round(sight.row)] == sight.target


def test_the_gap_below_the_last_page_of_a_list_that_lost_its_end_is_no_page_beyond_it() -> None:
    """After “Invalid page.” the count is not known: the head is asked, which tells it."""
    coverage = Coverage()
    coverage.add(Window(1, 100), TOP, 1000, more=True)
    coverage.miss(Window(9, 95))
    assert list(coverage.wanted(100)) == [HEAD]
    assert all(window.start < 760 for window in islice(coverage.wanted(100), 5))


def test_everything_is_a_span_without_ends() -> None:
    """A whole walk asks for the second page after the first."""
    coverage = Coverage(Span(-inf, inf, 0))
    coverage.add(Window(1, 100), TOP, 1000, more=True)
    window = next(iter(coverage.wanted(100)))
    assert window.start < 100 < window.end


@pytest.mark.parametrize("count", [5_000, 20_000])
def test_the_end_of_a_long_list_that_stands_still_is_proven_while_it_is_read(count: int) -> None:
    """One round, no look at the end after it: nothing else would be under way then."""
    coverage, ids = Coverage(), range(count, 0, -1)

    def answer(window: Window) -> None:
        coverage.add(window, ids[window.start : window.end], count, more=window.end < count)

    answer(Window(1, 100))
    for window in coverage.wanted(100):
        answer(window)
    assert coverage.complete
    assert coverage.again == 3


@pytest.mark.parametrize("lost", [50, 101, 1_500])
def test_a_list_that_loses_its_end_after_it_was_seen_is_complete_all_the_same(lost: int) -> None:
    """Rows that are gone left a gap below what is the end now: no page can hold both of its sides."""
    coverage, ids = Coverage(), list(range(6_000, 0, -1))

    def answer(window: Window) -> None:
        rows = ids[window.start : window.end]
        if rows:
            coverage.add(window, rows, len(ids), more=window.end < len(ids))
        else:
            coverage.miss(window)
        if coverage.ending.last == ids[-1] == 1:
            del ids[-lost:]

    answer(Window(1, 100))
    for _ in range(12):
        for window in coverage.wanted(100):
            answer(window)
    assert coverage.complete


@pytest.mark.parametrize("width", [MIN_WIDTH, 13, 15, 25, 100])
def test_a_gap_is_closed_wherever_it_lies_however_small_pages_are(width: int) -> None:
    """Of all the windows that hold a row well above it, none may reach over it: every page size divides some rows."""
    for row in range(width, 400):
        coverage, ids = Coverage(), range(2 * row, 0, -1)
        for half in (Window(1, row), Window(2, row)):
            coverage.add(half, ids[half.start : half.end], len(ids), more=half.end < len(ids))
        for _ in range(width):
            for window in coverage.wanted(width):
                coverage.add(window, ids[window.start : window.end], len(ids), more=window.end < len(ids))
        assert coverage.complete, row
