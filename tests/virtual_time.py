"""An event loop on which time passes only when there is nothing else to do: hours of waiting cost no time at all.

Sockets and worker threads are real. The clock jumps to the next timer when no socket is ready and no thread is at work.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from math import inf, nextafter
from typing import Any, TypeVar

from anyio.to_thread import current_default_thread_limiter

T = TypeVar("T")
_TICK_S = 1e-9  # what a turn of the loop costs: a timer a rounding error ahead must not stop the clock


class _Selector(selectors.DefaultSelector):
    """Never sleeps; it moves the clock instead."""

    now = 0.0
    busy: Callable[[], bool] = staticmethod(lambda: False)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now = max(self.now + _TICK_S, nextafter(self.now, inf))  # in a year a tick is too little to be seen
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.busy():  # a thread will wake us, or another process
            return super().select(timeout if timeout is None else min(timeout, 1))
        self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose `time()` is virtual."""

    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self.selector.now


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main()` to its end in virtual time."""
    loop = VirtualLoop()

    async def begin() -> T:
        limiter = current_default_thread_limiter()
        loop.selector.busy = lambda: limiter.borrowed_tokens > 0
        return await main()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(begin())
