"""Old checkpoints: which may go, and their going. An unfinished job's never does, nor one that somebody has to decide on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync

from . import statedir
from .errors import RebatchError
from .fates import ItemFate
from .jobledger import JobLedger
from .ledger import ENDED
from .units import parse_duration


def may_go(job: Mapping[str, Any], spec: str, before: float) -> bool:
    """Whether a job of this spec, by what its checkpoint says of it, was over before a moment (seconds since the epoch)."""
    ended = job.get("finished_at") or (job["created_at"] if job["state"] == "refused" else None)
    if job["spec"] != spec or job["state"] not in ENDED or not ended:
        return False
    return datetime.fromisoformat(ended).timestamp() < before


async def prune(state_dir: Path, spec: str, before: float) -> list[str]:
    """Remove the checkpoints of jobs of a spec that were over before a moment; their ids.

    What cannot be read or is worked on stays.
    """
    old = [look for look in await run_sync(statedir.jobs, state_dir) if may_go(look.job, spec, before)]
    return [str(look.job["job"]) for look in old if await _remove(look.checkpoint.path, spec, before)]


async def _remove(path: Path, spec: str, before: float) -> bool:
    try:
        ledger = JobLedger.resume(path)
    except RebatchError:
        return False
    if not may_go(ledger.job, spec, before) or await _undecided(ledger):
        ledger.checkpoint.close()
        return False
    ledger.checkpoint.discard()
    return True


async def _undecided(ledger: JobLedger) -> bool:
    """Whether a person may have to decide on something of it; so it may be when it is damaged."""
    try:
        counts = await ledger.counts()
    except RebatchError:
        return True
    return bool(counts[ItemFate.HELD] or counts[ItemFate.UNSETTLED])


async def clear_away(state_dir: Path, job: Mapping[str, Any], now: float) -> list[str]:
    """After a job, by what its checkpoint says of it: remove the old ones of its spec, if that says how long they stay."""
    said = job["raw"].get("retention")
    return [] if said is None else await prune(state_dir, job["spec"], now - parse_duration(said).total_seconds())
