"""The gate that every request passes before it is sent: one per origin and key."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from random import Random

import anyio
from aiolimiter import AsyncLimiter

from .pressure import Lane, Pressure

SECOND = 1.009  # seconds that we take for one: on their way requests gain or lose some milliseconds on each other
LEAK = 0.988  # of the rate: a little slower than `SECOND` allows, so that what was late once does not stay late
CATCH_UP_S = 0.08  # of requests that could have been sent meanwhile go out at once; what else was missed is lost


class Silence:
    """What a service has asked of everybody who uses a key at it: the gates of all jobs may share one."""

    def __init__(self) -> None:
        """Nothing has been asked yet."""
        self.until = float("-inf")  # on the event loop's clock


@dataclass(slots=True)
class _Departure:
    """When a request leaves; until it has left, when it will at the earliest."""

    at: float


class Pacer:
    """Lets at most `rate` requests leave in any window of one second, and none while the service asked for silence.

    In two steps, since between them an intent is made durable and perhaps a connection opened, which may take a while.
    `wait` spaces requests evenly: a bucket that holds little and leaks at the rate. `leave` is asked when there is nothing
    left to do but to send: a request leaves a second after the one that is `rate` before it, however unevenly they come. aiolimiter's obvious use alone,
    `AsyncLimiter(rate, 1)`, lets nearly twice the rate through in the first second.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] | None = None,
        dice: Random | None = None,
        silence: Silence | None = None,
    ) -> None:
        """`rate` in requests a second; `silence` is shared with the other gates of the same origin and key.

        `clock` in seconds; without it, that of the event loop, in which it has to be made then.
        """
        self._clock = clock or asyncio.get_running_loop().time  # `anyio.current_time` looks for the loop each time
        self.pressure = Pressure(self._clock, dice or Random())  # noqa: S311 - jitter
        self._silence = silence or Silence()
        self._changing_until = float("-inf")
        self._queueing: set[anyio.CancelScope] = set()
        self._left: deque[_Departure] = deque()
        self._set(rate)

    async def wait(self, lane: Lane | None = None) -> None:
        """Return when it is the turn of the next request; with a lane, not while the service fails in it."""
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

    async def leave(self) -> bool:
        """Return when a request whose turn it is may be sent: at once, mostly. False if silence was asked for."""
        if self.held_s > 0:
            return False
        left = self._left
        before = left[0] if len(left) == left.maxlen else None
        departure = _Departure(self._clock())
        left.append(departure)
        while before and (at := before.at + SECOND) > (now := self._clock()):  # it may leave later than was foreseen
            departure.at = at
            await anyio.sleep(at - now)
        departure.at = self._clock()
        return self.held_s <= 0

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

        What has just passed at the old rate is followed by a gap of the new one.
        """
        if rate == self.rate:
            return
        self._set(rate)
        self._changing_until = self._clock() + 1 / rate
        for scope in self._queueing:
            scope.cancel()

    def _set(self, rate: float) -> None:
        self.rate = rate
        capacity = 1 + CATCH_UP_S * rate
        self._limiter = AsyncLimiter(capacity, capacity / (LEAK * rate))
        self._left = deque(self._left, maxlen=ceil(rate))

    async def _pace(self) -> None:
        while True:
            await self.silence()
            if await self._slot() and self.held_s <= 0:
                return  # else silence was asked for while we queued; the slot is lost, the promise kept

    async def _slot(self) -> bool:
        """Wait for the next slot; False if the rate was changed first."""
        limiter, now = self._limiter, self._clock()
        if limiter.has_capacity() and now >= self._changing_until:
            await limiter.acquire()  # at once
            return True
        with anyio.CancelScope() as scope:
            self._queueing.add(scope)
            try:
                await anyio.sleep(max(0.0, self._changing_until - now))
                await limiter.acquire()
            finally:
                self._queueing.discard(scope)
        return limiter is self._limiter
