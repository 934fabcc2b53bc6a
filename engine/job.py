"""A job from its beginning to its end. `resume` is this same code, entered at the stage that the checkpoint names.

planning ──► planned ──► working ──► verifying ──► finished
    ├──► refused (a guard)
    └──► cancelled (from any of them, when it is ordered)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from . import canary
from .archiver import archiving
from .checkpoint import SUFFIX, Checkpoint
from .dispatch import dispatch
from .errors import StoppedError, UsageError
from .export import export
from .fates import ItemFate
from .jobledger import JobLedger
from .kind import Export
from .look import see_account
from .plan import hold_to_plan, make_plan, refusal
from .spec import JobSpec
from .verify import verify, worth_another_look
from .work import Work

_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: nothing that reads like something else
ID_LENGTH = 8

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """An id that a person can read out and type; a letter first, so that it is never taken for a number."""
    first = secrets.choice(_LETTERS[10:])
    return first + "".join(secrets.choice(_LETTERS) for _ in range(ID_LENGTH - 1))


async def create(
    state_dir: Path,
    spec: JobSpec,
    *,
    origin: str,
    source: str,
    approved: bool = False,
    job: str | None = None,
    now: Clock = utc_now,
) -> JobLedger:
    """Begin a job: a new checkpoint in state *planning*, locked by this process. Raises CheckpointError.

    `approved` agrees beforehand to whatever the plan will be. `job` is its id, where that was chosen already.
    """
    job = job or new_id()
    ledger = JobLedger(Checkpoint.create(state_dir / (job + SUFFIX)))
    began = now().isoformat()
    await ledger.note(
        job=job, spec=spec.name, kind=spec.kind.name, state="planning", raw=spec.raw, source=source, origin=origin,
        folder=str(Path.cwd()), now=began, created_at=began, started_at=None, finished_at=None, approved_at=began if approved else None, requests=0, retries=0,
    )  # fmt: skip
    return ledger


async def approve(ledger: JobLedger, now: Clock = utc_now) -> None:
    """A person, or --yes, has agreed to the plan."""
    await ledger.note(approved_at=now().isoformat())


async def plan(work: Work, now: Clock = utc_now) -> None:
    """Bring a job to *planned*, if it is not further already. Raises GuardError when a guard forbids it."""
    ledger, control = work.ledger, work.control
    if ledger.job["state"] == "refused":
        raise refusal(ledger.job)
    if ledger.job["state"] == "cancelled":
        raise cancelled_for_good(ledger)
    if ledger.job["state"] == "planning" and not control.cancelled:
        with control.until_cancelled():
            await make_plan(work)
    if control.cancelled and ledger.job["state"] in {"planning", "planned"}:
        await _end_cancelled(ledger, now)


def cancelled_for_good(ledger: JobLedger) -> UsageError:
    """There is no way back from this state."""
    return UsageError(
        f"Job {ledger.job['job']} was cancelled, for good.", "To do what is left, plan it anew from its spec."
    )


async def cancel_idle(ledger: JobLedger, now: Clock = utc_now) -> bool:
    """End a job that this process has opened and does not work on; False if something may be in flight: settle it first."""
    counts = await ledger.counts()
    if counts[ItemFate.UNSETTLED] or counts[ItemFate.ACCEPTED] or await ledger.doubtful():
        return False
    await _end_cancelled(ledger, now)
    return True


async def _end_cancelled(ledger: JobLedger, now: Clock) -> None:
    await ledger.skip_unsent()
    await ledger.note(state="cancelled", finished_at=now().isoformat())


async def carry_out(work: Work, now: Clock = utc_now, *, wait: bool = True) -> None:
    """Bring an approved job to its end, from wherever it is. Raises what stops it; it can be resumed then.

    A plan that is too old, or not the one that was made, is not begun: GuardError. A job that is finished is looked at
    again if it is worth that. Without `wait`, what the service is still at work on then stays *accepted*.
    """
    ledger, control = work.ledger, work.control
    work.obey()
    if ledger.job.get("cancelled"):
        control.cancel()
    if ledger.job["state"] == "planned" and not control.cancelled:
        await hold_to_plan(work)
    await ledger.checkpoint.mark_open()
    if ledger.job["state"] in {"planned", "working"} and not control.cancelled:
        with control.until_cancelled():
            await see_account(work)
    if ledger.job["state"] == "planned":
        await ledger.note(state="working", started_at=now().isoformat())
    if ledger.job["state"] == "working":
        async with archiving(work.spec, ledger) as work.archive:
            await _send_all(work)
        await ledger.note(state="verifying")
    if ledger.job["state"] == "finished" and await worth_another_look(ledger):
        await ledger.note(state="verifying")
    if ledger.job["state"] == "verifying":
        await verify(work, wait=wait)
        end = "cancelled" if control.cancelled else "finished"
        await ledger.note(state=end, finished_at=now().isoformat())


async def _send_all(work: Work) -> None:
    """Send what is to be sent, the first items before the others if the spec says so, until each has a fate."""
    ledger, control = work.ledger, work.control
    if isinstance(work.spec.kind, Export):
        await export(work)
        if control.cancelled:
            await ledger.skip_unsent()
        return
    repeatable = work.change.repeatable
    if repeatable:
        await ledger.free_unsettled()
    if number := canary.still_to_go(work):
        await _send(work, 1, number)
        if not control.cancelled:
            await canary.see_through(work, number)
    await _send(work, *await ledger.span())
    if control.cancelled:
        if repeatable:  # what was sent without a known fate is never sent again: read it back
            await ledger.unsettle_doubtful()
            await _send(work, *await ledger.span())
        await ledger.skip_unsent()


async def _send(work: Work, first: int, last: int) -> None:
    """Send the items from `first` to `last` of the plan. Raises what stopped it."""
    counts, planned, control = await work.ledger.counts(), work.ledger.job["planned"], work.control
    work.progress.begin("working", planned, planned - counts["not_attempted"] - counts["unsettled"])
    await dispatch(work, first, last)
    if control.draining:
        raise control.reason or StoppedError("Stopped.")
