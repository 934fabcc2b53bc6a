"""Plans and reports as a person reads them. Pure: from what the checkpoint says to lines of text.

A checkpoint may come from another machine, so whatever it says is text from elsewhere.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from engine.fates import ItemFate
from engine.spec import JobSpec
from engine.text import harmless, spreadsheet
from engine.units import show_duration, show_rate

MANY_GROUPS = 5
COLUMNS = ("id", "fate", "http_status", "error", "attempts")
_MEANING = {
    ItemFate.CONFIRMED: "done, and seen to be done",
    ItemFate.ACCEPTED: "taken by the service, not (yet) seen to be done",
    ItemFate.FAILED: "not done",
    ItemFate.HELD: "may have been done; look before you send them again",
    ItemFate.SKIPPED: "left out",
    ItemFate.UNSETTLED: "sent, answer unknown; resuming settles them",
    ItemFate.NOT_ATTEMPTED: "not sent yet",
}


def plan_text(spec: JobSpec, job: Mapping[str, Any], groups: list[tuple[int, int, int]], chunks: int) -> str:
    """The plan: what would be done to how many items, how it was selected, and what it takes."""
    planned, in_scope, resource = job["planned"], job["in_scope"], spec.kind.resource.name
    if not planned:
        nothing = f"  Nothing to do: none of the {in_scope:,} {resource} in scope is selected."
        return _text([f"Plan {job['job']} · {spec.name}", nothing])
    lines = [
        f"Plan {job['job']} · {spec.name}",
        f"  {spec.kind.describe(spec.action)} {planned:,} {resource}, in {_count(chunks, 'request')}",
        *_groups_text(spec.kind.grouped_by, groups),
        f"  selected  {planned:,} of {in_scope:,} in scope ({100 * planned / in_scope:.1f} %)",
        f"  complete  {_complete_text(job)}",
        f"  guards    {_guards_text(spec)}",
        f"  pace      {_pace_text(spec, chunks)}",
        f"  at        {job['origin']}",
    ]
    if spec.kind.irreversible:
        lines.append("  This cannot be undone.")
    return _text(lines)


def report_text(summary: Mapping[str, Any]) -> str:
    """The report without its items."""
    counts = summary["counts"]
    lines = [f"Job {summary['job']} · {summary['spec']} · {summary['state']}{_took(summary)}"]
    lines += [
        f"  {fate.replace('_', ' '):14}{counts[fate]:>10,}   {meaning}"
        for fate, meaning in _MEANING.items()
        if counts[fate]
    ]
    lines.append(f"  {'planned':14}{counts['planned']:>10,}")
    lines.append(f"  {_count(summary['requests'], 'request')}, {_count(summary['retries'], 'retry', 'retries')}")
    if summary["refused_because"]:
        lines.append(f"  refused: {summary['refused_because']}")
    lines += [f"  {reason['items']:,} {reason['fate']}: {reason['error']}" for reason in summary["reasons"]]
    return _text(lines)


def report_markdown(summary: Mapping[str, Any]) -> str:
    """The report as Markdown; what the service said stands in code, where it can do nothing."""
    counts = summary["counts"]
    lines = [
        f"## {_word(summary['spec'])}: {_word(summary['state'])}",
        "",
        f"Job {_code(summary['job'])} ({_code(summary['kind'])}), {counts['planned']:,} planned, completeness {_word(summary['completeness'])}.",
        "",
        "| fate | items | |",
        "| --- | ---: | --- |",
        *(f"| {fate.value} | {counts[fate]:,} | {meaning} |" for fate, meaning in _MEANING.items() if counts[fate]),
        "",
        f"{_count(summary['requests'], 'request')}, {_count(summary['retries'], 'retry', 'retries')}.",
    ]
    if summary["reasons"]:
        lines += ["", "| items | fate | why |", "| ---: | --- | --- |"]
        lines += [f"| {r['items']:,} | {_word(r['fate'])} | {_code(r['error'])} |" for r in summary["reasons"]]
    return _text(lines)


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
    shown = f"  {item['id']:>12}  {item['fate']:14}{item['http_status'] or '':>4}  {item['attempts']:>2}×  {item['error'] or ''}"
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


def _groups_text(grouped_by: str, groups: list[tuple[int, int, int]]) -> list[str]:
    if not grouped_by:
        return []
    parts = [f"{group} ({items:,})" for group, items, _ in groups[:MANY_GROUPS]]
    more = ", …" if len(groups) > MANY_GROUPS else ""
    return [f"  {'by ' + grouped_by:10}{', '.join(parts)}{more}"]


def _complete_text(job: Mapping[str, Any]) -> str:
    if job["completeness"] == "complete":
        return f"yes; {_count(job['pages'], 'page')} read, {job['page_size']} rows at most in each"
    return f"unproven: {job['unproven_because']}"


def _pace_text(spec: JobSpec, chunks: int) -> str:
    least = show_duration(max(1, chunks / spec.limits.rate))
    return f"at most {show_rate(spec.limits.rate)}, {spec.limits.concurrency} at once; {least} or more"


def _guards_text(spec: JobSpec) -> str:
    given = {name: value for name, value in spec.guards.model_dump().items() if value is not None}
    return ", ".join(f"{name} {value:,g} kept" for name, value in given.items()) or "none"


def _took(summary: Mapping[str, Any]) -> str:
    if not (summary["started_at"] and summary["finished_at"]):
        return ""
    took = datetime.fromisoformat(summary["finished_at"]) - datetime.fromisoformat(summary["started_at"])
    return f" in {show_duration(took.total_seconds())}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _local(iso: str) -> str:
    return f"{datetime.fromisoformat(iso).astimezone():%Y-%m-%d %H:%M}"


def _text(lines: Iterable[str]) -> str:
    return "\n".join(map(harmless, lines))


def _word(text: str) -> str:
    """One of our own words as it is; whatever else stands in its place, as code."""
    return text if text.isidentifier() else _code(text)


def _code(text: str) -> str:
    """Text as a code span: no Markdown, no HTML, no table cell ends in it."""
    return "`" + harmless(text).replace("`", "'").replace("|", "¦") + "`"
