"""Plans as a person reads them. Pure: from what the checkpoint says to lines of text.

A checkpoint may come from another machine, so whatever it says is text from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from engine.guards import show_credits
from engine.kind import Change, Export
from engine.ledger import PLAN_TTL_S, Tally
from engine.spec import JobSpec
from engine.units import show_duration, show_rate

from .words import count, local, safe

MANY_GROUPS = 5


def plan_text(
    spec: JobSpec,
    job: Mapping[str, Any],
    groups: list[tuple[int, int, int]],
    chunks: int,
    *,
    ttl_s: float = PLAN_TTL_S,
    ordered: float | None = None,
) -> str:
    """The plan: what would be done to how many items, how it was selected, and what it takes.

    It is valid for `ttl_s` seconds; `ordered` is the rate in its place, where a person has asked for another.
    """
    planned, in_scope, resource = job["planned"], job["in_scope"], spec.kind.resource.name
    if not planned:
        nothing = f"  Nothing to do: none of the {in_scope:,} {resource} in scope is selected."
        return safe([f"Plan {job['job']} · {spec.name}", nothing, *_left_alone(job)])
    lines = [
        f"Plan {job['job']} · {spec.name}",
        f"  {spec.kind.describe(spec.action)} {planned:,} {resource}{_into(spec, chunks)}",
        *_groups_text(spec.kind.grouped_by, groups),
        f"  selected  {planned:,} of {in_scope:,} in scope ({100 * planned / in_scope:.1f} %)",
        *_left_alone(job),
        f"  complete  {_complete_text(job)}",
        *_credits_text(spec, job),
        f"  guards    {_guards_text(spec)}",
        *_backup_text(spec),
        f"  pace      {_pace_text(spec, chunks, ordered)}",
        f"  at        {job['origin']}",
        f"  plan      sha256 {job['plan_hash'][:8]}…, valid until {_valid_until(job, ttl_s)}",
    ]
    if spec.kind.irreversible:
        lines.append("  This cannot be undone.")
    return safe(lines)


def _into(spec: JobSpec, chunks: int) -> str:
    if isinstance(spec.kind, Export):
        target = spec.kind.target(spec.action)
        return f" into {target.root}{target.stem}{target.suffix}"
    return f", in {count(chunks, 'request')}"


def _left_alone(job: Mapping[str, Any]) -> list[str]:
    """What `keep` spares, and what the scope names and does not have."""
    lines = []
    if job.get("kept"):
        lines.append(f"  kept      {job['kept']:,} that would have been selected but for `keep`")
    if job.get("missing"):
        lines.append(f"  missing   {count(job['missing'], 'id')} of the scope not found; left out")
    return lines


def _backup_text(spec: JobSpec) -> list[str]:
    path = spec.kind.backup(spec.action) if isinstance(spec.kind, Change) else None
    return [f"  backup    {path}; each item is in it before it goes"] if path else []


def _groups_text(grouped_by: str, groups: list[tuple[int, int, int]]) -> list[str]:
    if not grouped_by:
        return []
    parts = [f"{group} ({items:,})" for group, items, _ in groups[:MANY_GROUPS]]
    more = ", …" if len(groups) > MANY_GROUPS else ""
    return [f"  {'by ' + grouped_by:10}{', '.join(parts)}{more}"]


def _complete_text(job: Mapping[str, Any]) -> str:
    if job.get("by_id"):
        return f"yes; each of {count(job['by_id'], 'id')} was asked for"
    if job["completeness"] == "complete":
        return f"yes; {_walked_text(job)}"
    return f"unproven: {job['unproven_because']}; {_walked_text(job)}"


def _walked_text(job: Mapping[str, Any]) -> str:
    certificate = job.get("certificate")
    if not certificate:
        return f"{count(job['pages'], 'page')} read, {job['page_size']} rows at most in each"
    gapless = f", {count(certificate['intervals'], 'interval')} without a gap"
    passes = f" in {count(certificate['passes'], 'pass', 'passes')}"
    return (
        f"{count(certificate['pages'], 'page')} read ({certificate['again']:,} again), at most {certificate['width']} rows each"
        f"{gapless if job['completeness'] == 'complete' else passes}; "
        f"the list had {certificate['count_before']:,} rows before and {certificate['count_after']:,} after"
    )


def _credits_text(spec: JobSpec, job: Mapping[str, Any]) -> list[str]:
    priced = spec.kind.priced(spec.action)
    if not priced:
        return []
    found = Tally(job["in_scope"], job["planned"], job["credits_estimated"], job["credits_untold"])
    untold = f"; unknown for {count(found.untold, 'item')}" if found.untold else ""
    return [f"  credits   {show_credits(found)}; {priced}{untold}"]


def _valid_until(job: Mapping[str, Any], ttl_s: float) -> str:
    planned = datetime.fromisoformat(job["planned_at"])
    try:
        return local((planned + timedelta(seconds=ttl_s)).isoformat())
    except OverflowError:
        return "the end of the calendar"


def _pace_text(spec: JobSpec, chunks: int, ordered: float | None) -> str:
    rate = ordered or spec.limits.rate
    least = show_duration(max(1, chunks / rate))
    throttled = f" (ordered; its spec says {show_rate(spec.limits.rate)})" if ordered else ""
    return f"at most {show_rate(rate)}{throttled}, {spec.limits.concurrency} at once; {least} or more"


def _guards_text(spec: JobSpec) -> str:
    guards = spec.guards
    most = ("max_items", "max_percent", "min_remaining", "max_credits")
    given = [(name, value) for name in most if (value := getattr(guards, name)) is not None]
    parts = [f"{name} {value:,.10g} kept" for name, value in given]
    if guards.must_be_complete(irreversible=spec.kind.irreversible):
        parts.append("require_complete kept")
    if guards.stop_on_failures:
        parts.append(f"stops when more than {guards.stop_on_failures} failed")
    if guards.canary:
        parts.append(f"the first {guards.canary:,} go alone")
    return ", ".join(parts) or "none"
