"""The gate that every request passes before it is sent: one per origin and key."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from aiolimiter import AsyncLimiter


class Pacer:
    """Lets at most `rate` requests through in any window of one second, and none while the service asked for silence.

    A bucket of capacity c that leaks r a second lets at most c + r through in any second. aiolimiter's obvious use,
    `AsyncLimiter(rate, 1)`, has c = r = rate and lets nearly twice the rate through. Here c = 1 + 0.009 rate and
    r = 0.985 rate: their sum stays below rate + 1, so no window carries more than the rate. The small capacity makes up
    for late wake-ups, the rest of the rate for requests that overtake each other on their way.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = anyio.current_time) -> None:
        """`rate` in requests a second."""
        self.rate = rate
        self._limiter = _bucket(rate)
        self._queued: set[anyio.CancelScope] = set()
        self._clock = clock
        self._held_until = float("-inf")

    async def wait(self) -> None:
        """Return when the next request may be sent."""
        while True:
            await self._silence()
            limiter = self._limiter
            with anyio.CancelScope() as queued:
                self._queued.add(queued)
                try:
                    await limiter.acquire()
                finally:
                    self._queued.discard(queued)
            if self.held_s <= 0 and limiter is self._limiter:
                return  # else silence was asked for while we queued; the slot is lost, the promise kept

    def change(self, rate: float) -> None:
        """Let `rate` requests a second through from now on; the second before counts, so nothing passes for one."""
        self.rate, self._limiter = rate, _bucket(rate)
        self.hold(1.0)
        for queued in list(self._queued):
            queued.cancel()  # a slot of the old rate may be an hour away

    @property
    def held_s(self) -> float:
        """Seconds of silence still to come."""
        return self._held_until - self._clock()

    def hold(self, seconds: float) -> None:
        """Let nothing through for `seconds` from now. A longer silence already asked for stays."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    async def _silence(self) -> None:
        while (seconds := self.held_s) > 0:  # noqa: ASYNC110 - it may be prolonged meanwhile
            await anyio.sleep(seconds)


def _bucket(rate: float) -> AsyncLimiter:
    capacity = 1 + 0.009 * rate
    return AsyncLimiter(capacity, capacity / (0.985 * rate))
