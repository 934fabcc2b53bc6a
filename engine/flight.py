"""How many reads are under way at once: as many as the service takes well (AIMD; Chiu and Jain, 1989)."""

from __future__ import annotations

from math import inf

import anyio

START = 4
MOST = 32


class Flight:
    """A number of places that grows by one with each round of good answers, and is halved when one is not good.

    Of the requests of one round that fail together only the first counts. Just below the number that was too many last
    time it grows more slowly: a service that takes one at a time would refuse every third request otherwise.
    """

    SLOWLY = 8  # rounds for one more place

    def __init__(self, most: int = MOST) -> None:
        """At most `most` places, and never more than `MOST`."""
        self._most = float(min(most, MOST))
        self.level = min(float(START), self._most)
        self.round = 0
        self._too_many = inf
        self._places = anyio.CapacityLimiter(int(self.level))

    async def enter(self) -> None:
        """Wait for a place; a task has one at most."""
        await self._places.acquire()

    def leave(self) -> None:
        """Give the place back."""
        self._places.release()

    def learn(self, began: int, *, well: bool) -> None:
        """Note, before it leaves, how a read went that got its place in the round `began`."""
        if well:
            full = self._places.borrowed_tokens >= int(self.level)
            slowly = self.level + 1 >= self._too_many
            if full:
                self._set(self.level + 1 / (self.level * (self.SLOWLY if slowly else 1)))
        elif began == self.round:
            self.round += 1
            self._too_many = float(int(self.level))
            self._set(self.level / 2)

    def _set(self, level: float) -> None:
        self.level = min(max(level, 1.0), self._most)
        self._places.total_tokens = int(self.level)
