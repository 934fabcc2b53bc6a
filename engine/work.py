"""What the stages of a job share."""

from __future__ import annotations

import hmac
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf

from .archiver import Archiver
from .client import Client
from .control import Control
from .ear import Ear
from .errors import GuardError
from .flight import Flight
from .jobledger import JobLedger
from .kind import Change, Export
from .ledger import ENDED, PLAN_TTL_S
from .orders import remove
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
    plan_ttl_s: float = PLAN_TTL_S  # how old a plan may be when it is begun
    planned_at: float = -inf  # when this process finished the plan, on the event loop's clock
    key: str = ""  # what tells the key in use from another: see `mark_of`
    obey: Callable[[], None] = lambda: None  # look at the orders now
    rows_behind: dict[int, int] = field(default_factory=dict)  # by group, the row behind what was read back last
    archive: Archiver | None = None  # where what is taken away is kept first
    details: int = 0  # of rows of the list, that were asked for
    failed: int = 0  # items, in this process: whoever resumes brings new patience

    def fail(self, items: int) -> None:
        """Count items that have failed, and stop when the spec says that so many are too many."""
        self.failed += items
        allowed = self.spec.guards.stop_on_failures
        planned = self.ledger.job["planned"]
        if items and allowed is not None and allowed.trips(self.failed, planned):
            tripped = f"{self.failed:,} of {planned:,} items have failed; `guards: stop_on_failures` allows {allowed}."
            self.control.drain(GuardError(tripped, "Look at them with “rebatch report” before you resume."))

    @property
    def change(self) -> Change:
        """The kind of a job that changes something; only such jobs come to the flows that ask for it."""
        kind = self.spec.kind
        if not isinstance(kind, Change):
            raise TypeError(f"{kind.name} changes nothing")
        return kind

    @property
    def export(self) -> Export:
        """The kind of a job that exports."""
        kind = self.spec.kind
        if not isinstance(kind, Export):
            raise TypeError(f"{kind.name} exports nothing")
        return kind

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
        flight = Flight(limits.concurrency)
        client = Client(
            transport, pacer, control, ledger.progress, limits.attempts, patience_s=limits.patience, flight=flight
        )
        yield Work(spec, client, ledger, key=mark_of(secrets, ledger.job["job"]), obey=ear.look)


def mark_of(secrets: Mapping[str, str], job: str) -> str:
    """What tells whether a job is worked on with the key that it was planned with. Too short to tell anything else."""
    told = "\n".join(f"{name.lower()}: {value}" for name, value in sorted(secrets.items()))
    return hmac.digest(told.encode(), job.encode(), "sha256")[:4].hex()


@asynccontextmanager
async def _obeying(ear: Ear, ledger: JobLedger) -> AsyncIterator[None]:
    try:
        if ledger.job["state"] in ENDED:
            remove(ledger.checkpoint.path)  # given in the instant in which it ended
        ear.begin()
        async with task_group() as beside:
            beside.start_soon(ear.listen)
            yield
            beside.cancel_scope.cancel()
    finally:
        ear.lift()
        if ledger.job["state"] in ENDED:
            remove(ledger.checkpoint.path)
