"""Carrying out one job with nobody to ask: what the keeper of schedules needs done, without knowing of what service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio
import structlog

from .. import job as stages
from ..control import Control
from ..errors import Exit, RebatchError, SignalledError, StoppedError
from ..jobledger import JobLedger
from ..ledger import ENDED
from ..notices.message import End
from ..report import exit_code, summarize
from ..spec import JobSpec
from ..tasks import task_group
from ..units import show_duration
from ..verify import worth_another_look
from ..work import Work

log = structlog.get_logger("rebatch")


class Carrier(Protocol):
    """Reads specs, makes jobs of them and carries them out, for one account at one service."""

    def load(self, source: Path) -> Sequence[JobSpec]:
        """The jobs of a spec file. Raises UsageError, SpecError."""

    async def begin(self, spec: JobSpec, source: str, job: str) -> JobLedger:
        """Begin a job of this id, agreed to beforehand. Raises CheckpointError, UsageError."""

    def reopen(self, path: Path) -> tuple[JobLedger, JobSpec]:
        """Open a job to go on with it. Raises LockedError, UsageError."""

    async def carry(self, ledger: JobLedger, spec: JobSpec, control: Control) -> End | None:
        """Bring a job to its end from wherever it is; None if it was told to stop first. Raises nothing that it meets."""


class Tell(Protocol):
    """Whoever is told what happens, in a line; `wrong` when it is not as it should be."""

    def __call__(self, text: str, *, wrong: bool = False) -> None:
        """Take it."""


class PastDeadlineError(StoppedError):
    """A job was at work for longer than its schedule allows."""


async def to_its_end(work: Work) -> None:
    """All stages, from wherever the job is. Raises what stops it."""
    await stages.plan(work)
    if work.ledger.job["state"] not in ENDED or await worth_another_look(work.ledger):
        await stages.carry_out(work)


async def ending(ledger: JobLedger, stopped: BaseException | None) -> End | None:
    """How a job has ended; None if it was only told to stop, and is to go on another time."""
    if isinstance(stopped, SignalledError):
        return None
    report, stopped = await _report(ledger, stopped)
    if stopped is None:
        return End(exit_code(report), None, report)
    if isinstance(stopped, RebatchError):
        return End(stopped.exit_code, str(stopped), report)
    log.error("unexpected", job=ledger.job["job"], exc_info=stopped)
    return End(Exit.UNEXPECTED, f"Unexpected {type(stopped).__name__}. This is a mistake in rebatch.", report)


async def _report(ledger: JobLedger, stopped: BaseException | None) -> tuple[dict[str, Any], BaseException | None]:
    """What a job did, and what stopped it: the disk that did so may not be readable either."""
    state = ledger.job["state"]
    try:
        return await summarize(
            ledger, "interrupted" if state in {"planning", "working", "verifying"} else state
        ), stopped
    except RebatchError as error:
        return {"job": ledger.job["job"], "state": state}, stopped or error


async def found_ended(path: Path) -> End | None:
    """How the job of this checkpoint has ended; None if it has not. Raises UsageError, CheckpointError."""
    ledger = JobLedger.look(path)
    try:
        return await ending(ledger, None) if ledger.job["state"] in ENDED else None
    finally:
        ledger.checkpoint.close()


@asynccontextmanager
async def expiring(spec: JobSpec, ledger: JobLedger, spent_s: float, control: Control) -> AsyncIterator[None]:
    """Drain the job when the deadline of its schedule comes; it has been at work for `spent_s` already."""
    deadline_s = spec.schedule.deadline if spec.schedule else None
    if deadline_s is None:
        yield
        return
    said = f"It was at work for longer than its deadline of {show_duration(deadline_s)} and was stopped."
    late = PastDeadlineError(said, f"Go on with it: rebatch resume {ledger.job['job']}")
    if spent_s >= deadline_s:
        control.drain(late)

    async def expire() -> None:
        await anyio.sleep(max(0.0, deadline_s - spent_s))
        control.drain(late)

    async with task_group() as beside:
        beside.start_soon(expire)
        yield
        beside.cancel_scope.cancel()
