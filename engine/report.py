"""What became of a job, for machines first. `docs/reference.md` documents the fields."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from functools import partial
from typing import Any

import apsw

from . import reportsql
from .errors import Exit
from .fates import Evidence, ItemFate
from .jobledger import JobLedger
from .ledger import ENDED
from .lock import owner
from .orders import known
from .sql import HIDDEN

MOVERS = 5  # in each direction
_FACTS = ("job", "spec", "kind")
HELD_SHOWN = 20  # ids of held items in the report; its items have them all
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
    return await ledger.checkpoint.read(partial(_summary, ledger, state))


def summarize_now(ledger: JobLedger) -> dict[str, Any]:
    """The same from code that is not asynchronous: beginning an event loop takes longer than all the reading."""
    return ledger.checkpoint.read_now(partial(_summary, ledger, None))


def _summary(ledger: JobLedger, state: str | None, db: apsw.Connection) -> dict[str, Any]:
    job = ledger.job
    counts = reportsql.counts(db)
    return {
        **{name: job[name] for name in _FACTS},
        "state": state or shown_state(ledger),
        "completeness": job.get("completeness", "unproven"),
        "unproven_because": job.get("unproven_because"),
        "refused_because": job.get("refused_because"),
        "in_scope": job.get("in_scope"),
        "credits_estimated": job.get("credits_estimated"),
        "counts": {"planned": job.get("planned", 0) + job.get("missing", 0), **counts},
        "kept": job.get("kept", 0),
        "missing": job.get("missing", 0),
        "archive": {"path": job["archive"], "rows": job.get("archived", 0)} if job.get("archive") else None,
        "files": reportsql.files(db),
        "accepted": _accepted(counts[ItemFate.ACCEPTED], reportsql.shown(db)),
        "change": _change(job.get("measured"), db) if counts[ItemFate.CONFIRMED] else None,
        "orders": asdict(known(ledger.checkpoint.path)),
        "requests": ledger.progress.requests,
        "retries": ledger.progress.retries,
        **{name: job[name] for name in _TIMES},
        "held": list(reportsql.held(db, HELD_SHOWN)) if counts[ItemFate.HELD] else [],
        "reasons": [{"fate": fate, "error": error, "items": items} for fate, error, items in reportsql.reasons(db)],
    }


def _accepted(items: int, shown: dict[str, int]) -> dict[str, int]:
    """What the items that were accepted and not confirmed showed when they were last looked at."""
    known = {
        "working": shown.get(Evidence.WORKING, 0),
        "unchanged": shown.get(Evidence.UNMOVED, 0),
        "hidden": shown.get(HIDDEN, 0),
    }
    return {**known, "unknown": items - sum(known.values())}


def _change(measured: str | None, db: apsw.Connection) -> dict[str, Any] | None:
    """What the job changed, over the items that were measured before and after; None when there are none."""
    if not measured:
        return None
    (items, before, after, improved, fell), movers = reportsql.change(db, MOVERS)
    if not items:
        return None
    return {
        "measure": measured,
        "items": items,
        "before": before,
        "after": after,
        "improved": improved,
        "fell": fell,
        "stayed": items - improved - fell,
        "movers": [{"id": item, "before": was, "after": became} for item, was, became in movers],
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
    if counts[ItemFate.NOT_ATTEMPTED] or counts[ItemFate.UNSETTLED]:
        return Exit.STOPPED
    return Exit.ITEMS_FAILED if counts[ItemFate.FAILED] or counts[ItemFate.HELD] else Exit.DONE
