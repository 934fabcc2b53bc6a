"""Where a job stands, for whoever watches. Written by the flows, read by a face; nothing is decided by it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """Counters of this job. `requests` and `retries` continue over a resume; the rest is of the present stage."""

    stage: str = ""
    done: int = 0
    total: int = 0
    requests: int = 0
    retries: int = 0
    held_until: float = 0.0  # the service asked for silence; on the event loop's clock
    down_until: float = 0.0  # the service does not answer: when it is tried again, on the same clock
    order: str = ""  # what a person has asked for meanwhile: "paused"

    def begin(self, stage: str, total: int = 0, done: int = 0) -> None:
        """Enter a stage of `total` steps, `done` of which are over already."""
        self.stage, self.total, self.done = stage, total, done
