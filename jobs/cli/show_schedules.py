"""Schedules as a person reads them, and as a program does. Pure: from where they stand to lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from engine.schedule.entry import Standing, Tick, TickFate
from engine.schedule.when import Schedule, iso
from engine.text import harmless

from .words import count

_HEAD = ("SCHEDULE", "STATE", "LAST", "ENDED", "NEXT", "WHEN")


def schedules_table(standings: Sequence[Standing]) -> str:
    """All schedules, a line each; below it what needs a person's care."""
    rows = [_HEAD, *(_row(standing) for standing in standings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(map(harmless, [*lines, *(care for standing in standings for care in cares(standing))]))


def state(standing: Standing) -> str:
    """In a word: gone, paused, late, interrupted, at work, waiting, or on time."""
    if standing.entry.gone:
        return "gone"
    if standing.entry.paused_because:
        return "paused"
    if standing.late:
        return "late"
    if standing.interrupted:
        return "interrupted"
    return "at work" if standing.running else "waiting" if standing.waiting else "on time"


def cares(standing: Standing) -> list[str]:
    """What is not as it should be, and what can be done about it."""
    entry, name = standing.entry, standing.entry.name
    lines = []
    if standing.broken and not entry.gone:
        lines.append(f"{name}: its spec cannot be read, so what it said before is in force: {standing.broken}")
    if standing.late and standing.overdue is not None:
        due = shown(entry.schedule, standing.overdue)
        lines.append(f"{name}: the tick of {due} is late: is anybody there? rebatch serve {entry.source}")
    if standing.interrupted:
        jobs = ", ".join(str(tick.job) for tick in standing.running)
        lines.append(f"{name}: nobody works on job {jobs}; it goes on with: rebatch serve {entry.source}")
    if entry.paused_because and not entry.gone:
        lines.append(f"{name}: paused, {entry.paused_because}; go on with: rebatch schedule resume {name}")
    if standing.last and standing.last.fate is not TickFate.RAN and not entry.paused_because:
        last = standing.last
        lines.append(f"{name}: the tick of {shown(entry.schedule, last.at)} was {last.fate}: {last.why}")
    ran = standing.last_ran
    if ran and ran.outcome != "success":
        lines.append(f"{name}: job {ran.job} ended with {ran.outcome}: rebatch report {ran.job}")
    if standing.undelivered:
        lines.append(
            f"{name}: {count(standing.undelivered, 'notice')} not delivered yet: rebatch schedule ls --format json"
        )
    return [harmless(line) for line in lines]


def next_text(name: str, schedule: Schedule, ticks: Iterable[int]) -> str:
    """The ticks to come in the schedule's own time, and in that of this machine where it differs."""
    lines = [f"{name}  {schedule.cron} {schedule.timezone}"]
    lines += [f"  {both(schedule, tick)}" for tick in ticks]
    return "\n".join(map(harmless, lines))


def shown(schedule: Schedule, moment: float) -> str:
    """A moment as the schedule's clocks show it."""
    return f"{schedule.local(moment):%Y-%m-%d %H:%M %Z}"


def both(schedule: Schedule, moment: float) -> str:
    """A moment as the schedule's clocks show it, and as this machine's do where that is not the same."""
    here = datetime.fromtimestamp(moment, UTC).astimezone()
    own = schedule.local(moment)
    said = f"{own:%a %Y-%m-%d %H:%M %Z}"
    return said if here.utcoffset() == own.utcoffset() else f"{said}  ({here:%a %Y-%m-%d %H:%M %Z} here)"


def as_json(standing: Standing, undelivered: Sequence[tuple[str, str]], ticks: Sequence[Tick]) -> dict[str, Any]:
    """The same for programs; `ticks` are the latest ones."""
    entry = standing.entry
    return {
        "schedule": entry.name,
        "state": state(standing).replace(" ", "_"),
        "late": standing.late,
        "source": entry.source,
        "broken": standing.broken,
        "cron": entry.schedule.cron,
        "timezone": entry.schedule.timezone,
        "paused_because": entry.paused_because,
        "overdue": None if standing.overdue is None else iso(standing.overdue),
        "next": [iso(tick) for tick in standing.next],
        "totals": dict(standing.totals),
        "undelivered": [{"target": target, "error": error} for target, error in undelivered],
        "ticks": [_tick(tick) for tick in ticks],
    }


def _tick(tick: Tick) -> dict[str, Any]:
    return {
        "tick": iso(tick.at),
        "by_hand": tick.by_hand,
        "fate": tick.fate,
        "why": tick.why,
        "job": tick.job,
        "begun_at": None if tick.begun_at is None else iso(tick.begun_at),
        "ended_at": None if tick.ended_at is None else iso(tick.ended_at),
        "outcome": tick.outcome,
        "exit_code": tick.exit_code,
        "error": tick.error,
    }


def _row(standing: Standing) -> tuple[str, ...]:
    entry, last = standing.entry, standing.last_ran or standing.last
    return (
        entry.name,
        state(standing),
        shown(entry.schedule, last.at) if last else "-",
        (last.outcome or str(last.fate)) if last else "-",
        shown(entry.schedule, standing.next[0]) if standing.next and not entry.paused_because else "-",
        f"{entry.schedule.cron} {entry.schedule.timezone}",
    )
