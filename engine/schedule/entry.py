"""What the book of schedules holds, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..notices.notify import Notify
from .when import ON_TIME_S, Schedule

BY_HAND = "by hand"  # why a schedule is paused that a person has paused


class TickFate(StrEnum):
    """What becomes of a tick. The last three are for good; a tick has exactly one of these."""

    WAITING = "waiting"  # for the job before to end
    RUNNING = "running"  # it has a job, whose end is not known yet
    RAN = "ran"
    SKIPPED = "skipped"  # as its schedule says: another was at work, or it is paused
    MISSED = "missed"  # nobody was there to begin it in time


FOR_GOOD = (TickFate.RAN, TickFate.SKIPPED, TickFate.MISSED)


@dataclass(frozen=True, slots=True)
class Tick:
    """One time of a schedule, or a time at which a person began its job by hand. Moments are in seconds since the epoch."""

    spec: str
    at: int
    fate: TickFate
    by_hand: bool = False
    why: str | None = None  # it was skipped or missed
    job: str | None = None
    begun_at: float | None = None
    ended_at: float | None = None
    outcome: str | None = None  # success, failure, held, guard
    exit_code: int | None = None
    error: str | None = None
    report: Mapping[str, Any] | None = None  # as `rebatch report --format json` gives it, without items


@dataclass(frozen=True, slots=True)
class Entry:
    """A schedule. Ticks up to `decided` have a fate; those before `since` are none of ours."""

    name: str
    source: str  # the spec file
    schedule: Schedule
    notify: Sequence[Notify]
    decided: float
    paused_because: str | None = None
    gone: bool = False  # no longer in its spec


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a schedule stands at a moment, for whoever looks."""

    entry: Entry
    at: float
    next: Sequence[int]  # the next ticks
    overdue: int | None  # the first tick that should have begun and has no fate
    last: Tick | None = None  # the latest tick that ran, was skipped or missed
    last_ran: Tick | None = None  # the latest whose job has ended
    last_success: Tick | None = None
    running: Sequence[Tick] = ()
    interrupted: bool = False  # of these, one is worked on by nobody
    waiting: Sequence[Tick] = ()
    totals: Mapping[str, int] = field(default_factory=dict)  # ticks by fate
    undelivered: int = 0  # notices that have not arrived (yet)
    broken: str | None = None  # why its spec file cannot be read at present

    @property
    def late(self) -> bool:
        """Whether a tick should have begun long ago, and nobody has decided on it."""
        if self.entry.paused_because or self.entry.gone or self.overdue is None:
            return False
        return self.at > self.entry.schedule.start(self.entry.name, self.overdue) + ON_TIME_S

    @property
    def alarming(self) -> bool:
        """Whether whoever watches over schedules should be woken.

        It is late, a failure has paused it, nobody goes on with its interrupted job, or its spec is broken.
        """
        failed = self.entry.paused_because not in {None, BY_HAND}
        return self.late or self.interrupted or (not self.entry.gone and (failed or self.broken is not None))
