"""A job from its beginning to its end. `resume` is this same code, entered at the stage that the checkpoint names.

planning ──► planned ──► working ──► verifying ──► finished
    └──► refused (a guard)
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from .checkpoint import SUFFIX, Checkpoint
from .dispatch import dispatch
from .errors import GuardError
from .fates import ItemFate
from .jobledger import JobLedger
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
        raise refusal(work.ledger.job)
    if work.ledger.job["state"] == "planning":
        await make_plan(work)


async def carry_out(work: Work, now: Clock = utc_now, *, wait: bool = True) -> None:
    """Bring an approved job to its end, from wherever it is. Raises what stops it; it can be resumed then.

    A plan that is too old, or not the one that was made, is not begun: GuardError. A job that is finished is looked at
    again if it is worth that. Without `wait`, what the service is still at work on then stays *accepted*.
    """
    ledger = work.ledger
    if ledger.job["state"] == "planned":
        await hold_to_plan(work)
    await ledger.checkpoint.mark_open()
    if ledger.job["state"] in {"planned", "working"}:
        await see_account(work)
    if ledger.job["state"] == "planned":
        await ledger.note(state="working", started_at=now().isoformat())
    if ledger.job["state"] == "working":
        if work.spec.kind.repeatable:
            await ledger.free_unsettled()
        await _send_canary(work)
        await _send(work, *await ledger.span())
        await ledger.note(state="verifying")
    if ledger.job["state"] == "finished" and await worth_another_look(ledger):
        await ledger.note(state="verifying")
    if ledger.job["state"] == "verifying":
        await verify(work, wait=wait)
        await ledger.note(state="finished", finished_at=now().isoformat())


async def _send(work: Work, first: int, last: int) -> None:
    """Send the items from `first` to `last` of the plan. Raises what stopped it."""
    counts, planned = await work.ledger.counts(), work.ledger.job["planned"]
    work.progress.begin("working", planned, planned - counts["not_attempted"] - counts["unsettled"])
    await dispatch(work, first, last)
    if work.control.reason:
        raise work.control.reason


async def _send_canary(work: Work) -> None:
    """Send the first items alone and see what becomes of them. Raises GuardError when they do not come through."""
    ledger = work.ledger
    number = ledger.job.get("canary")
    if not number or ledger.job.get("canary_passed"):
        return
    await _send(work, 1, number)
    await verify(work)
    fates = Counter(item["fate"] for item in await ledger.items(0, number))
    if tripped := canary_fault(fates, looked=bool(work.spec.limits.verify)):
        await ledger.note(refused_because=tripped)
        raise GuardError(tripped, f"Nothing else was sent. Look at them: rebatch report {ledger.job['job']} --items")
    await ledger.note(canary_passed=True, refused_because=None)


def canary_fault(fates: Mapping[str, int], *, looked: bool) -> str | None:
    """What is wrong with the first items, by their fates, as a sentence; None if nothing is. `looked`: they were read back."""
    bad = {fate: items for fate, items in fates.items() if items and fate not in _COME_THROUGH}
    if bad:
        told = ", ".join(f"{items:,} {fate.replace('_', ' ')}" for fate, items in sorted(bad.items()))
        return f"Of the {sum(fates.values()):,} items of `guards: canary`, {told}."
    if looked and not fates.get(ItemFate.CONFIRMED):
        return f"None of the {sum(fates.values()):,} items of `guards: canary` has been seen to be done."
    return None


_COME_THROUGH = frozenset({ItemFate.CONFIRMED, ItemFate.ACCEPTED, ItemFate.SKIPPED})
