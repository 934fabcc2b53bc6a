"""Keeping schedules: whatever is due is decided on, begun, written down and told, each tick once.

Whoever decides has the turn: it sees what every other process has decided, claims a tick by writing the id of its job into
the book, and makes that job's checkpoint before it lets go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from ..errors import LockedError, RebatchError
from ..job import new_id
from ..lock import owner
from ..notices.message import of_missed
from ..spec import JobSpec
from ..tasks import task_group
from .book import Book, State
from .carrier import Carrier, Tell
from .due import Decision, Situation, decide
from .entry import Entry, Tick, TickFate
from .hands import Hands
from .roster import Enrolled, Roster
from .turn import turn
from .when import iso

BACK_S = 3600.0  # a clock that is turned back by more shows ticks as still to come that had a fate
UNSET = 1_700_000_000.0  # what shows less, in seconds since the epoch, is a clock that was not set yet
LOOK_EVERY_S = 15.0  # at the clock, which may be set, and at what other processes do
_SHORTEST_S = 0.01


class Keeper:
    """Looks after the schedules of its roster in a state directory; others may do the same beside it."""

    def __init__(
        self,
        book: Book,
        carrier: Carrier,
        *,
        tell: Tell,
        wall: Callable[[], float] = time.time,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`tell` is told what happens, in a line; `wall` shows seconds since the epoch, and may jump."""
        self.book, self.wall = book, wall
        self.roster = Roster(book, carrier.load, wall)
        self.hands = Hands(book, carrier, tell, wall)
        self.hands.over = self.wake
        self.looked_at = float("-inf")  # on the event loop's clock
        self._tell, self._look_every_s = tell, look_every_s
        self.stopped = anyio.Event()  # set when it was told to stop
        self._stop: RebatchError | None = None
        self._wake = anyio.Event()
        self._next: float | None = None  # when the next tick begins

    async def take(self, source: str, jobs: Sequence[JobSpec], *, late_s: float = 0.0) -> None:
        """Look after the schedules among these jobs, in place of those that the source had before. Raises UsageError.

        The ticks of a schedule that is new count from now, or from its latest one if that was within `late_s` before.
        """
        async with self._turn():
            await self.roster.take(source, jobs, late_s=late_s)
        self.wake()

    def only(self, names: Sequence[str]) -> None:
        """Look after these alone; the others stay in the book."""
        kept = self.roster.enrolled
        self.roster.enrolled = {name: kept[name] for name in kept if name in names}

    async def keep(self) -> None:
        """Look after the schedules until it is stopped; every job has been let go then."""
        async with task_group() as jobs:
            while not self._stop:
                try:
                    await self.look(jobs)
                except RebatchError as error:  # a full disk may have room at the next look, and hardly sooner
                    self._tell(str(error), wrong=True)
                    self._next = None
                await self._rest()

    async def once(self) -> None:
        """Do what is due, and return when there is nothing more to do for now.

        What keeps it from that is raised when the jobs that were begun have come to their ends.
        """
        trouble: RebatchError | None = None
        async with task_group() as jobs:
            while not self._stop:
                try:
                    await self.look(jobs)
                    if not self.hands.at_work and not await self._soon():
                        break
                except RebatchError as error:
                    trouble = error
                    break
                await self._rest()
        self._raise(trouble)

    async def by_hand(self, name: str) -> None:
        """Begin a job of a schedule now, whatever is due, and return when it has ended. Raises LockedError.

        One of it that was interrupted comes to its end first.
        """
        async with task_group() as jobs, self._turn():
            state = await run_sync(self.book.state)
            await self._take_up(jobs, state, [tick for tick in self._unattended(state) if tick.spec == name])
        if not self._stop:
            await self._begin_by_hand(name)
        self._raise()

    async def _begin_by_hand(self, name: str) -> None:
        async with task_group() as jobs, self._turn():
            for tick in (await run_sync(self.book.state)).of(name, TickFate.RUNNING):
                pid = owner(self.hands.path(tick))
                raise LockedError(
                    f"Job {tick.job} of {name} is not over (process {pid or '?'}).", "Wait for it.", pid=pid
                )
            tick = Tick(name, int(self.wall()), TickFate.RUNNING, by_hand=True, job=new_id())
            if not await run_sync(self.book.by_hand, name, tick.at, str(tick.job)):
                raise LockedError(f"A job of {name} was begun this very second.", "Wait for it.")
            await self.hands.begin(jobs, tick, self.roster.enrolled[name])

    def _raise(self, trouble: RebatchError | None = None) -> None:
        """Raise what kept jobs from being begun: nobody of this process is going to try again."""
        if trouble := trouble or next(iter(self.hands.unbegun.values()), None):
            raise trouble

    def stop(self, reason: RebatchError) -> None:
        """Begin nothing more, and let what is in flight finish. Its jobs stay resumable."""
        self._stop = self._stop or reason
        self.stopped.set()
        self.hands.stop(reason)
        self.wake()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    async def look(self, jobs: TaskGroup) -> None:
        """Go on with what was interrupted, then decide on what is due and begin it."""
        if self._has_work(await run_sync(self._read)):
            async with self._turn():
                await self._work(jobs)
        self.looked_at = anyio.current_time()

    async def _work(self, jobs: TaskGroup) -> None:
        trouble: list[RebatchError] = []
        state = await run_sync(self._read)
        for tick in self._unattended(state):
            with _noting(trouble):
                await self._take_up(jobs, state, [tick])
        state = await run_sync(self._read)
        for name, enrolled in self.roster.enrolled.items():
            if not self._stop and name in state.entries:
                with _noting(trouble):
                    await self._decide(jobs, self._situation(state, name), state, enrolled)
        await run_sync(self._read)
        if trouble:
            raise trouble[0]

    def _unattended(self, state: State) -> list[Tick]:
        return self.hands.unattended(state, self.roster.enrolled)

    async def _take_up(self, jobs: TaskGroup, state: State, ticks: Sequence[Tick]) -> None:
        for tick in ticks:
            if not self._stop:
                await self.hands.take_up(jobs, tick, self.roster.enrolled.get(tick.spec), state.entries.get(tick.spec))

    def _read(self) -> State:
        state = self.book.state()
        entries = [state.entries[name] for name in self.roster.enrolled if name in state.entries]
        self._next = min(map(_begins, entries), default=None)
        return state

    def _has_work(self, state: State) -> bool:
        """Whether anything is to be done that needs the turn."""
        if self._unattended(state):
            return True
        situations = [self._situation(state, name) for name in self.roster.enrolled if name in state.entries]
        decisions = [decide(each) for each in situations]
        return any(
            decision.verdicts or decision.cancel or decision.decided != each.decided or _turned_back(each)
            for decision, each in zip(decisions, situations, strict=True)
        )

    def _situation(self, state: State, name: str) -> Situation:
        entry, running = state.entries[name], state.of(name, TickFate.RUNNING)
        return Situation(
            name,
            entry.schedule,
            entry.decided,
            self.wall(),
            fated=state.fated.get(name, frozenset()),
            paused=entry.paused_because is not None,
            running=running[0].at if running else None,
            waiting=[tick.at for tick in state.of(name, TickFate.WAITING)],
        )

    def _turn(self) -> AbstractAsyncContextManager[None]:
        return turn(self.book.path.parent)

    async def _rest(self) -> None:
        """Until the next tick begins, something happens, or it is time to look at the clock again."""
        ahead_s = self._look_every_s if self._next is None else self._next - self.wall()
        with anyio.move_on_after(max(_SHORTEST_S, min(ahead_s, self._look_every_s))):
            await self._wake.wait()
        self._wake = anyio.Event()

    async def _soon(self) -> bool:
        """Whether a tick is due and only waits for its jitter, or waits for a job that has ended since it was decided on."""
        state, now = await run_sync(self.book.state), self.wall()
        entries = [state.entries[name] for name in self.roster.enrolled]
        return any(
            next(each.schedule.after(each.decided)) <= now
            or (state.of(each.name, TickFate.WAITING) and not state.of(each.name, TickFate.RUNNING))
            for each in entries
        )

    async def _decide(self, jobs: TaskGroup, now: Situation, state: State, enrolled: Enrolled) -> None:
        entry = state.entries[now.name]
        if _turned_back(now):
            await run_sync(self.book.turn_back, now.name, now.now)
            now = replace(now, decided=now.now, fated=await run_sync(self.book.fated, now.name, now.now))
        decision = decide(now)
        if decision.cancel:
            self.hands.cancel(state.of(now.name, TickFate.RUNNING))
        if decision.verdicts or decision.decided != now.decided:
            await self._carry_out(jobs, entry, enrolled, decision)

    async def _carry_out(self, jobs: TaskGroup, entry: Entry, enrolled: Enrolled, decision: Decision) -> None:
        """Write a decision down, with what is told of it, and begin the jobs of the ticks that get one."""
        now, name, verdicts = self.wall(), entry.name, decision.verdicts
        ids = {verdict.at: new_id() for verdict in verdicts if verdict.fate is TickFate.RUNNING}
        missed = [verdict for verdict in verdicts if verdict.fate is TickFate.MISSED]
        notices = [
            notice
            for why in dict.fromkeys(str(verdict.why) for verdict in missed)
            for notice in of_missed(entry.notify, name, [each.at for each in missed if each.why == why], why, now)
        ]
        await run_sync(self.book.record, name, decision, ids, notices, now)
        for verdict in verdicts:
            if verdict.why:
                self._tell(
                    f"{name}: the tick of {iso(verdict.at)} is {verdict.fate}: {verdict.why}",
                    wrong=verdict.fate is TickFate.MISSED,
                )
        for at, job in ids.items():
            await self.hands.begin(jobs, Tick(name, at, TickFate.RUNNING, job=job), enrolled)


def _turned_back(now: Situation) -> bool:
    """Whether the clock was set back, for good as far as can be told."""
    return now.decided > now.now + BACK_S > UNSET


@contextmanager
def _noting(trouble: list[RebatchError]) -> Iterator[None]:
    """What is wrong with one schedule holds up no other."""
    try:
        yield
    except RebatchError as error:
        trouble.append(error)


def _begins(entry: Entry) -> float:
    """When the next tick of a schedule begins."""
    return entry.schedule.start(entry.name, next(entry.schedule.after(entry.decided)))
