"""What is still to be sent: first what comes back, each when its time has come, and in between what the ledger has."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import takewhile
from math import inf

import anyio

from .control import Control
from .errors import RebatchError
from .ledger import Chunk, Ledger

_FETCH = 64  # chunks read from the ledger, and looked at, at once
_MOST_OPEN = 256  # chunks under way, or waiting for another try or for their fate, before new ones have to wait

Look = Callable[[Sequence[Chunk]], Awaitable[Sequence[Chunk]]]


class Backlog:
    """Hands out chunks to workers. A chunk that was taken is put back with `again`, cut with `split`, or closed with `over`."""

    def __init__(self, ledger: Ledger, control: Control, look: Look, first: int, last: int) -> None:
        """The chunks from item `first` to item `last` of the plan; `look` takes out of them what is not to be sent."""
        self._ledger, self._control, self._look = ledger, control, look
        self._after, self._last = first - 1, last
        self._fresh: deque[Chunk] = deque()
        self._returned: list[tuple[float, int, int, Chunk]] = []  # by when, the smaller first
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
                if chunk := await self._next_returned():
                    return chunk
                continue
            elif self._open < _MOST_OPEN and (fresh := await self._next()):
                return fresh
            if not self._open:
                return None
            await self._wait()
        return None

    def again(self, chunk: Chunk, after_s: float = 0.0) -> None:
        """Put a chunk back, to be taken in `after_s` seconds; when the job is cancelled, it is over."""
        self._put(chunk, anyio.current_time() + after_s)

    def split(self, parts: Sequence[Chunk]) -> None:
        """In place of a chunk that was taken, put these; the smallest goes first, so that one culprit is found soon."""
        self._open += len(parts) - 1
        self._adopted.update(part.first for part in parts)  # else they might be found among what is pending, too
        for part in parts:
            self._put(part, -inf)
        self._wake()

    def over(self) -> None:
        """A chunk that was taken will not come back."""
        self._open -= 1
        self._wake()

    def is_all(self, chunks: int) -> bool:
        """Whether, beside so many chunks that were taken, nothing goes on and nothing can begin."""
        exhausted = self._control.cancelled or (not self._fresh and self._after >= self._last)
        return self._open <= chunks and (exhausted or self._open >= _MOST_OPEN)

    def _drop(self) -> None:
        self._open -= len(self._returned)
        self._returned.clear()

    async def _next_returned(self) -> Chunk | None:
        """The one that is due, after one look at all of its group that have come back."""
        group = self._returned[0][-1].group
        waiting = [entry for entry in self._returned if entry[-1].group == group]
        self._returned = [entry for entry in self._returned if entry[-1].group != group]
        heapify(self._returned)
        seen = {chunk.first: chunk for chunk in await self._seen([entry[-1] for entry in waiting])}
        for at, _, first, _ in waiting:
            if first in seen:
                self._put(seen[first], at)
            else:
                self.over()
        due = self._returned and self._returned[0][0] <= anyio.current_time() and self._returned[0][-1].group == group
        return heappop(self._returned)[-1] if due else None

    async def _next(self) -> Chunk | None:
        async with self._fetching:
            while self._open < _MOST_OPEN and not self._control.draining and not self._control.cancelled:
                if not self._fresh:
                    if self._after >= self._last:
                        break
                    await self._fetch()
                elif await self._look_at_head():
                    self._open += 1
                    return self._fresh.popleft()
        return None

    async def _look_at_head(self) -> bool:
        """Look at the first chunks, as far as they are of one group: one look for many. False when nothing is left of them."""
        head = list(takewhile(lambda chunk: chunk.group == self._fresh[0].group, self._fresh))
        seen = await self._seen(head)
        for _ in head:
            self._fresh.popleft()
        self._fresh.extendleft(reversed(seen))
        return bool(seen)

    async def _fetch(self) -> None:
        found = await self._ledger.pending(self._after, self._last, _FETCH)
        self._after = found[-1].last if found else self._last
        self._fresh.extend(chunk for chunk in found if chunk.first not in self._adopted)

    async def _seen(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """What is left of chunks after the look. What stops the look must not tear away what is in flight: it drains."""
        try:
            return await self._look(chunks)
        except RebatchError as error:
            self._control.drain(error)
            return []

    def _put(self, chunk: Chunk, at: float) -> None:
        heappush(self._returned, (at, len(chunk.ids), chunk.first, chunk))
        self._wake()

    async def _wait(self) -> None:
        changed = self._changed
        delay = self._returned[0][0] - anyio.current_time() if self._returned else None
        with anyio.move_on_after(delay), self._control.until_cancelled():
            await self._control.wait(changed.wait)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
