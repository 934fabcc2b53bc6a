"""Which schedules a process looks after: those of its specs, each name once in a state directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from anyio.to_thread import run_sync

from ..errors import RebatchError, UsageError
from ..notices.message import of_missed
from ..spec import JobSpec
from .book import Book
from .due import Decision, Situation, Verdict
from .entry import Entry, TickFate
from .when import Schedule, definition

CHANGED = "its schedule was changed before anybody began it"


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A job that comes round, and the spec file that it is from."""

    spec: JobSpec
    source: str


class Roster:
    """The schedules of some specs, in step with the book. Use it in the turn."""

    def __init__(self, book: Book, load: Callable[[Path], Sequence[JobSpec]], wall: Callable[[], float]) -> None:
        """`load` reads a spec file."""
        self.enrolled: dict[str, Enrolled] = {}
        self._book, self._load, self._wall = book, load, wall

    async def take(self, source: str, jobs: Sequence[JobSpec], *, late_s: float = 0.0) -> None:
        """Enrol the schedules among these jobs, in place of those that the source had before. Raises UsageError.

        The ticks of a schedule that is new count from now, or from its latest one if that was within `late_s` before.
        """
        scheduled = {job.name: job for job in jobs if job.schedule}
        entries = await run_sync(self._book.entries)
        for name in scheduled:
            await self._must_be_free(name, source, entries.get(name))
        kept = {name: each for name, each in self.enrolled.items() if each.source != source}
        for name, job in scheduled.items():
            await self._enter(job, source, entries.get(name), late_s)
            kept[name] = Enrolled(job, source)
        self.enrolled = kept
        await run_sync(self._book.drop, source, list(scheduled))
        await run_sync(self._book.note_source, source, None)

    async def _must_be_free(self, name: str, source: str, entry: Entry | None) -> None:
        holder = self.enrolled[name].source if name in self.enrolled else None
        if holder is None and entry and not entry.gone and await run_sync(self._still_has, entry.source, name):
            holder = entry.source
        if holder not in {None, source}:
            raise UsageError(
                f"{source}: there is a schedule “{name}” of {holder} in this state directory already.",
                "Rename one of them, or give one another --state-dir.",
            )

    def _still_has(self, source: str, name: str) -> bool:
        """Whether a spec file has a schedule of this name, as far as can be told."""
        path = Path(source)
        try:
            return any(job.name == name and job.schedule for job in self._load(path))
        except RebatchError:
            return path.exists()

    async def _enter(self, job: JobSpec, source: str, old: Entry | None, late_s: float) -> None:
        """Write a schedule into the book. What was due by an older version of it, and was not begun, is missed."""
        raw, schedule = job.raw, job.schedule
        if (
            old
            and not old.gone
            and not old.paused_because
            and schedule
            and definition(old.schedule) != definition(schedule)
        ):
            now = self._wall()
            if due := Situation(old.name, old.schedule, old.decided, now).passed:
                missed = Decision(due[-1], [Verdict(tick, TickFate.MISSED, CHANGED) for tick in due])
                notices = list(of_missed(old.notify, old.name, due, CHANGED, now))
                await run_sync(self._book.record, old.name, missed, {}, notices, now)
        since = _since(schedule, self._wall(), late_s) if schedule else self._wall()
        await run_sync(self._book.register, job.name, source, raw["schedule"], raw.get("notify", []), since)


def _since(schedule: Schedule, now: float, late_s: float) -> float:
    """From when the ticks of a new schedule count: what was due before anybody knew of it was not missed."""
    latest = max(takewhile(lambda tick: tick <= now, schedule.after(now - late_s)), default=None)
    return now if latest is None else latest - 1
