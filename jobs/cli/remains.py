"""What a job leaves to a person: files, and items that wait for a decision. Pure: from what a report says to lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .words import code, count, word

MANY_FILES = 5


def files_text(summary: Mapping[str, Any]) -> list[str]:
    """Where what was kept or exported lies."""
    archive, files = summary["archive"], summary["files"]
    lines = [f"  archive  {archive['path']}  {count(archive['rows'], 'row')}"] if archive else []
    lines += [
        f"  wrote  {file['path']}  {count(file['rows'], 'row')}, {file['bytes']:,} bytes" for file in files[:MANY_FILES]
    ]
    if len(files) > MANY_FILES:
        lines.append(f"  and {len(files) - MANY_FILES:,} more files: rebatch report {summary['job']} --format json")
    return lines


def held_text(summary: Mapping[str, Any]) -> list[str]:
    """Which items are held, and what a person can do about them."""
    ids, number, job = summary["held"], summary["counts"]["held"], summary["job"]
    if not ids:
        return []
    more = f", and {number - len(ids):,} more: rebatch report {job} --items" if number > len(ids) else ""
    listed = f"  held: {', '.join(map(str, ids))}{more}"
    if summary["state"] == "cancelled":
        return [listed]
    return [
        listed,
        "  Look at them at the service. If they were done:  rebatch resume " + f"{job} --release-held",
        "                               if they were not:   rebatch resume " + f"{job} --retry-held",
    ]


def files_markdown(summary: Mapping[str, Any]) -> list[str]:
    """The same as a table."""
    archive, files = summary["archive"], summary["files"]
    rows = [f"| {code(file['path'])} | {file['rows']:,} | {file['bytes']:,} |" for file in files[:MANY_FILES]]
    if len(files) > MANY_FILES:
        whole = code(f"rebatch report {summary['job']} --format json")
        rows += ["", f"And {count(len(files) - MANY_FILES, 'more file')}: {whole}"]
    kept = ["", f"Archive {code(archive['path'])}, {count(archive['rows'], 'row')}."] if archive else []
    return [*kept, *(["", "| wrote | rows | bytes |", "| --- | ---: | ---: |", *rows] if rows else [])]


def held_markdown(summary: Mapping[str, Any]) -> list[str]:
    """Which items are held, and what a person can do about them."""
    ids, number, job = summary["held"], summary["counts"]["held"], summary["job"]
    if not ids:
        return []
    more = f", and {number - len(ids):,} more: {code(f'rebatch report {job} --items')}" if number > len(ids) else ""
    lines = ["", f"Held: {', '.join(word(str(each)) for each in ids)}{more}."]
    if summary["state"] != "cancelled":
        done, undone = (code(f"rebatch resume {job} --{what}-held") for what in ("release", "retry"))
        lines += ["", f"Look at them at the service. If they were done: {done}; if they were not: {undone}."]
    return lines
