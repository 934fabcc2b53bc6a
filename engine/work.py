"""What the stages of a job share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from .client import Client
from .control import Control
from .ledger import JobLedger
from .pace import Pacer
from .progress import Progress
from .spec import JobSpec
from .transport import connect


@dataclass(frozen=True, slots=True)
class Work:
    """One job being worked on. `wall` tells the time in seconds since the epoch; it may jump, the event loop's may not."""

    spec: JobSpec
    client: Client
    ledger: JobLedger
    wall: Callable[[], float] = time.time

    @property
    def control(self) -> Control:
        """How the job is told to stop."""
        return self.client.control

    @property
    def progress(self) -> Progress:
        """Where it stands."""
        return self.ledger.progress


@asynccontextmanager
async def working(
    ledger: JobLedger, spec: JobSpec, secrets: Mapping[str, str], control: Control | None = None
) -> AsyncIterator[Work]:
    """Everything that is needed to work on a job, connected to the origin that the job was planned at.

    `secrets` are the headers that authenticate; they go to that origin and nowhere else.
    """
    limits = spec.limits
    connected = connect(ledger.job["origin"], secrets, connections=limits.concurrency, timeout_s=limits.timeout)
    async with connected as transport:
        client = Client(transport, Pacer(limits.rate), control or Control(), ledger.progress, attempts=limits.attempts)
        yield Work(spec, client, ledger)
