"""How a job in this process is told to stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from .errors import RebatchError


class Control:
    """Draining: nothing new begins, every wait ends at once, what is in flight finishes and is written down."""

    def __init__(self) -> None:
        """Not draining yet."""
        self.draining = False
        self.forced = False  # a second signal: do not even wait for what is in flight
        self.reason: RebatchError | None = None
        self._waits: set[anyio.CancelScope] = set()

    def drain(self, reason: RebatchError | None = None) -> None:
        """Begin to drain; the first reason given stays. Calling it again changes nothing."""
        self.reason = self.reason or reason
        self.draining = True
        for scope in list(self._waits):
            scope.cancel()

    async def wait(self, until: Callable[[], Awaitable[object]]) -> bool:
        """Wait until `until()` is over; False if draining began first."""
        if self.draining:
            return False
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                await until()
            finally:
                self._waits.discard(scope)
        return not self.draining

    async def sleep(self, seconds: float) -> bool:
        """Sleep; False if draining began first."""
        return await self.wait(lambda: anyio.sleep(seconds))
