"""What becomes of ticks that are due. Pure: from what is known of a schedule to verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

from .entry import TickFate
from .when import ON_TIME_S, Schedule, iso

ABSENT = "nobody was there to begin it in time"
COVERED = "a later one covers it"
WAITED = "it waited for longer than it may be late"
MOST = 1000  # ticks that are decided on at once; of a schedule that stood still for long the rest come after


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a tick now: it begins (`running`), waits, or is left out for a reason."""

    at: int
    fate: TickFate
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """A schedule at the moment `now`: ticks up to `decided` have a fate; `waiting` ones wait for what is `running`."""

    name: str
    schedule: Schedule
    decided: float
    now: float
    fated: frozenset[int] = frozenset()  # ticks after `decided` that ran: the clock was turned back
    paused: bool = False
    running: int | None = None  # the tick whose job is at work
    waiting: Sequence[int] = ()

    def late(self, tick: int) -> float:
        """How late it would begin now, in seconds."""
        return self.now - self.schedule.start(self.name, tick)

    @property
    def longest_s(self) -> float:
        """How late a tick may still begin, in seconds."""
        return max(self.schedule.catch_up_window, ON_TIME_S)

    @property
    def passed(self) -> list[int]:
        """The ticks after `decided` that should have begun, the earliest first."""
        begun = takewhile(lambda tick: self.late(tick) >= 0, self.schedule.after(self.decided))
        return list(islice(begun, MOST))


@dataclass(frozen=True, slots=True)
class Decision:
    """Verdicts on ticks that were due or waited, and whether the job at work is to be cancelled for them.

    Every tick up to `decided` has a fate then.
    """

    decided: float
    verdicts: Sequence[Verdict] = ()
    cancel: bool = False


def decide(now: Situation) -> Decision:
    """What becomes of every tick that is due or waits."""
    passed = now.passed
    decided = passed[-1] if passed else now.decided
    due = [tick for tick in passed if tick not in now.fated]
    if now.paused:
        left = [Verdict(tick, TickFate.SKIPPED, "the schedule is paused") for tick in (*now.waiting, *due)]
        return Decision(decided, left)
    late = [tick for tick in due if now.late(tick) > ON_TIME_S or tick != due[-1]]  # or overtaken by the next one
    missed = [*_waited_too_long(now), *_too_late(now, due, late)]
    given_up = {verdict.at for verdict in missed}
    line = [tick for tick in sorted({*now.waiting, *due}) if tick not in given_up]
    caught_up = _caught_up(now, line, due)
    kept = _in_line(now, line, caught_up)
    begun = kept[:1] if now.running is None else []
    skipped = [Verdict(tick, TickFate.SKIPPED, _in_the_way(now, kept, tick)) for tick in line if tick not in kept]
    waiting = [Verdict(tick, TickFate.WAITING) for tick in kept if tick not in begun and tick not in now.waiting]
    running = [Verdict(tick, TickFate.RUNNING) for tick in begun]
    wanted = {*kept} - caught_up
    cancel = now.schedule.overlap == "cancel_other" and now.running is not None and bool(wanted)
    verdicts = sorted([*missed, *skipped, *waiting, *running], key=lambda verdict: verdict.at)
    return Decision(decided, verdicts, cancel)


def _waited_too_long(now: Situation) -> Iterator[Verdict]:
    for tick in now.waiting:
        if now.late(tick) > now.longest_s:
            yield Verdict(tick, TickFate.MISSED, WAITED)


def _too_late(now: Situation, due: Sequence[int], late: Sequence[int]) -> Iterator[Verdict]:
    """Those that no job is made for, since they are late."""
    within = [tick for tick in late if now.late(tick) <= now.longest_s]
    catch_up = now.schedule.catch_up
    newest = within[-1:] if len(late) == len(due) else []  # one that is on time covers all that are late
    chosen = {"none": [], "once": newest, "all": within}[catch_up]
    for tick in late:
        if tick not in chosen:
            yield Verdict(tick, TickFate.MISSED, COVERED if catch_up == "once" and tick in within else ABSENT)


def _caught_up(now: Situation, line: Sequence[int], due: Sequence[int]) -> set[int]:
    """Those of the line that each have a job, together: they wait for their turns, and cancel nothing."""
    if now.schedule.catch_up != "all":
        return set()
    return {tick for tick in line if now.late(tick) > ON_TIME_S or (tick in due and len(due) > 1)}


def _in_line(now: Situation, line: Sequence[int], caught_up: set[int]) -> list[int]:
    """Those of the line that `overlap` lets stay in it, and what is caught up."""
    schedule = now.schedule
    if schedule.overlap == "cancel_other":
        newest = [tick for tick in line if tick not in caught_up][-1:]
        return sorted({*caught_up, *newest})
    room = (schedule.overlap == "queue") + (now.running is None)
    kept: list[int] = []
    for tick in line:
        if tick in caught_up or tick in now.waiting or len(kept) < room:
            kept.append(tick)
    return kept


def _in_the_way(now: Situation, kept: Sequence[int], tick: int) -> str:
    """Why a tick is left out, by what is there in its place."""
    if now.schedule.overlap == "cancel_other":
        return "a later one took its place"
    if now.schedule.overlap == "queue":
        return f"the one of {iso(max(other for other in kept if other < tick))} waits already"
    return f"the job of {iso(now.running if now.running is not None else kept[0])} is at work"
