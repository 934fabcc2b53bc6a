"""What is still to be sent: first what the ledger has, and in between what comes back, each when its time has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush

import anyio

from .control import Control
from .ledger import Chunk, Ledger

_FETCH = 64  # chunks read from the ledger at once
_MOST_OPEN = 256  # chunks under way, or waiting for another try or for their fate, before new ones have to wait


class Backlog:
    """Hands out chunks to workers. A chunk that was taken is either put back with `again` or closed with `over`."""

    def __init__(self, ledger: Ledger, control: Control, first: int, last: int) -> None:
        """The chunks from item `first` to item `last` of the plan."""
        self._ledger, self._control = ledger, control
        self._after, self._last = first - 1, last
        self._fresh: deque[Chunk] = deque()
        self._returned: list[tuple[float, int, Chunk]] = []
        self._open = 0  # taken and not over
        self._adopted: set[int] = set()
        self._fetching = anyio.Lock()
        self._changed = anyio.Event()

    def adopt(self, chunks: Iterable[int]) -> None:
        """Expect chunks to come `again` or be `over` that were not taken here: those found unsettled, by their `first`."""
        self._adopted.update(chunks)
        self._open += len(self._adopted)

    async def take(self) -> Chunk | None:
        """The next chunk whose time has come; None when nothing is left or draining has begun.

        When the job is cancelled no chunk is handed out any more, and nothing is left once all that were are over.
        """
        while not self._control.draining:
            if self._control.cancelled:
                self._drop()
            elif self._returned and self._returned[0][0] <= anyio.current_time():
                return heappop(self._returned)[2]
            elif self._open < _MOST_OPEN and (chunk := await self._next()):
                self._open += 1
                return chunk
            if not self._open:
                return None
            await self._wait()
        return None

    def again(self, chunk: Chunk, after_s: float = 0.0) -> None:
        """Put a chunk back, to be taken in `after_s` seconds; when the job is cancelled, it is over."""
        heappush(self._returned, (anyio.current_time() + after_s, chunk.first, chunk))
        self._wake()

    def over(self) -> None:
        """A chunk that was taken will not come back."""
        self._open -= 1
        self._wake()

    def _drop(self) -> None:
        self._open -= len(self._returned)
        self._returned.clear()

    async def _next(self) -> Chunk | None:
        async with self._fetching:
            while not self._fresh and self._after < self._last:
                found = await self._ledger.pending(self._after, self._last, _FETCH)
                self._fresh.extend(chunk for chunk in found if chunk.first not in self._adopted)
                self._after = found[-1].first if found else self._last
        return self._fresh.popleft() if self._fresh else None

    async def _wait(self) -> None:
        changed = self._changed
        delay = self._returned[0][0] - anyio.current_time() if self._returned else None
        with anyio.move_on_after(delay), self._control.until_cancelled():
            await self._control.wait(changed.wait)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
