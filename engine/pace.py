"""The gate that every request passes before it is sent: one per origin and key."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import anyio
from aiolimiter import AsyncLimiter

from .pressure import Lane, Pressure


class Silence:
    """What a service has asked of everybody who uses a key at it: the gates of all jobs may share one."""

    def __init__(self) -> None:
        """Nothing has been asked yet."""
        self.until = float("-inf")  # on the event loop's clock


class Pacer:
    """Lets at most `rate` requests through in any window of one second, and none while the service asked for silence.

    A bucket of capacity c that leaks r a second lets at most c + r through in any second. aiolimiter's obvious use,
    `AsyncLimiter(rate, 1)`, has c = r = rate and lets nearly twice the rate through. Here c = 1 + 0.009 rate and
    r = 0.985 rate: their sum stays below rate + 1, so no window carries more than the rate. The small capacity makes up
    for late wake-ups, the rest of the rate for requests that overtake each other on their way.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = anyio.current_time,
        dice: Random | None = None,
        silence: Silence | None = None,
    ) -> None:
        """`rate` in requests a second; `silence` is shared with the other gates of the same origin and key."""
        self.pressure = Pressure(clock, dice or Random())  # noqa: S311 - jitter
        self._clock = clock
        self._silence = silence or Silence()
        self._changing_until = float("-inf")
        self._queueing: set[anyio.CancelScope] = set()
        self._set(rate)

    async def wait(self, lane: Lane | None = None) -> None:
        """Return when the next request may be sent; with a lane, not while the service fails in it."""
        if lane is None:
            await self._pace()
            return
        while True:
            turn = await self.pressure.let(lane)
            try:
                await self._pace()
            except BaseException:
                self.pressure.give_up(lane, turn)
                raise
            if self.pressure.passed(lane, turn):
                return

    @property
    def held_s(self) -> float:
        """Seconds of silence still to come."""
        return self._silence.until - self._clock()

    def hold(self, seconds: float) -> None:
        """Let nothing through for `seconds` from now. A longer silence already asked for stays."""
        self._silence.until = max(self._silence.until, self._clock() + seconds)

    async def silence(self) -> None:
        """Return when the service wants no silence."""
        while (seconds := self.held_s) > 0:  # noqa: ASYNC110 - it may be prolonged meanwhile
            await anyio.sleep(seconds)

    def change(self, rate: float) -> None:
        """Go on at another rate, also for those who wait already. A silence that was asked for stays.

        The new bucket counts as full: what has just passed at the old rate is followed by a gap of the new one.
        """
        if rate == self.rate:
            return
        self._set(rate)
        self._changing_until = self._clock() + self._limiter.time_period
        for scope in self._queueing:
            scope.cancel()

    def _set(self, rate: float) -> None:
        capacity = 1 + 0.009 * rate
        self.rate = rate
        self._limiter = AsyncLimiter(capacity, capacity / (0.985 * rate))

    async def _pace(self) -> None:
        while True:
            await self.silence()
            if await self._slot() and self.held_s <= 0:
                return  # else silence was asked for while we queued; the slot is lost, the promise kept

    async def _slot(self) -> bool:
        """Wait for the next slot; False if the rate was changed first."""
        limiter = self._limiter
        with anyio.CancelScope() as scope:
            self._queueing.add(scope)
            try:
                if (seconds := self._changing_until - self._clock()) > 0:
                    await anyio.sleep(seconds)
                await limiter.acquire()
            finally:
                self._queueing.discard(scope)
        return limiter is self._limiter
