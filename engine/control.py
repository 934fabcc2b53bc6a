"""How a job in this process is told to stop, to pause, or to end for good."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio

from .errors import RebatchError


class Control:
    """What a job is told while it works.

    Draining: nothing new begins, every wait ends at once, what is in flight finishes and is written down.
    Paused: nothing is sent, reads neither, until it is unpaused; what is in flight finishes, and waits go on.
    Cancelled, for good: nothing is written to the service any more, but the fates of what was sent are found out.
    """

    def __init__(self) -> None:
        """Nothing has been said yet."""
        self.draining = False
        self.forced = False  # a second signal: do not even wait for what is in flight
        self.reason: RebatchError | None = None
        self.cancelled = False
        self._going: anyio.Event | None = None  # set when the pause is over; None when there is none
        self._waits: set[anyio.CancelScope] = set()
        self._until_cancelled: set[anyio.CancelScope] = set()

    def drain(self, reason: RebatchError | None = None) -> None:
        """Begin to drain; the first reason given stays. Calling it again changes nothing."""
        self.reason = self.reason or reason
        self.draining = True
        for scope in list(self._waits):
            scope.cancel()

    @property
    def paused(self) -> bool:
        """Whether nothing may be sent. What is cancelled is not paused: its fates are still to be found out."""
        return self._going is not None

    def pause(self) -> None:
        """Let nothing more through the gate."""
        if not self.cancelled:
            self._going = self._going or anyio.Event()

    def unpause(self) -> None:
        """Go on."""
        if self._going:
            self._going.set()
        self._going = None

    def cancel(self) -> None:
        """Give up what was not sent, for good."""
        self.cancelled = True
        self.unpause()
        for scope in list(self._until_cancelled):
            scope.cancel()

    def begin_anew(self) -> None:
        """Forget pause and cancellation: they were said of one job, and the next begins."""
        self.unpause()
        self.cancelled = False

    async def unpaused(self) -> None:
        """Return when it is not paused."""
        while self._going:
            await self._going.wait()

    @contextmanager
    def until_cancelled(self) -> Iterator[None]:
        """What is in the block is given up at the moment the job is cancelled; look at `cancelled` before and after it."""
        with anyio.CancelScope() as scope:
            self._until_cancelled.add(scope)
            try:
                yield
            finally:
                self._until_cancelled.discard(scope)

    async def wait(self, until: Callable[[], Awaitable[object]], *, unless_cancelled: bool = False) -> bool:
        """Wait until `until()` is over; False if draining began first, or the job was cancelled where that matters."""
        if self._over(unless_cancelled):
            return False
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            if unless_cancelled:
                self._until_cancelled.add(scope)
            try:
                await until()
            finally:
                self._waits.discard(scope)
                self._until_cancelled.discard(scope)
        return not self._over(unless_cancelled)

    def _over(self, unless_cancelled: bool) -> bool:  # noqa: FBT001 - as `wait` has it
        return self.draining or (unless_cancelled and self.cancelled)

    async def sleep(self, seconds: float) -> bool:
        """Sleep; False if draining began first."""
        return await self.wait(lambda: anyio.sleep(seconds))
