"""Where schedules stand, from what the book says of them."""

from __future__ import annotations

from itertools import islice

from ..checkpoint import SUFFIX
from ..lock import owner
from ..orders import known
from .book import Book
from .entry import Entry, Standing, Tick, TickFate

NEXT = 5  # ticks to come that are told


def standings(book: Book, now: float, *, ahead: int = NEXT) -> list[Standing]:
    """Every schedule of the book, by name; `ahead` is how many ticks to come are reckoned."""
    open_ticks, broken = book.open_ticks(), book.broken()
    found = []
    for entry in book.entries().values():
        ticks = [tick for tick in open_ticks if tick.spec == entry.name]
        running = [tick for tick in ticks if tick.fate is TickFate.RUNNING]
        found.append(
            Standing(
                entry,
                now,
                next=[] if entry.gone else list(islice(entry.schedule.after(now), ahead)),
                overdue=_overdue(entry, book, now),
                last=book.latest(entry.name),
                last_ran=book.latest(entry.name, ran=True),
                last_success=book.latest(entry.name, outcome="success"),
                running=running,
                interrupted=any(_unattended(book, tick) for tick in running),
                waiting=[tick for tick in ticks if tick.fate is TickFate.WAITING],
                totals=book.totals(entry.name),
                undelivered=len(book.undelivered(entry.name)),
                broken=broken.get(entry.source),
            )
        )
    return found


def _unattended(book: Book, tick: Tick) -> bool:
    """Whether nobody works on the job of a tick, and nobody has ordered it to pause."""
    path = book.path.with_name(f"{tick.job}{SUFFIX}")
    return tick.begun_at is not None and owner(path) is None and not known(path).paused


def _overdue(entry: Entry, book: Book, now: float) -> int | None:
    """The first tick that should have begun and has no fate."""
    fated = book.fated(entry.name, entry.decided)
    for tick in entry.schedule.after(entry.decided):
        if entry.schedule.start(entry.name, tick) > now:
            return None
        if tick not in fated:
            return tick
    return None
