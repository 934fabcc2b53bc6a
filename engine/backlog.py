"""What is still to be sent: first what comes back, each when its time has come, and in between what the ledger has."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import islice, takewhile
from math import inf

import anyio

from .control import Control
from .errors import RebatchError
from .ledger import Chunk, Ledger
from .tasks import Bell

_FETCH = 64  # chunks read from the ledger, and looked at, at once
MOST_OPEN = 256  # chunks under way, or waiting for another try or for their fate, before new ones have to wait

Look = Callable[[Sequence[Chunk]], Awaitable[Sequence[Chunk]]]


class Backlog:
    """Hands out chunks to workers. A chunk that was taken is put back with `again`, cut with `split`, or closed with `over`."""

    def __init__(
        self,
        ledger: Ledger,
        control: Control,
        look: Look,
        first: int,
        last: int,
        *,
        mixed: bool = False,
        together: int = MOST_OPEN,
        one_at_a_time: bool = False,
        needs_look: Callable[[Chunk], bool] = lambda _chunk: True,
    ) -> None:
        """The chunks from item `first` to item `last` of the plan; `look` takes out of them what is not to be sent.

        New chunks are handed out without it as long as `needs_look` says that they can be.

        One look is at `together` chunks at most, and at those of several groups only if they are `mixed`. With `one_at_a_time`, of each group one chunk is
        out at most: with a worker, or waiting for its fate to be found out.
        """
        self._mixed, self._together, self._one_at_a_time = mixed, together, one_at_a_time
        self._out: set[int] = set()  # groups of which a chunk is out
        self._behind: defaultdict[int, deque[Chunk]] = defaultdict(deque)  # chunks that wait for one of their group
        self._ledger, self._control, self._look, self._needs_look = ledger, control, look, needs_look
        self._after, self._last = first - 1, last
        self._fresh: deque[Chunk] = deque()
        self._returned: list[tuple[float, int, int, Chunk]] = []  # by when, the smaller first
        self._open = 0  # taken and not over
        self._adopted: set[int] = set()
        self._fetching = anyio.Lock(fast_acquire=True)
        self._changed = Bell()

    def adopt(self, chunks: Iterable[Chunk]) -> None:
        """Expect chunks to come `again` or be `over` that were not taken here: those found unsettled."""
        for chunk in chunks:
            self._adopted.add(chunk.first)
            self._out.add(chunk.group)
            self._open += 1

    async def take(self) -> Chunk | None:
        """The next chunk whose time has come; None when nothing is left or draining has begun.

        When the job is cancelled no chunk is handed out any more, and nothing is left once all that were are over.
        """
        while not self._control.draining:
            if self._control.cancelled:
                self._drop()
            elif self._returned and self._returned[0][0] <= anyio.current_time():
                if (chunk := await self._next_returned()) and self._goes_out(chunk):
                    return chunk
                continue
            elif self._open < MOST_OPEN and (fresh := await self._next()):
                if self._goes_out(fresh):
                    return fresh
                continue
            if not self._open:
                return None
            await self._wait()
        return None

    def again(self, chunk: Chunk, after_s: float = 0.0) -> None:
        """Put a chunk back, to be taken in `after_s` seconds; when the job is cancelled, it is over."""
        self._put(chunk, anyio.current_time() + after_s)
        self._came_in(chunk.group)

    def split(self, parts: Sequence[Chunk]) -> None:
        """In place of a chunk that was taken, put these; the smallest goes first, so that one culprit is found soon."""
        self._open += len(parts) - 1
        self._adopted.update(part.first for part in parts)  # else they might be found among what is pending, too
        for part in parts:
            self._put(part, -inf)
        self._came_in(parts[0].group)

    def over(self, chunk: Chunk) -> None:
        """A chunk that was taken will not come back."""
        self._open -= 1
        self._came_in(chunk.group)

    def is_all(self, chunks: int) -> bool:
        """Whether, beside so many chunks that were taken, nothing goes on and nothing can begin."""
        exhausted = self._control.cancelled or (not self._fresh and self._after >= self._last)
        return self._open - self._waiting_behind <= chunks and (exhausted or self._open >= MOST_OPEN)

    def _goes_out(self, chunk: Chunk) -> bool:
        """Whether a chunk can be handed out now; else it is put behind the one of its group that is out."""
        if not self._one_at_a_time or chunk.group not in self._out:
            self._out.add(chunk.group)
            return True
        self._behind[chunk.group].append(chunk)
        return False

    def _came_in(self, group: int) -> None:
        self._out.discard(group)
        if behind := self._behind.pop(group, None):
            for chunk in behind:
                self._put(chunk, -inf)
        self._changed.ring()

    @property
    def _waiting_behind(self) -> int:
        return sum(map(len, self._behind.values()))

    def _drop(self) -> None:
        self._open -= len(self._returned) + self._waiting_behind
        self._returned.clear()
        self._behind.clear()

    async def _next_returned(self) -> Chunk | None:
        """The one that is due, after one look at all of its group that have come back."""
        group = self._seen_with(self._returned[0][-1])
        alike = sorted(entry for entry in self._returned if self._seen_with(entry[-1]) == group)
        others = [entry for entry in self._returned if self._seen_with(entry[-1]) != group]
        waiting, self._returned = alike[: self._together], others + alike[self._together :]
        heapify(self._returned)
        seen = {chunk.first: chunk for chunk in await self._seen([entry[-1] for entry in waiting])}
        for at, _, first, _ in waiting:
            if first in seen:
                self._put(seen[first], at)
            else:
                self._open -= 1
        due = self._returned and self._returned[0][0] <= anyio.current_time()
        if due and self._seen_with(self._returned[0][-1]) == group:
            return heappop(self._returned)[-1]
        self._changed.ring()
        return None

    def _seen_with(self, chunk: Chunk) -> int:
        """Chunks for which this is the same are looked at together."""
        return 0 if self._mixed else chunk.group

    async def _next(self) -> Chunk | None:
        async with self._fetching:
            while self._open < MOST_OPEN and not self._control.draining and not self._control.cancelled:
                if not self._fresh:
                    if self._after >= self._last:
                        break
                    await self._fetch()
                elif not self._needs_look(self._fresh[0]) or await self._look_at_head():
                    self._open += 1
                    return self._fresh.popleft()
        return None

    async def _look_at_head(self) -> bool:
        """Look at the first chunks, as far as they are of one group: one look for many. False when nothing is left of them."""
        first = self._seen_with(self._fresh[0])
        alike = takewhile(lambda chunk: self._seen_with(chunk) == first, self._fresh)
        head = list(islice(alike, self._together))
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
        """What is left of chunks after the look; nothing if the job is cancelled, since nothing is sent any more.

        What stops the look must not tear away what is in flight: it drains.
        """
        seen: Sequence[Chunk] = []
        with self._control.until_cancelled():
            try:
                seen = await self._look(chunks)
            except RebatchError as error:
                self._control.drain(error)
        return seen

    def _put(self, chunk: Chunk, at: float) -> None:
        heappush(self._returned, (at, len(chunk.ids), chunk.first, chunk))
        self._changed.ring()

    async def _wait(self) -> None:
        delay = self._returned[0][0] - anyio.current_time() if self._returned else None
        with anyio.move_on_after(delay), self._control.until_cancelled():
            await self._control.wait(self._changed.rung)
