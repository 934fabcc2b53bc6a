"""What the stages of a job share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf

from .client import Client
from .control import Control
from .jobledger import JobLedger
from .ledger import ENDED
from .orders import Ear, remove
from .pace import Pacer
from .progress import Progress
from .spec import JobSpec
from .tasks import task_group
from .transport import connect


@dataclass(slots=True)
class Work:
    """One job being worked on. `wall` tells the time in seconds since the epoch; it may jump, the event loop's may not."""

    spec: JobSpec
    client: Client
    ledger: JobLedger
    wall: Callable[[], float] = time.time
    planned_at: float = -inf  # when this process finished the plan, on the event loop's clock
    obey: Callable[[], None] = lambda: None  # look at the orders now

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
    ledger: JobLedger, spec: JobSpec, secrets: Mapping[str, str], pacer: Pacer, control: Control
) -> AsyncIterator[Work]:
    """Everything that is needed to work on a job, connected to the origin that the job was planned at, obeying orders.

    `secrets` are the headers that authenticate; they go to that origin and nowhere else. `pacer` is the gate of that
    origin and key, whoever else passes it. Raises PausedError when the job is to pause before it has begun.
    """
    limits = spec.limits
    ear = Ear(ledger.checkpoint.path, control, pacer, ledger.progress)
    connected = connect(ledger.job["origin"], secrets, connections=limits.concurrency, timeout_s=limits.timeout)
    async with connected as transport, _obeying(ear, ledger):
        client = Client(transport, pacer, control, ledger.progress, attempts=limits.attempts)
        yield Work(spec, client, ledger, obey=ear.look)


@asynccontextmanager
async def _obeying(ear: Ear, ledger: JobLedger) -> AsyncIterator[None]:
    try:
        if ledger.job["state"] not in ENDED:
            ear.begin()
        async with task_group() as beside:
            beside.start_soon(ear.listen)
            yield
            beside.cancel_scope.cancel()
    finally:
        ear.lift()
        if ledger.job["state"] in ENDED:
            remove(ledger.checkpoint.path)
