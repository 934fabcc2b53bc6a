"""Carrying out jobs of schedules on an account: nobody is asked, all that happens is in what they end with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog

from engine import job as stages
from engine.control import Control
from engine.errors import RebatchError, UsageError
from engine.jobledger import JobLedger
from engine.notices.message import End
from engine.pace import Pacer, Silence
from engine.schedule.carrier import ending, to_its_end
from engine.spec import JobSpec, load_spec, parse_job
from engine.work import working

from . import kinds
from .account import refuse_key_in
from .credentials import Credentials

log = structlog.get_logger("rebatch")
Shown = Callable[[JobLedger, End], Awaitable[None]]


async def _unseen(_ledger: JobLedger, _end: End) -> None:
    """Nobody looks."""


class Carrier:
    """An `engine.schedule.carrier.Carrier` for one account: each job keeps to its own rate, and all keep silence together."""

    def __init__(self, credentials: Credentials, state_dir: Path, show: Shown = _unseen) -> None:
        """`show` is shown each job when it has ended, while it is still open."""
        self._credentials, self._state_dir, self._show = credentials, state_dir, show
        self._silence = Silence()

    def load(self, source: Path) -> Sequence[JobSpec]:
        """The jobs of a spec file. Raises UsageError, SpecError."""
        jobs = load_spec(source, kinds.find())
        for job in jobs:
            refuse_key_in(job, str(source), self._credentials.key)
        return jobs

    async def begin(self, spec: JobSpec, source: str, job: str) -> JobLedger:
        """Begin a job of this id: that its spec has a schedule is the consent. Raises CheckpointError."""
        origin = self._credentials.origin
        return await stages.create(self._state_dir, spec, origin=origin, source=source, approved=True, job=job)

    def reopen(self, path: Path) -> tuple[JobLedger, JobSpec]:
        """Open a job to go on with it. Raises LockedError, UsageError."""
        ledger = JobLedger.resume(path)
        spec, problems = parse_job(ledger.job["raw"], kinds.find())
        planned_at, origin = ledger.job["origin"], self._credentials.origin
        if spec is not None and planned_at == origin:
            return ledger, spec
        ledger.checkpoint.close()
        if spec is None:
            raise UsageError(f"Job {ledger.job['job']} cannot be read here: {problems[0].message}.")
        raise UsageError(f"Job {ledger.job['job']} was planned at {planned_at}; the address in use is {origin}.")

    async def carry(self, ledger: JobLedger, spec: JobSpec, control: Control) -> End | None:
        """Bring a job to its end from wherever it is; None if it was told to stop first. Raises nothing that it meets."""
        stopped: Exception | None = None
        try:
            gate = Pacer(spec.limits.rate, silence=self._silence)
            async with working(ledger, spec, self._credentials.headers, gate, control) as work:
                await to_its_end(work)
        except Exception as error:  # noqa: BLE001 - one job's trouble is not the others'
            stopped = error
        end = await ending(ledger, stopped)
        try:
            if end is not None:
                await self._show(ledger, end)
        except (RebatchError, OSError) as error:  # whoever looked has gone: that changes nothing about the job
            log.warning("the report cannot be shown", job=ledger.job["job"], error=str(error))
        return end
