"""Which pages to ask for so that neighbours overlap: pure geometry of page numbers and page sizes."""

from __future__ import annotations

from typing import NamedTuple

MIN_WIDTH = 11  # below it, windows cannot overlap and still advance
MAX_OVERLAP = 3
_ROWS_A_SHARED_ROW = 25


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


HEAD = Window(1, 1)  # the cheapest look at the newest row, and at the count


def aim(row: int, width: int) -> Window:
    """The window that holds `row` and reaches furthest beyond it, of `width` rows at most.

    Only whole multiples of a page size can be asked for, so the size is varied between half the width and the width.
    """
    row = max(0, row)
    _, size = max([(size - row % size, size) for size in range(max(1, width // 2), width + 1)])
    return Window(row // size + 1, size)


def overlap(width: int) -> int:
    """How many rows neighbouring windows of a list that moves share at least; on average it is a few more.

    Each shared row is paid for in every window, and a list that moves by more costs one window, where it moved.
    """
    return max(1, min(MAX_OVERLAP, width // _ROWS_A_SHARED_ROW))


def follow(row: int, width: int, shared: int) -> Window:
    """The window that goes on from `row`, and shares at least so many rows with what is before it.

    To take the one that reaches furthest is best: whatever can follow a window can follow one that reaches further.
    Where every size divides the row (27,720 for sizes up to 12) no window reaches beyond it: the next one begins there.
    """
    window = aim(row - shared, width)
    return window if window.end > row else aim(row, width)


def last(count: int, width: int) -> Window:
    """A window that holds the end of a list of `count` rows and reaches beyond it."""
    return Window(1, width) if count <= width else aim(count - 1 - overlap(width), width)
