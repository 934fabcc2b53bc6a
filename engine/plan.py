"""Planning: walk, select, check the guards, freeze. Nothing is changed at the service.

And keeping to it: a plan is carried out as it was made, and only while it is young.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import anyio

from .errors import GuardError
from .files.target import must_be_available
from .guards import DIGITS, Tripped, check_guards
from .kind import Export
from .ledger import Tally
from .select import Selected, see_all
from .text import harmless
from .units import show_duration
from .work import Work

DAY_S = 86_400.0
SKEW_S = 300.0  # that two machines' clocks may be apart; a plan from further in the future has an age that nobody knows


async def make_plan(work: Work) -> None:
    """Take the job from *planning* to *planned*; to *refused* when a guard trips, to *finished* when nothing is to do.

    Raises GuardError, ServiceError, CredentialsError, StoppedError, CheckpointError.
    """
    spec, ledger = work.spec, work.ledger
    if isinstance(spec.kind, Export):
        must_be_available(spec.kind.target(spec.action))
    seen = await see_all(work)
    found = await ledger.tally()
    facts = _facts(work, seen, found)
    if tripped := check_guards(spec.guards, found, seen.walked.unproven, irreversible=spec.kind.irreversible):
        await ledger.note(**facts, **_refused(tripped))
        raise refusal(ledger.job)
    state = {"state": "planned"} if found.selected else {"state": "finished", "finished_at": ledger.job["now"]}
    await ledger.freeze(**facts, **state)
    work.planned_at = anyio.current_time()


def _facts(work: Work, seen: Selected, found: Tally) -> dict[str, Any]:
    walked = seen.walked
    return {
        "in_scope": found.in_scope,
        "planned": found.selected,
        "kept": seen.kept,
        "missing": seen.missing,
        "listed": walked.count,
        "details": work.details,
        "by_id": seen.by_id,
        "credits_estimated": round(found.credits, DIGITS),
        "credits_untold": found.untold,
        "canary": 0 if isinstance(work.spec.kind, Export) else work.spec.guards.canary or 0,
        "page_size": walked.width,
        "pages": walked.pages,
        "completeness": "unproven" if walked.unproven else "complete",
        "unproven_because": walked.unproven,
        "certificate": walked.certificate,
        "planned_at": datetime.fromtimestamp(work.wall(), UTC).isoformat(),
        "measured": work.spec.kind.measured,
        "key": work.key,
    }


def _refused(tripped: list[Tripped]) -> dict[str, str]:
    remedies = dict.fromkeys(one.remedy for one in tripped)
    because = " ".join(one.sentence for one in tripped)
    return {"state": "refused", "refused_because": because, "refused_remedy": " ".join(remedies)}


def refusal(job: Mapping[str, Any]) -> GuardError:
    """The error of a job whose plan a guard forbids."""
    return GuardError(f"{job['refused_because']} Nothing was changed.", job["refused_remedy"])


async def hold_to_plan(work: Work) -> None:
    """Before the first write: see that the plan is still valid, and is the one that was made. Raises GuardError."""
    refuse_stale(work)
    job = work.ledger.job
    if await work.ledger.plan_hash() != job.get("plan_hash"):
        raise GuardError(
            "The plan in the checkpoint is not the one that was made. Nothing was changed.",
            f"Plan again: {_plan_again(job)}",
        )


def refuse_stale(work: Work) -> None:
    """Raise GuardError if the plan is older than `work.plan_ttl_s`, or dated in the future."""
    job = work.ledger.job
    age_s = work.wall() - datetime.fromisoformat(job["planned_at"]).timestamp()
    again = f"Plan again: {_plan_again(job)}"
    if age_s < -SKEW_S:
        raise GuardError(
            f"The plan is dated {_span(-age_s)} in the future, so how old it is cannot be told. Nothing was changed.",
            f"Set this machine's clock right, if it is wrong. {again}",
        )
    if age_s > work.plan_ttl_s:
        anyway = f"rebatch run {job['job']} --plan-ttl {int(age_s // DAY_S) + 2}d"
        raise GuardError(
            f"The plan is {_span(age_s)} old; plans are valid for {_span(work.plan_ttl_s)}. Nothing was changed.",
            f"{again}; or, if you mean it: {anyway}",
        )


def _plan_again(job: Mapping[str, Any]) -> str:
    return f"rebatch plan {harmless(shlex.quote(str(job['source'])))}"


def _span(seconds: float) -> str:
    """A stretch of time as a person says it: `3 days`, `24 h`, `5m 20s`."""
    hours = seconds / 3600
    if hours >= 48:  # noqa: PLR2004 - two days
        return f"{hours / 24:.3g} days"
    return f"{hours:.3g} h" if hours >= 1 else show_duration(seconds)
