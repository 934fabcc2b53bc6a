"""Reports as a person reads them. Pure: from what the checkpoint says to lines of text.

A checkpoint may come from another machine, so whatever it says is text from elsewhere.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from engine.fates import ItemFate
from engine.text import harmless, spreadsheet
from engine.units import show_duration

from .change import change_markdown, change_text, moved
from .remains import files_markdown, files_text, held_markdown, held_text
from .words import code, count, local, safe, word

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
    return safe([*lines, *held_text(summary)])


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
    return safe(lines)


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
        (job["job"], job["state"], job["kind"], f"{job['planned']:,}", local(job["created_at"]), job["spec"])
        for job in jobs
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return safe("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


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


def _took(summary: Mapping[str, Any]) -> str:
    if not (summary["started_at"] and summary["finished_at"]):
        return ""
    took = datetime.fromisoformat(summary["finished_at"]) - datetime.fromisoformat(summary["started_at"])
    return f" in {show_duration(took.total_seconds())}"
