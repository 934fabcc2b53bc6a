"""Whether the end of a list was seen. What makes it hard: a page is two queries, COUNT and SELECT.

The slice is cut at what was counted, so a row inserted between the two pushes the last one out, and nothing in the page
tells. What tells:

- A page with fewer rows than were counted for it ran off the end of the list.
- A list that is one page: read again, and holding no row that is new, it had those rows when it was counted; if they are
  as many as were counted, there was no other.
- A look at the end between two looks at the head that show the same newest row: nothing was inserted meanwhile, since new
  rows come at the head. Unless it was deleted again before the second look: no reader of pages can tell that, as each
  of its queries would be answered alike without the hidden row. So two such looks are asked for, one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

NEEDED = 2  # looks at the end between equal heads


class _Look(NamedTuple):
    """A look at the end: the last id, the count, and how many answers there were when it was asked for and answered."""

    last: int
    count: int
    asked: int
    answered: int


class Ending:
    """The witnesses of the end of one list."""

    def __init__(self) -> None:
        self.last: int | None = None  # nothing that existed throughout is below this id; None as long as that is not known
        self.moving = False  # the head was seen to change
        self._head: tuple[int, int] | None = None  # the newest id, and `answers` when it had been seen first
        self._whole: tuple[Counter[int], int] | None = None  # the rows of a list that is one page, and `answers` then
        self._looks: list[_Look] = []  # since the head was seen first
        self._sure: list[_Look] = []  # between equal heads

    @property
    def wants_head(self) -> bool:
        """Whether the next look should be at the head; else it should be at the end."""
        enough = len(self._sure) + len(self._looks) >= NEEDED
        return self._head is None or (bool(self._looks) and (enough or self.moving))

    def note(self, start: int, ids: Sequence[int], count: int, *, more: bool, asked: int, answered: int) -> None:
        """Take note of a page with rows that begins at row `start`."""
        if not more:
            self._note_end(start, ids, count, asked, answered)
        if start == 0:
            self._note_head(ids[0], asked, answered)

    def _note_end(self, start: int, ids: Sequence[int], count: int, asked: int, answered: int) -> None:
        look = _Look(ids[-1], count, asked, answered)
        if start + len(ids) < count:
            self.last = look.last
        if start == 0:
            rows = Counter(ids)
            if self._whole and asked >= self._whole[1] and not rows - self._whole[0]:
                self.last = look.last
            self._whole = rows, answered
        self._sure = [sure for sure in self._sure if sure.last <= look.last]  # else it had missed this one's last row
        if self._looks and (count > self._looks[-1].count or look.last < self._looks[-1].last):
            self._looks.clear()  # more rows under the same head, or lower ones: something came that was not at the head
        if self._head and asked >= self._head[1]:
            self._looks.append(look)

    def _note_head(self, head: int, asked: int, answered: int) -> None:
        if self._head is None or self._head[0] != head:
            if self._head and answered > self._head[1]:
                self.moving = True
            self._head = head, answered
            self._looks.clear()
            return
        for look in [look for look in self._looks if look.answered <= asked]:
            self._looks.remove(look)
            if not self._sure or look.asked >= self._sure[-1].answered:  # one insert could fool two that overlap
                self._sure.append(look)
        if len(self._sure) >= NEEDED:
            self.last = self._sure[-1].last
