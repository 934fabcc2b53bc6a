"""The jobs of ticks in one process: begun, gone on with after an interruption, carried to their end, which is written down.

A claim in the book without a checkpoint is one whose claimant is dead, since claiming and making the checkpoint happen in
one turn. A checkpoint that nobody holds the lock of, while its tick has no end, is an interrupted job, since the end is
written before the lock is let go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from ..checkpoint import SUFFIX
from ..control import Control
from ..errors import CheckpointError, LockedError, RebatchError, UsageError
from ..jobledger import JobLedger
from ..lock import owner
from ..notices.message import CANCELLED, End, of_end, of_missed, of_start
from ..notices.notify import Event, Notify
from ..orders import give, known
from ..retention import prune
from ..spec import JobSpec
from .book import Book, State
from .carrier import Carrier, Tell, expiring, found_ended
from .entry import Entry, Tick, TickFate
from .roster import Enrolled
from .when import ON_TIME_S, iso

FORGET_S = 400 * 86_400.0  # how long the book keeps what became of ticks
NEVER = "it could not be begun in time"
Key = tuple[str, int, bool]


class Hands:
    """What this process has under way. Everything but `stop` is for whoever has the turn."""

    def __init__(self, book: Book, carrier: Carrier, tell: Tell, wall: Callable[[], float]) -> None:
        """`tell` is told what happens, in a line; `wall` shows seconds since the epoch."""
        self.at_work: dict[Key, Control] = {}
        self.ends: list[End] = []
        self.unbegun: dict[Key, RebatchError] = {}  # claims that this process could not begin, and why
        self.over: Callable[[], None] = lambda: None  # called when a job is over
        self._book, self._carrier, self._tell, self._wall = book, carrier, tell, wall
        self._stopped: RebatchError | None = None

    def stop(self, reason: RebatchError) -> None:
        """Let what is in flight finish; the jobs stay resumable."""
        self._stopped = self._stopped or reason
        for control in self.at_work.values():
            control.drain(self._stopped)

    def path(self, tick: Tick) -> Path:
        """The checkpoint of a tick's job."""
        return self._book.path.with_name(f"{tick.job}{SUFFIX}")

    def unattended(self, state: State, enrolled: Mapping[str, Enrolled]) -> list[Tick]:
        """The ticks whose jobs are neither over nor worked on, and that are this process's to care for."""
        return [
            tick
            for tick in state.open_ticks
            if tick.fate is TickFate.RUNNING
            and (tick.spec in enrolled or tick.spec not in state.entries or state.entries[tick.spec].gone)
            and _key(tick) not in self.at_work
            and owner(self.path(tick)) is None
        ]

    async def take_up(self, jobs: TaskGroup, tick: Tick, enrolled: Enrolled | None, entry: Entry | None) -> None:
        """Of an unattended tick: write down the end of its job, go on with it, or begin it at last."""
        path, notify = self.path(tick), entry.notify if entry else ()
        if tick.begun_at is None and not await run_sync(_has_job, path):
            await self._begin_late(jobs, tick, enrolled, notify)
            return
        try:
            end = await found_ended(path)
            if end is None and not known(path).paused:
                await self._go_on(jobs, tick, path)
        except LockedError:
            return
        except RebatchError as error:
            end = End(error.exit_code, str(error), {"job": tick.job})
        if end is not None:
            await self._end(tick, notify, end, pausing=bool(entry and entry.schedule.pause_on_failure))

    async def begin(self, jobs: TaskGroup, tick: Tick, enrolled: Enrolled) -> None:
        """Begin the job that a tick has been claimed for. If it cannot be, the claim stays, to be tried again."""
        self.unbegun.pop(_key(tick), None)
        try:
            await self._begin(jobs, tick, enrolled)
        except RebatchError as error:
            self.unbegun[_key(tick)] = error
            self._tell(f"{tick.spec}: its job cannot be begun: {error}", wrong=True)

    def cancel(self, ticks: Iterable[Tick]) -> None:
        """End the jobs of these ticks for good: another takes their place."""
        for tick in ticks:
            path = self.path(tick)
            if path.exists() and not known(path).cancelled:
                give(path, lambda orders: replace(orders, paused=False, cancelled=True))
                self._tell(f"{tick.spec}: job {tick.job} is cancelled, for the next one")

    async def _begin_late(
        self, jobs: TaskGroup, tick: Tick, enrolled: Enrolled | None, notify: Sequence[Notify]
    ) -> None:
        """A claim that nothing came of yet: whoever made it died, or the disk was full."""
        schedule = enrolled.spec.schedule if enrolled else None
        if enrolled and schedule and self._wall() - tick.at <= max(schedule.catch_up_window, ON_TIME_S):
            await self.begin(jobs, tick, enrolled)
            return
        now = self._wall()
        notices = list(of_missed(notify, tick.spec, [tick.at], NEVER, now))
        await run_sync(self._book.never_begun, tick, NEVER, notices, now)

    async def _begin(self, jobs: TaskGroup, tick: Tick, enrolled: Enrolled) -> None:
        path = self.path(tick)
        try:
            for suffix in ("", "-wal", "-shm"):  # of one that was killed before there was a job in it
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be replaced: {error.strerror}.", "Check its folder.") from None
        ledger = await self._carrier.begin(enrolled.spec, enrolled.source, str(tick.job))
        self._tell(f"{tick.spec}: job {tick.job} begins" + ("" if tick.by_hand else f", due {iso(tick.at)}"))
        await self._start(jobs, tick, ledger, enrolled.spec)

    async def _go_on(self, jobs: TaskGroup, tick: Tick, path: Path) -> None:
        ledger, spec = self._carrier.reopen(path)
        self._tell(f"{tick.spec}: job {tick.job} was interrupted, and goes on")
        await self._start(jobs, tick, ledger, spec)

    async def _start(self, jobs: TaskGroup, tick: Tick, ledger: JobLedger, spec: JobSpec) -> None:
        try:
            if tick.begun_at is None:
                tick = replace(tick, begun_at=self._wall())
                beats = list(of_start(spec.notify, spec.name, str(tick.job), tick.at, self._wall()))
                await run_sync(self._book.begun, tick, self._wall(), beats)
        except BaseException:
            ledger.checkpoint.close()
            raise
        self.at_work[_key(tick)] = control = Control()
        if self._stopped:  # while it was being begun
            control.drain(self._stopped)
        jobs.start_soon(self._carry, tick, ledger, spec)

    async def _carry(self, tick: Tick, ledger: JobLedger, spec: JobSpec) -> None:
        """Carry a job to its end, and write that down before its lock is let go."""
        control = self.at_work[_key(tick)]
        try:
            spent_s = max(0.0, self._wall() - (tick.begun_at or 0.0))
            async with expiring(spec, ledger, spent_s, control):
                end = await self._carrier.carry(ledger, spec, control)
            if end is not None:
                await self._end(tick, spec.notify, end, pausing=bool(spec.schedule and spec.schedule.pause_on_failure))
        finally:
            ledger.checkpoint.close()
            del self.at_work[_key(tick)]
            self.over()
        if not self._stopped:
            await self._clear_away(spec)

    async def _clear_away(self, spec: JobSpec) -> None:
        """What is older than anybody asks for."""
        try:
            await run_sync(self._book.forget, self._wall() - FORGET_S)
            if spec.retention_s is not None:
                await prune(self._book.path.parent, spec.name, self._wall() - spec.retention_s)
        except RebatchError as error:
            self._tell(str(error), wrong=True)

    async def _end(self, tick: Tick, notify: Sequence[Notify], end: End, *, pausing: bool) -> None:
        """Write down how a job ended, with what is told of it. A disk that does not take it is asked again at a later look."""
        now, name = self._wall(), tick.spec
        pause = f"job {tick.job} ended with {end.outcome}" if pausing and end.outcome not in _FINE else None
        try:
            before = await run_sync(self._book.outcome_before, name)
            notices = list(of_end(notify, name, end, tick=tick.at, before=before, at=now))
            written = await run_sync(lambda: self._book.end(tick, end, notices, now, pause=pause))
        except RebatchError as error:
            self._tell(str(error), wrong=True)
            return
        if written:
            self.ends.append(end)
            why = f": {end.error}" if end.error else ""
            self._tell(
                f"{name}: job {tick.job} ended with {end.outcome} (exit code {int(end.exit_code)}){why}",
                wrong=end.outcome not in _FINE,
            )
            if pause:
                self._tell(f"{name}: the schedule is paused; go on with: rebatch schedule resume {name}", wrong=True)


_FINE = (Event.SUCCESS, CANCELLED)


def _key(tick: Tick) -> Key:
    return tick.spec, tick.at, tick.by_hand


def _has_job(path: Path) -> bool:
    """Whether there is a job in a checkpoint: it may have been made by a process that was killed at that moment."""
    if not path.exists():
        return False
    try:
        JobLedger.look(path).checkpoint.close()
    except UsageError:
        return False
    return True
