"""How long the rest of a stage will take, from what was seen of it lately. Pure: times are handed in, in seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil

from .units import show_duration

WINDOW_S = 30.0
ENOUGH_S = 3.0  # what happens in less is a beginning
ENOUGH_STEPS = 2
KEPT_STEPS = 5  # a slow job does less in 30 s, and one step more or less must not move the estimate by half

Sample = tuple[float, int]
"""When it was seen how much is done."""


def remaining_s(samples: Sequence[Sample], now_s: float, total: int) -> float | None:
    """How long the rest takes at the speed of a window of samples, each of which has more done than the one before.

    Silence since the last one counts: a pause makes it longer. None is “nobody can tell”: at the beginning, or when
    it has been silent for as long as the window itself.
    """
    if len(samples) <= ENOUGH_STEPS:
        return None
    (began_s, before), (last_s, done) = samples[0], samples[-1]
    if last_s - began_s < ENOUGH_S or now_s - last_s > max(WINDOW_S, last_s - began_s):
        return None
    return max(0, total - done) * (now_s - began_s) / (done - before)


class Window:
    """The samples of a stage that still count. What was done before the first look does not."""

    def __init__(self) -> None:
        self._stage = ""
        self._samples: deque[Sample] = deque()

    def remaining_s(self, now_s: float, stage: str, done: int, total: int) -> float | None:
        """Look at a stage: how long its rest takes, or None."""
        if stage != self._stage or (self._samples and done < self._samples[-1][1]):
            self._stage = stage
            self._samples.clear()
        if not self._samples or done > self._samples[-1][1]:
            self._samples.append((now_s, done))
            while len(self._samples) > KEPT_STEPS + 1 and self._samples[1][0] <= now_s - WINDOW_S:
                self._samples.popleft()
        return remaining_s(self._samples, now_s, total)


def show_about(seconds: float) -> str:
    """Not more exactly than an estimate is: `40s`, `3m`, `1h 05m`."""
    if seconds <= 55:  # noqa: PLR2004 - in steps of 5 s it would be a minute
        return f"{max(1, ceil(seconds / 5)) * 5}s"
    minutes = max(1, round(seconds / 60))
    return f"{minutes}m" if minutes < 60 else show_duration(minutes * 60)  # noqa: PLR2004 - of an hour
