"""When to stop asking a service that fails, and when to try again. Pure: the time is handed in, in seconds of any clock."""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from random import Random

FAILURES_IN_A_ROW = 5
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
SPREAD = 0.1  # a pause is up to this much shorter, by the dice: many clients must not come back together
LEASE_S = 10.0  # whoever may try has so long to begin, else the next one may


class State(Enum):
    """Of a breaker. OPEN lets nothing through; PROBING is half-open: one request is out to see."""

    CLOSED = auto()
    OPEN = auto()
    PROBING = auto()


class RetryBudget:
    """What failures may cost: a failure, which asks for a retry, takes a token; an answer brings a part of one.

    So over a long time retries are at most `EARNED` of the requests that were answered. With 10 % failing nothing is
    ever paused (it takes one failure in six), and that is 1.11 times the requests.
    """

    EARNED = 0.2
    RESERVE = 10.0
    MOST = 20.0

    def __init__(self) -> None:
        """With a reserve, for trouble at the very beginning."""
        self.tokens = self.RESERVE

    def earn(self) -> None:
        """A request was answered."""
        self.tokens = min(self.MOST, self.tokens + self.EARNED)

    def spend(self) -> bool:
        """A request failed; False when there is nothing left to try it again with."""
        self.tokens = max(0.0, self.tokens - 1)
        return self.tokens >= 1


class Breaker:
    """Lets requests through while they are answered; after failures only one at a time, after ever longer pauses.

    A *turn* is a period between two changes of the state. What was sent in an earlier turn decides nothing in a later
    one: of the eight requests in flight when a service dies, the eighth failure must not lengthen the pause, and an old
    answer that was long under way does not end it.
    """

    def __init__(self, dice: Random) -> None:
        """Closed: everything may pass."""
        self.state = State.CLOSED
        self.turn = 0
        self.until = -inf  # when OPEN: of the pause; when PROBING: of the lease
        self._dice = dice
        self.pauses = 0  # since the last answer
        self._failures = 0  # in a row

    def ask(self, now: float) -> float:
        """Zero, and one request may pass; or how many seconds to wait before asking again.

        What passes while the state is not CLOSED is the probe; see `passed`, `begin` and `give_up`.
        """
        if self.state is State.CLOSED:
            return 0.0
        if now < self.until:
            return self.until - now
        self._enter(State.PROBING, inf)
        return 0.0

    def passed(self, turn: int, now: float) -> bool:
        """Whether what was let through in `turn` may still be sent; if it is the probe, it has to begin soon."""
        if turn != self.turn or self.state is State.OPEN:
            return False
        if self.state is State.PROBING:
            self.until = now + LEASE_S
        return True

    def begin(self) -> int:
        """A request is being sent; the answer is its turn."""
        if self.state is State.PROBING:
            self.until = inf
        return self.turn

    def give_up(self, turn: int, now: float) -> None:
        """The request of this turn will not be sent, or nobody will learn what became of it: if a probe, another may go."""
        if turn == self.turn and self.state is State.PROBING:
            self._enter(State.OPEN, now)

    def succeed(self, turn: int) -> None:
        """A request sent in this turn was answered."""
        if turn != self.turn or self.state is State.OPEN:
            return
        self._failures = self.pauses = 0
        if self.state is State.PROBING:
            self._enter(State.CLOSED, -inf)

    def fail(self, turn: int, now: float, *, affordable: bool, pauses: int = 0) -> bool:
        """A request sent in this turn was not answered; True if that (again) opens the breaker.

        `affordable` tells whether the budget has something left for retries; `pauses`, how many there were elsewhere in
        what seems to be the same outage: the next is no shorter.
        """
        if turn != self.turn or self.state is State.OPEN:
            return False
        self._failures += 1
        if self.state is State.CLOSED and affordable and self._failures < FAILURES_IN_A_ROW:
            return False
        self.pauses = max(self.pauses, pauses)
        ceiling_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self.pauses, 16))
        self.pauses += 1
        self._enter(State.OPEN, now + ceiling_s * self._dice.uniform(1 - SPREAD, 1))
        return True

    def _enter(self, state: State, until: float) -> None:
        self.state, self.until = state, until
        self.turn += 1
