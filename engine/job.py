"""A job from its beginning to its end. `resume` is this same code, entered at the stage that the checkpoint names.

planning ──► planned ──► working ──► verifying ──► finished
    └──► refused (a guard)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from .checkpoint import SUFFIX, Checkpoint
from .dispatch import dispatch
from .freshen import freshen
from .jobledger import JobLedger
from .plan import make_plan, refusal
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
    state_dir: Path, spec: JobSpec, *, origin: str, source: str, approved: bool = False, now: Clock = utc_now
) -> JobLedger:
    """Begin a job: a new checkpoint in state *planning*, locked by this process. Raises CheckpointError.

    `approved` agrees beforehand to whatever the plan will be.
    """
    job = new_id()
    ledger = JobLedger(Checkpoint.create(state_dir / (job + SUFFIX)))
    began = now().isoformat()
    await ledger.note(
        job=job, spec=spec.name, kind=spec.kind.name, state="planning", raw=spec.raw, source=source, origin=origin,
        now=began, created_at=began, started_at=None, finished_at=None, approved_at=began if approved else None, requests=0, retries=0,
    )  # fmt: skip
    return ledger


async def approve(ledger: JobLedger, now: Clock = utc_now) -> None:
    """A person, or --yes, has agreed to the plan."""
    await ledger.note(approved_at=now().isoformat())


async def plan(work: Work) -> None:
    """Bring a job to *planned*, if it is not further already. Raises GuardError when a guard forbids it."""
    if work.ledger.job["state"] == "refused":
        raise refusal(work.ledger.job["refused_because"])
    if work.ledger.job["state"] == "planning":
        await make_plan(work)


async def carry_out(work: Work, now: Clock = utc_now, *, wait: bool = True) -> None:
    """Bring an approved job to its end, from wherever it is. Raises what stops it; it can be resumed then.

    One that is finished is looked at again if it is worth that. Without `wait`, what the service is still at work on then
    stays *accepted*.
    """
    ledger = work.ledger
    await ledger.checkpoint.mark_open()
    if ledger.job["state"] in {"planned", "working"}:
        await freshen(work)
    if ledger.job["state"] == "planned":
        await ledger.note(state="working", started_at=now().isoformat())
    if ledger.job["state"] == "working":
        await _dispatch_all(work)
        await ledger.note(state="verifying")
    if ledger.job["state"] == "finished" and await worth_another_look(ledger):
        await ledger.note(state="verifying")
    if ledger.job["state"] == "verifying":
        await verify(work, wait=wait)
        await ledger.note(state="finished", finished_at=now().isoformat())


async def _dispatch_all(work: Work) -> None:
    ledger = work.ledger
    if work.spec.kind.repeatable:
        await ledger.free_unsettled()
    counts = await ledger.counts()
    planned = ledger.job["planned"]
    work.progress.begin("working", planned, planned - counts["not_attempted"] - counts["unsettled"])
    await dispatch(work, *await ledger.span())
    if work.control.reason:
        raise work.control.reason
