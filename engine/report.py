"""What became of a job, for machines first. `docs/reference.md` documents the fields."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from .errors import Exit
from .fates import ItemFate
from .jobledger import JobLedger
from .ledger import ENDED
from .lock import owner
from .orders import known

_FACTS = ("job", "spec", "kind")
_TIMES = ("created_at", "started_at", "finished_at")


def shown_state(ledger: JobLedger) -> str:
    """The state as a person sees it: a job that is under way but nobody works on is *interrupted*, or it is *paused*."""
    state = str(ledger.job["state"])
    if state not in ENDED and known(ledger.checkpoint.path).paused:
        return "paused"
    if state in {"planning", "working", "verifying"} and owner(ledger.checkpoint.path) is None:
        return "interrupted"
    return state


async def summarize(ledger: JobLedger, state: str | None = None) -> dict[str, Any]:
    """The report without its items. `state` is given by a process that works on the job itself."""
    job = ledger.job
    counts = await ledger.counts()
    return {
        **{name: job[name] for name in _FACTS},
        "state": state or shown_state(ledger),
        "completeness": job.get("completeness", "unproven"),
        "unproven_because": job.get("unproven_because"),
        "refused_because": job.get("refused_because"),
        "in_scope": job.get("in_scope"),
        "counts": {"planned": job.get("planned", 0), **counts},
        "orders": asdict(known(ledger.checkpoint.path)),
        "requests": ledger.progress.requests,
        "retries": ledger.progress.retries,
        **{name: job[name] for name in _TIMES},
        "reasons": [{"fate": fate, "error": error, "items": items} for fate, error, items in await ledger.reasons()],
    }


async def each_item(ledger: JobLedger) -> AsyncIterator[dict[str, Any]]:
    """Every item of the plan with what became of it, in the order of the plan."""
    after = 0
    while items := await ledger.items(after):
        for item in items:
            after = item.pop("seq")
            yield item


def exit_code(summary: dict[str, Any]) -> Exit:
    """How a command that brought a job here ends."""
    if summary["state"] == "refused":
        return Exit.GUARD
    if summary["state"] != "finished":
        return Exit.STOPPED
    counts = summary["counts"]
    return Exit.ITEMS_FAILED if counts[ItemFate.FAILED] or counts[ItemFate.HELD] else Exit.DONE
