"""Whether the end of a list was seen. What makes it hard: a page is two queries, COUNT and SELECT.

The slice is cut at what was counted, so a row inserted between the two pushes the last one out, and nothing in the page
tells. What tells:

- A page with fewer rows than were counted for it ran off the end of the list.
- A list that is one page: read again, and holding no row that is new, it had those rows when it was counted; if they are
  as many as were counted, there was no other.
- A look at the end between two looks at the head that show the same newest row, while no page counts more rows than one
  before: nothing was inserted meanwhile, since new rows come at the head. Unless it was deleted again before anything was
  counted: no reader of pages can tell that, as each of its queries would be answered alike without the hidden row. So two
  such looks are asked for, one after the other; three, if anything was seen to change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

NEEDED = 2  # looks at the end between equal heads, of a list that stood still
NEEDED_MOVING = 3


class _Look(NamedTuple):
    """A look at the end: the last id, and how many answers there were when it was asked for and answered."""

    last: int
    asked: int
    answered: int


class Ending:
    """The witnesses of the end of one list."""

    def __init__(self) -> None:
        self.last: int | None = (
            None  # nothing that existed throughout is below this id; None as long as that is not known
        )
        self.moving = False  # something was seen to be inserted
        self._count: int | None = None  # of a list that stands still
        self._needed = NEEDED
        self._head: tuple[int, int] | None = None  # the newest id, and `answers` when it had been seen first
        self._fewest: tuple[int, int] | None = None  # the smallest count since then, and `answers` then
        self._whole: tuple[Counter[int], int] | None = None  # the rows of a list that is one page, and `answers` then
        self._looks: list[_Look] = []  # since the head was seen first
        self._sure: list[_Look] = []  # between equal heads

    @property
    def still(self) -> bool:
        """Whether nothing was seen to change."""
        return self._needed == NEEDED and not self.moving

    @property
    def wants_head(self) -> bool:
        """Whether the next look should be at the head; else it should be at the end."""
        enough = len(self._sure) + len(self._looks) >= self._needed
        return self._head is None or (bool(self._looks) and (enough or self.moving))

    def note(self, start: int, ids: Sequence[int], count: int, *, more: bool, asked: int, answered: int) -> None:
        """Take note of a page with rows that begins at row `start`."""
        self._note_count(count, asked, answered)
        if not more:
            self._note_end(start, ids, count, asked, answered)
        if start == 0:
            self._note_head(ids[0], count, asked, answered)

    def _note_count(self, count: int, asked: int, answered: int) -> None:
        if self._count not in {None, count} or self.moving:
            self._needed = NEEDED_MOVING
        self._count = count
        if self._fewest and count > self._fewest[0] and asked >= self._fewest[1]:
            self.moving = True  # something was inserted, and may be gone again before the head is seen
            self._head = self._fewest = None
            self._looks.clear()
        if self._fewest and count <= self._fewest[0]:
            self._fewest = count, answered

    def _note_end(self, start: int, ids: Sequence[int], count: int, asked: int, answered: int) -> None:
        look = _Look(ids[-1], asked, answered)
        if start + len(ids) < count:
            self.last = look.last
        if start == 0:
            rows = Counter(ids)
            if self._whole and asked >= self._whole[1] and not rows - self._whole[0]:
                self.last = look.last
            self._whole = rows, answered
        self._sure = [each for each in self._sure if each.last <= look.last]  # else it had missed this one's last row
        self._looks = [each for each in self._looks if each.last <= look.last]
        if self._head and asked >= self._head[1]:
            self._looks.append(look)

    def _note_head(self, head: int, count: int, asked: int, answered: int) -> None:
        if self._head is None or self._head[0] != head:
            if self._head and answered > self._head[1]:
                self.moving = True
            self._head, self._fewest = (head, answered), (count, answered)
            self._looks.clear()
            return
        for look in [look for look in self._looks if look.answered <= asked]:
            self._looks.remove(look)
            if not self._sure or look.asked >= self._sure[-1].answered:  # one insert could fool two that overlap
                self._sure.append(look)
        if len(self._sure) >= self._needed:
            self.last = self._sure[-1].last
