"""The book of schedules: what came round, what became of it, and what is still to be told of it.

One SQLite file in the state directory, shared by every process that looks after schedules there. A tick's identity is its primary key: no two processes can make a job of the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apsw
import orjson
from pydantic import TypeAdapter

from ..notices.message import End, Notice
from ..notices.notify import Notify
from .due import Decision
from .entry import Entry, Tick, TickFate
from .outbox import Outbox, post
from .when import Schedule, definition

GONE = "its schedule is no longer in its spec"
_TICK = "spec, at, fate, by_hand, why, job, begun_at, ended_at, outcome, exit_code, error, report"
_NOTIFY = TypeAdapter(list[Notify])


@dataclass(frozen=True, slots=True)
class State:
    """What has to be known to decide: the schedules, the ticks that wait or run, and those after `decided` with a fate."""

    entries: Mapping[str, Entry]
    open_ticks: Sequence[Tick]
    fated: Mapping[str, frozenset[int]]

    def of(self, name: str, fate: TickFate) -> list[Tick]:
        """The ticks of a schedule that wait, or whose jobs are not over."""
        return [tick for tick in self.open_ticks if tick.spec == name and tick.fate is fate]


class Book(Outbox):
    """The open book. Every method is one transaction; call them from a thread, they wait for the disk."""

    # Schedules

    def entries(self) -> dict[str, Entry]:
        """Every schedule there is, by name."""
        rows = self.read(
            "SELECT name, source, schedule, notify, decided, paused_because, gone FROM schedule ORDER BY name"
        )
        return {row[0]: _entry(row) for row in rows}

    def register(
        self, name: str, source: str, schedule: Mapping[str, Any], notify: Sequence[Any], since: float
    ) -> None:
        """Enter a schedule as its spec says it. Ticks count from `since` if it is new, or is due at other times now."""
        wanted, raw = Schedule.model_validate(schedule), orjson.dumps(schedule).decode()
        told = orjson.dumps(notify).decode()

        def enter(db: apsw.Connection) -> None:
            old = db.execute("SELECT schedule, gone, decided FROM schedule WHERE name = ?", (name,)).fetchone()
            same = (
                old
                and not old[1]
                and definition(Schedule.model_validate(orjson.loads(str(old[0])))) == definition(wanted)
            )
            db.execute(
                "INSERT INTO schedule VALUES (?1, ?2, ?3, ?4, ?5, NULL, 0) ON CONFLICT (name) DO UPDATE SET "
                "source = ?2, schedule = ?3, notify = ?4, decided = ?5, gone = 0",
                (name, source, raw, told, old[2] if old and same else since),
            )

        self.write(enter)

    def drop(self, source: str, but: Sequence[str]) -> None:
        """The schedules of a spec file that are no longer in it are gone; what waits is skipped, all else stays."""
        marks = ", ".join("?" * len(but))

        def go(db: apsw.Connection) -> None:
            db.execute(f"UPDATE schedule SET gone = 1 WHERE source = ? AND name NOT IN ({marks})", (source, *but))
            db.execute(
                "UPDATE tick SET fate = 'skipped', why = ? WHERE fate = 'waiting' "
                "AND spec IN (SELECT name FROM schedule WHERE source = ? AND gone)",
                (GONE, source),
            )

        self.write(go)

    def pause(self, name: str, because: str | None) -> bool:
        """Let a schedule begin nothing, or with None go on; False when there is none of that name."""
        return self.do("UPDATE schedule SET paused_because = ? WHERE name = ?", (because, name)) > 0

    def strike_out(self, name: str) -> None:
        """Forget a schedule and all that became of its ticks."""

        def strike(db: apsw.Connection) -> None:
            for statement in (
                "DELETE FROM source WHERE path = (SELECT source FROM schedule WHERE name = ?)",
                "DELETE FROM schedule WHERE name = ?",
                "DELETE FROM tick WHERE spec = ?",
                "DELETE FROM notice WHERE spec = ?",
            ):
                db.execute(statement, (name,))

        self.write(strike)

    def note_source(self, path: str, broken: str | None) -> None:
        """Why a spec file cannot be read at present, or that it can."""
        self.do("INSERT OR REPLACE INTO source VALUES (?, ?)", (path, broken))

    def broken(self) -> dict[str, str]:
        """The spec files that could not be read when they were last looked at, and why."""
        return {
            str(path): str(why) for path, why in self.read("SELECT path, broken FROM source WHERE broken IS NOT NULL")
        }

    # Ticks

    def open_ticks(self) -> list[Tick]:
        """The ticks that wait, or whose job has not come to its end."""
        return [
            _tick(row)
            for row in self.read(f"SELECT {_TICK} FROM tick WHERE fate IN ('waiting', 'running') ORDER BY at")
        ]

    def state(self) -> State:
        """All that has to be known to decide."""
        entries = self.entries()
        fated = {name: self.fated(name, entry.decided) for name, entry in entries.items() if not entry.gone}
        return State(entries, self.open_ticks(), fated)

    def ticks(self, name: str, limit: int) -> list[Tick]:
        """The latest ticks of a schedule, the newest first."""
        rows = self.read(f"SELECT {_TICK} FROM tick WHERE spec = ? ORDER BY at DESC, by_hand LIMIT ?", (name, limit))
        return [_tick(row) for row in rows]

    def latest(self, name: str, *, ran: bool = False, outcome: str | None = None) -> Tick | None:
        """The latest tick with a fate for good; the latest that ran; the latest that ended so."""
        rows = self.read(
            f"SELECT {_TICK} FROM tick WHERE spec = ?1 AND fate NOT IN ('waiting', 'running') "
            "AND (NOT ?2 OR fate = 'ran') AND (?3 IS NULL OR outcome = ?3) ORDER BY at DESC LIMIT 1",
            (name, ran, outcome),
        )
        return _tick(rows[0]) if rows else None

    def outcome_before(self, name: str) -> str | None:
        """How the job of this schedule that ended last, and was not cancelled, has ended; None when there is none."""
        rows = self.read(
            "SELECT outcome FROM tick WHERE spec = ? AND outcome != 'cancelled' ORDER BY ended_at DESC LIMIT 1", (name,)
        )
        return str(rows[0][0]) if rows else None

    def awaits(self, job: str) -> bool:
        """Whether a job is that of a tick whose end is still to be written, and told."""
        return bool(self.read("SELECT 1 FROM tick WHERE job = ? AND fate = 'running'", (job,)))

    def totals(self, name: str) -> dict[str, int]:
        """How many ticks of a schedule have each fate."""
        rows = self.read("SELECT fate, count(*) FROM tick WHERE spec = ? GROUP BY fate", (name,))
        return {str(fate): int(number) for fate, number in rows}

    def fated(self, name: str, after: float) -> frozenset[int]:
        """The ticks of a schedule after a moment that have a fate already."""
        rows = self.read("SELECT at FROM tick WHERE spec = ? AND at > ? AND by_hand = 0", (name, after))
        return frozenset(int(at) for (at,) in rows)

    def record(
        self, name: str, decision: Decision, jobs: Mapping[int, str], notices: Sequence[Notice], now: float
    ) -> None:
        """Write what was decided on ticks, with the ids of the jobs that they get, and what is told of it, all at once."""

        def write(db: apsw.Connection) -> None:
            for verdict in decision.verdicts:
                db.execute(
                    "INSERT INTO tick (spec, at, by_hand, fate, why, job) VALUES (?1, ?2, 0, ?3, ?4, ?5) "
                    "ON CONFLICT DO UPDATE SET fate = ?3, why = ?4, job = ?5 WHERE fate = 'waiting'",
                    (name, verdict.at, verdict.fate, verdict.why, jobs.get(verdict.at)),
                )
            db.execute("UPDATE schedule SET decided = max(decided, ?) WHERE name = ?", (decision.decided, name))
            post(db, notices, now)

        self.write(write)

    def turn_back(self, name: str, now: float) -> None:
        """The clock was turned back: ticks that lie ahead again have no fate, except those that ran."""

        def forget(db: apsw.Connection) -> None:
            db.execute("DELETE FROM tick WHERE spec = ? AND at > ? AND fate IN ('skipped', 'missed')", (name, now))
            db.execute("UPDATE schedule SET decided = ? WHERE name = ?", (now, name))

        self.write(forget)

    def by_hand(self, name: str, at: int, job: str) -> bool:
        """Enter a job that a person begins now; False when one was begun in this very second."""
        return (
            self.do(
                "INSERT OR IGNORE INTO tick (spec, at, by_hand, fate, job) VALUES (?, ?, 1, 'running', ?)",
                (name, at, job),
            )
            > 0
        )

    def begun(self, tick: Tick, at: float, notices: Sequence[Notice]) -> None:
        """The job of a tick has its checkpoint."""

        def write(db: apsw.Connection) -> None:
            db.execute("UPDATE tick SET begun_at = ? WHERE spec = ? AND at = ? AND by_hand = ?", (at, *_id(tick)))
            post(db, notices, at)

        self.write(write)

    def never_begun(self, tick: Tick, why: str, notices: Sequence[Notice], now: float) -> None:
        """A tick that was to have a job got none in time."""

        def write(db: apsw.Connection) -> None:
            db.execute(
                "UPDATE tick SET fate = 'missed', why = ?, job = NULL WHERE spec = ? AND at = ? AND by_hand = ? "
                "AND fate = 'running' AND begun_at IS NULL",
                (why, *_id(tick)),
            )
            post(db, notices, now)

        self.write(write)

    def end(self, tick: Tick, end: End, notices: Sequence[Notice], now: float, *, pause: str | None = None) -> bool:
        """Write how the job of a tick ended and what is told of it, at once; False when that was written already."""

        def write(db: apsw.Connection) -> bool:
            db.execute(
                "UPDATE tick SET fate = 'ran', ended_at = ?, outcome = ?, exit_code = ?, error = ?, report = ? "
                "WHERE spec = ? AND at = ? AND by_hand = ? AND fate = 'running'",
                (now, end.outcome, int(end.exit_code), end.error, orjson.dumps(end.report).decode(), *_id(tick)),
            )
            if not db.changes():
                return False
            if pause:
                db.execute("UPDATE schedule SET paused_because = ? WHERE name = ?", (pause, tick.spec))
            post(db, notices, now)
            return True

        return self.write(write)

    def forget(self, before: float) -> None:
        """Forget ticks, and notices that need no more care, that are older than this."""

        def forget(db: apsw.Connection) -> None:
            db.execute("DELETE FROM tick WHERE at < ? AND fate NOT IN ('waiting', 'running')", (before,))
            db.execute("DELETE FROM notice WHERE made_at < ? AND due_at IS NULL", (before,))

        self.write(forget)


def _id(tick: Tick) -> tuple[str, int, bool]:
    return tick.spec, tick.at, tick.by_hand


def _tick(row: Sequence[Any]) -> Tick:
    tick = Tick(*row)
    report = orjson.loads(str(tick.report)) if tick.report else None
    return replace(tick, fate=TickFate(tick.fate), by_hand=bool(tick.by_hand), report=report)


def _entry(row: Sequence[Any]) -> Entry:
    name, source, schedule, notify, decided, paused, gone = row
    told = _NOTIFY.validate_python(orjson.loads(notify))
    return Entry(name, source, Schedule.model_validate(orjson.loads(schedule)), told, decided, paused, bool(gone))
