"""How a service fares with what we ask of it, and who may ask it now: one for each origin and key.

Reads and writes fail apart: a service may still list what it no longer deletes, and the reads that settle a lost answer
must not end a pause of the writes. But a service that does not even answer reads is asked by a read first, since a read
leaves nothing unsettled behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from random import Random

import anyio

from .breaker import Breaker, RetryBudget, State
from .exchange import Request
from .fates import Fate, Outcome
from .tasks import Bell

TIMED_OUT = 408
THROTTLED = 429


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the service when a request has failed."""

    down: bool = False  # the failure says something of the service rather than of this request
    silent_s: float = 0.0  # how long requests of this sort have been failing
    alone: int = 0  # how many times, if all of them were one and the same write: it may be the request after all
    throttled_s: float = 0.0  # how long all of this sort have been answered that they are too many


def troubled(outcome: Outcome) -> bool:
    """Whether an outcome speaks of trouble: no connection, no whole answer, 408 or 5xx. What is refused was answered."""
    if outcome.fate is not Fate.UNKNOWN:
        return outcome.fate is Fate.NEVER_SENT
    status = outcome.status
    return status is None or status == TIMED_OUT or status < 300 or status >= 500  # noqa: PLR2004 - classes of codes


class Lane:
    """Requests of one sort, reads or writes."""

    def __init__(self, dice: Random) -> None:
        """Nothing was asked yet."""
        self.breaker = Breaker(dice)
        self.answered_at = -inf
        self.failing_since = self.failed_at = self.failed_before = inf  # the first failure in a row, the last two
        self.throttled_since = inf  # the first 429 in a row
        self.failures = 0  # in a row
        self.several = False  # of these, not all are of one and the same request
        self._failing: Request | None = None

    @property
    def open(self) -> bool:
        """Whether requests have to wait."""
        return self.breaker.state is not State.CLOSED

    def answered(self, now: float) -> None:
        """Note an answer."""
        self.answered_at = now
        self.failing_since = self.failed_at = self.failed_before = inf
        self.failures, self.several, self._failing = 0, False, None

    def failed(self, request: Request, now: float) -> None:
        """Note a failure."""
        self.failing_since = min(self.failing_since, now)
        self.failed_before, self.failed_at = self.failed_at, now
        self.failures += 1
        self.several = self.several or (self._failing is not None and request != self._failing)
        self._failing = request


class Pressure:
    """Lets requests through, or makes them wait until the service answers again."""

    def __init__(self, clock: Callable[[], float], dice: Random) -> None:
        """`clock` in seconds, `dice` for the lengths of pauses."""
        self.reads, self.writes = Lane(dice), Lane(dice)
        self._budget = RetryBudget()
        self._clock = clock
        self._reading = 0  # reads that are wanted just now
        self._changed = Bell()

    @property
    def contacted(self) -> bool:
        """Whether the service has ever answered."""
        return max(self.reads.answered_at, self.writes.answered_at) > -inf

    def lane(self, request: Request) -> Lane:
        """The lane of a request."""
        return self.reads if request.method == "GET" else self.writes

    @contextmanager
    def reading(self) -> Iterator[None]:
        """As long as a read is wanted, writes leave it to the reads to find out whether the service is back."""
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1
            self._changed.ring()

    async def let(self, lane: Lane) -> int:
        """Wait until a request may pass; the answer is its turn. If it is the probe, everybody else waits for it."""
        while True:
            if lane is self.writes and self.reads.open and self._reading:
                wait_s = inf
            elif not (wait_s := lane.breaker.ask(self._clock())):
                return lane.breaker.turn
            with anyio.move_on_after(wait_s if wait_s < inf else None):
                await self._changed.rung()

    def passed(self, lane: Lane, turn: int) -> bool:
        """Whether what was let through may still be sent after it had to wait for something else."""
        self._changed.ring()  # the lease of a probe has begun to run
        return lane.breaker.passed(turn, self._clock())

    def give_up(self, lane: Lane, turn: int) -> None:
        """What was let through is not sent, or was cut off."""
        lane.breaker.give_up(turn, self._clock())
        self._changed.ring()

    def note(self, request: Request, turn: int, outcome: Outcome) -> bool:
        """Note what became of a request sent in this turn; True if that made the breaker open."""
        lane, now, opened = self.lane(request), self._clock(), False
        lane.throttled_since = min(lane.throttled_since, now) if outcome.status == THROTTLED else inf
        if not troubled(outcome):
            self._budget.earn()
            lane.breaker.succeed(turn)
            if not lane.open:
                lane.answered(now)
        else:
            lane.failed(request, now)
            affordable = lane.open or self._budget.spend()
            opened = lane.breaker.fail(turn, now, affordable=affordable, pauses=self._other(lane).breaker.pauses)
        self._changed.ring()
        return opened

    def standing(self, lane: Lane) -> Standing:
        """How to take the failure just noted.

        It is the service that fails if requests have to wait, of this sort or the other, and either not only this one failed or nothing
        else was answered since it last did. A single request that fails while others are answered has itself to blame.
        """
        other = self._other(lane)
        down = (lane.open or other.open) and (lane.several or other.answered_at < lane.failed_before)
        alone = 0 if lane.several or lane is self.reads else lane.failures
        since = min(lane.failing_since, other.failing_since)  # an answer to either sort has set its own to infinity
        now = self._clock()
        silent_s, throttled_s = now - (since if down else lane.failing_since), now - lane.throttled_since
        return Standing(down, max(0.0, silent_s), alone, max(0.0, throttled_s))

    def rested(self) -> None:
        """A person has let the job pause: nobody was asked, so for that time nobody has failed to answer."""
        for lane in (self.reads, self.writes):
            lane.throttled_since = inf
            if lane.failing_since < inf:
                lane.failing_since = self._clock()

    def _other(self, lane: Lane) -> Lane:
        return self.writes if lane is self.reads else self.reads
