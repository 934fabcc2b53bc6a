"""What is to be told and has not arrived yet: kept in the book, taken by one process at a time, until it has arrived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import orjson

from ..notices.message import Notice, Signal
from .bookfile import BookFile

LONGEST_WAIT_S = 86_400.0  # what is due later than that was written by a clock that went wrong
TAKEN_S = 120.0  # for how long a notice belongs to the process that delivers it


class Outbox(BookFile):
    """The notices in the book."""

    def post(self, notices: Sequence[Notice], now: float) -> None:
        """Keep notices until they have arrived. One of the same key is kept once."""
        self.write(lambda db: post(db, notices, now))

    def take_notices(self, now: float, limit: int = 20) -> list[tuple[int, Notice, int]]:
        """Notices to be delivered now, with their number and how often that has failed; nobody else gets them meanwhile."""

        def take(db: apsw.Connection) -> list[Any]:
            rows = db.execute(
                "SELECT id, key, spec, target, signal, body, tries FROM notice "
                "WHERE due_at <= ?1 OR due_at > ?1 + ?2 ORDER BY id LIMIT ?3",
                (now, LONGEST_WAIT_S, limit),
            ).fetchall()
            db.executemany("UPDATE notice SET due_at = ? WHERE id = ?", [(now + TAKEN_S, row[0]) for row in rows])
            return rows

        return [
            (int(row[0]), Notice(row[1], row[2], row[3], Signal(row[4]), orjson.loads(row[5])), int(row[6]))
            for row in self.write(take)
        ]

    def delivered(self, number: int, error: str | None, now: float, again_in_s: float | None = None) -> None:
        """Write how a delivery went: it arrived, it is tried again, or it is given up.

        When the beat of an end has arrived, those of starts before it are given up: they would say that a job is at work.
        """
        due = None if again_in_s is None else now + again_in_s

        def write(db: apsw.Connection) -> None:
            db.execute(
                "UPDATE notice SET tries = tries + 1, error = ?, arrived_at = ?, due_at = ? WHERE id = ?",
                (error, None if error else now, due, number),
            )
            if error is None:
                db.execute(
                    "UPDATE notice SET due_at = NULL WHERE id < ?1 AND signal = 'start' AND arrived_at IS NULL AND "
                    "(spec, target) = (SELECT spec, target FROM notice WHERE id = ?1 AND signal IN ('success', 'fail'))",
                    (number,),
                )

        self.write(write)

    def undelivered(self, name: str) -> list[tuple[str, str]]:
        """The notices of a schedule that have failed and not arrived since: where they should go, and what is wrong."""
        rows = self.read(
            "SELECT target, error FROM notice WHERE spec = ? AND arrived_at IS NULL AND error IS NOT NULL ORDER BY id",
            (name,),
        )
        return [(str(target), str(error)) for target, error in rows]

    def next_notice(self) -> float | None:
        """When the next notice is to be delivered."""
        ((due,),) = self.read("SELECT min(due_at) FROM notice WHERE due_at IS NOT NULL")
        return None if due is None else float(due)


def post(db: apsw.Connection, notices: Sequence[Notice], now: float) -> None:
    """Keep notices, within the transaction that makes them true."""
    db.executemany(
        "INSERT OR IGNORE INTO notice (key, spec, target, signal, body, made_at, due_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(n.key, n.spec, n.target, n.signal, orjson.dumps(n.body).decode(), now, now) for n in notices],
    )
