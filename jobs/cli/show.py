"""Plans and reports as a person reads them. Pure: from what the checkpoint says to lines of text.

A checkpoint may come from another machine, so whatever it says is text from elsewhere.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from engine.fates import ItemFate
from engine.guards import show_credits
from engine.kind import Change, Export
from engine.ledger import Tally
from engine.spec import JobSpec
from engine.text import harmless, spreadsheet
from engine.units import show_duration, show_rate
from engine.work import PLAN_TTL_S

from .change import change_markdown, change_text, moved
from .remains import files_markdown, files_text, held_markdown, held_text
from .words import code, count, word

MANY_GROUPS = 5
COLUMNS = ("id", "fate", "http_status", "error", "attempts", "before", "after")
_MEANING = {
    ItemFate.CONFIRMED: "done, and seen to be done",
    ItemFate.ACCEPTED: "taken by the service, not (yet) seen to be done",
    ItemFate.FAILED: "not done",
    ItemFate.HELD: "may have been done; look before you send them again",
    ItemFate.SKIPPED: "left out",
    ItemFate.UNSETTLED: "sent, answer unknown; resuming settles them",
    ItemFate.NOT_ATTEMPTED: "not sent yet",
}


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
        return _text([f"Plan {job['job']} · {spec.name}", nothing, *_left_alone(job)])
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
    return _text(lines)


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


def report_text(summary: Mapping[str, Any]) -> str:
    """The report without its items."""
    counts = summary["counts"]
    lines = [f"Job {summary['job']} · {summary['spec']} · {summary['state']}{_took(summary)}"]
    lines += [
        f"  {fate.replace('_', ' '):14}{counts[fate]:>10,}   {meaning}"
        for fate, meaning in _meanings(summary)
        if counts[fate]
    ]
    lines.append(f"  {'planned':14}{counts['planned']:>10,}")
    lines.append(f"  {count(summary['requests'], 'request')}, {count(summary['retries'], 'retry', 'retries')}")
    if summary["refused_because"]:
        lines.append(f"  refused: {summary['refused_because']}")
    lines += change_text(summary["change"])
    lines += files_text(summary)
    lines += [f"  {reason['items']:,} {reason['fate']}: {reason['error']}" for reason in summary["reasons"]]
    if _worth_another_look(summary):
        lines.append(f"  look again with: rebatch resume {summary['job']}")
    return _text([*lines, *held_text(summary)])


def status_text(summary: Mapping[str, Any], pid: int | None) -> str:
    """The report without its items, what was ordered, who works on it and what can be done next."""
    job, state, orders = summary["job"], summary["state"], summary["orders"]
    lines = [report_text(summary)]
    if orders["rate"]:
        lines.append(f"  throttled to {orders['rate']}; lift it with: rebatch throttle {job} off")
    if pid is not None:
        doing = "cancels it" if orders["cancelled"] else "works on it"
        lines.append(f"  process {pid or '?'} {doing}")
    if state == "paused":
        then = f", then: rebatch resume {job}" if pid is None else ""
        lines.append(f"  go on with: rebatch unpause {job}{then}")
    elif pid is None and orders["cancelled"]:
        lines.append(f"  find out what became of what was sent, and end it: rebatch resume {job}")
    elif pid is None and state in {"interrupted", "planned"}:
        lines.append(f"  go on with: rebatch {'resume' if state == 'interrupted' else 'run'} {job}")
    return "\n".join(lines)


def status_line(summary: Mapping[str, Any]) -> str:
    """The same in a line."""
    counts, orders = summary["counts"], summary["orders"]
    said = [f"{counts[fate]:,} {fate.replace('_', ' ')}" for fate in _MEANING if counts[fate]]
    said.append(f"{count(summary['requests'], 'request')}")
    said += ["being cancelled"] * orders["cancelled"] + ([f"throttled to {orders['rate']}"] if orders["rate"] else [])
    return f"{summary['state']}: {', '.join(said)}"


def report_markdown(summary: Mapping[str, Any], stopped: str | None = None) -> str:
    """The report as Markdown; what the service said stands in code, where it can do nothing.

    `stopped` is what ended the work on it before its time.
    """
    counts, job = summary["counts"], summary["job"]
    lines = [
        f"## {word(summary['spec'])}: {word(summary['state'])}",
        "",
        f"Job {code(job)} ({code(summary['kind'])}){_took(summary)}, {counts['planned']:,} planned, {_whole(summary)}.",
        *_stopped_markdown(summary, stopped),
        "",
        "| fate | items | |",
        "| --- | ---: | --- |",
        *(f"| {fate.value} | {counts[fate]:,} | {meaning} |" for fate, meaning in _meanings(summary) if counts[fate]),
        "",
        f"{count(summary['requests'], 'request')}, {count(summary['retries'], 'retry', 'retries')}{_cost(summary)}.",
        *change_markdown(summary["change"]),
        *held_markdown(summary),
    ]
    if _worth_another_look(summary):
        lines += ["", f"Look again with {code(f'rebatch resume {job}')}."]
    lines += files_markdown(summary)
    if summary["reasons"]:
        lines += ["", "| items | fate | why |", "| ---: | --- | --- |"]
        lines += [f"| {r['items']:,} | {word(r['fate'])} | {code(r['error'])} |" for r in summary["reasons"]]
    return _text(lines)


def _whole(summary: Mapping[str, Any]) -> str:
    """Whether the plan is all that there was, and why that is not known."""
    because = summary["unproven_because"]
    return f"completeness {word(summary['completeness'])}{f': {code(because)}' if because else ''}"


def _stopped_markdown(summary: Mapping[str, Any], stopped: str | None) -> list[str]:
    """Why it went no further; the guard that refused a plan is also what stopped the work on it."""
    if stopped:
        return ["", f"Stopped: {code(stopped)}"]
    return ["", f"Refused: {code(summary['refused_because'])}"] if summary["refused_because"] else []


def _cost(summary: Mapping[str, Any]) -> str:
    credit = summary.get("credits_estimated")
    return f", about {credit:,.10g} credits by its plan" if credit else ""


def _worth_another_look(summary: Mapping[str, Any]) -> bool:
    accepted = summary["accepted"]
    return bool(summary["state"] == "finished" and (accepted["working"] or accepted["hidden"]))


def csv_lines(items: Iterable[Mapping[str, Any]], *, header: bool) -> str:
    """Items as CSV; texts that a spreadsheet would take for formulas are defused."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    for item in items:
        writer.writerow(
            [spreadsheet(harmless(value)) if isinstance(value := item[name], str) else value for name in COLUMNS]
        )
    return out.getvalue()


def item_line(item: Mapping[str, Any]) -> str:
    """One item as a row of a table."""
    said = item["error"] or ("" if item["after"] is None or item["before"] is None else moved(item))
    shown = f"  {item['id']:>12}  {item['fate']:14}{item['http_status'] or '':>4}  {item['attempts']:>2}×  {said}"
    return harmless(shown)


def jobs_table(jobs: Iterable[Mapping[str, Any]]) -> str:
    """All jobs, a line each."""
    rows = [("JOB", "STATE", "KIND", "ITEMS", "CREATED", "SPEC")]
    rows += [
        (job["job"], job["state"], job["kind"], f"{job['planned']:,}", _local(job["created_at"]), job["spec"])
        for job in jobs
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return _text("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _meanings(summary: Mapping[str, Any]) -> list[tuple[ItemFate, str]]:
    """What each fate means; of the accepted items, what they showed when they were last looked at."""
    words = {
        "working": "still at work when last looked at",
        "unchanged": "unchanged",
        "hidden": "out of this key's sight",
    }
    parts = [f"{number:,} {words[what]}" for what, number in summary["accepted"].items() if number and what in words]
    accepted = f"taken by the service; {', '.join(parts)}" if parts else _MEANING[ItemFate.ACCEPTED]
    return list({**_MEANING, ItemFate.ACCEPTED: accepted}.items())


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
        return _local((planned + timedelta(seconds=ttl_s)).isoformat())
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


def _took(summary: Mapping[str, Any]) -> str:
    if not (summary["started_at"] and summary["finished_at"]):
        return ""
    took = datetime.fromisoformat(summary["finished_at"]) - datetime.fromisoformat(summary["started_at"])
    return f" in {show_duration(took.total_seconds())}"


def _local(iso: str) -> str:
    return f"{datetime.fromisoformat(iso).astimezone():%Y-%m-%d %H:%M}"


def _text(lines: Iterable[str]) -> str:
    return "\n".join(map(harmless, lines))
