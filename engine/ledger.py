"""What a checkpoint says: the job, its plan, every intent and every outcome. All the SQL of the flows is here.

`Ledger` is what dispatch asks of whatever keeps the books, so that the same pool can work with another store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import apsw
import orjson

from .checkpoint import Checkpoint, Operation
from .errors import UsageError
from .fates import Fate, ItemFate, Outcome
from .kind import CHUNK
from .progress import Progress


@dataclass(frozen=True, slots=True)
class Chunk:
    """At most `CHUNK` items of one group. `first` names it; `ids` are its items that have no fate of their own yet.

    `attempts` are those of this process: whoever resumes brings new patience.
    """

    first: int
    last: int
    group: int
    attempts: int
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A chunk whose latest attempt has no known fate, and what its items looked like before it."""

    chunk: Chunk
    fingerprints: dict[int, list[Any]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One row of the walk. `fingerprint` is None when `where` does not select it."""

    id: int
    group: int
    fingerprint: list[Any] | None


Apart = dict[int, tuple[ItemFate, str | None]]  # items that differ from their chunk: their fate, and what is said of it


class StaleAttemptError(Exception):
    """Somebody else has begun a newer attempt of this chunk; this outcome must not overwrite it."""


class Ledger(Protocol):
    """What dispatch needs. `begin` and `record` return when what they say is durable."""

    async def begin(self, chunk: Chunk, at: float) -> int:
        """Write the intent to send `chunk`; the answer is a token. Raises StaleAttemptError."""

    async def record(self, token: int, chunk: Chunk, outcome: Outcome, fate: ItemFate, at: float) -> None:
        """Write what became of an attempt and of its chunk. Raises StaleAttemptError."""

    async def pending(self, after: int, last: int, limit: int) -> Sequence[Chunk]:
        """The next chunks beyond `after`, up to `last`, that are to be sent."""

    async def unsettled(self, first: int, last: int) -> Sequence[Unsettled]:
        """The chunks from `first` to `last` whose latest attempt has no known fate."""

    async def settle(self, chunk: Chunk, fate: ItemFate, error: str | None, apart: Apart) -> None:
        """Write what reading back showed: `fate` for the chunk, and for items that differ from it, their own."""


class JobLedger:
    """The books of one job, in its checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Read what the checkpoint says of the job."""
        self.checkpoint = checkpoint
        self.progress = Progress()
        rows = checkpoint.read_now(lambda db: _rows(db, "SELECT key, value FROM job"))
        self.job: dict[str, Any] = {str(key): orjson.loads(str(value)) for key, value in rows}
        self.progress.requests = self.job.get("requests", 0)
        self.progress.retries = self.job.get("retries", 0)

    @classmethod
    def look(cls, path: Path) -> JobLedger:
        """Open a job to read of it. Raises UsageError when there is none."""
        return cls._begun(Checkpoint.look(path))

    @classmethod
    def resume(cls, path: Path) -> JobLedger:
        """Open a job to work on it. Raises UsageError when there is none, LockedError when another process does."""
        return cls._begun(Checkpoint.resume(path))

    @classmethod
    def _begun(cls, checkpoint: Checkpoint) -> JobLedger:
        ledger = cls(checkpoint)
        if ledger.job:
            return ledger
        checkpoint.close()
        raise UsageError(f"{checkpoint.path}: this job was stopped before it began.", "Remove the file.")

    async def note(self, **facts: Any) -> None:
        """Write facts of the job itself: its state, when it began, how complete its plan is."""
        await self._write(lambda db: _note(db, facts))
        self.job.update(facts)  # what the disk has not taken is not so

    async def _write(self, operation: Operation[Any]) -> Any:
        """Write, and the counters of requests with it, so that they survive a kill."""

        def with_counters(db: apsw.Connection) -> Any:
            result = operation(db)
            _note(db, {"requests": self.progress.requests, "retries": self.progress.retries})
            return result

        return await self.checkpoint.write(with_counters)

    # -- planning

    async def clear_seen(self) -> None:
        """Begin the walk anew."""
        await self._write(lambda db: _rows(db, "DELETE FROM seen"))

    async def see(self, rows: Sequence[Seen]) -> None:
        """Keep rows of the walk; a row read again replaces what was read before."""
        values = [(row.id, row.group, row.fingerprint is not None, _json(row.fingerprint)) for row in rows]
        await self._write(lambda db: db.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", values))

    async def count_seen(self) -> tuple[int, int]:
        """How many items are in scope, and how many of them are selected."""
        rows = await self.checkpoint.read(
            lambda db: _rows(db, "SELECT count(*), count(*) FILTER (WHERE selected) FROM seen")
        )
        return rows[0][0], rows[0][1]

    async def freeze(self, **facts: Any) -> None:
        """Make the plan of what the walk selected, cut it into chunks and forget the rest, in one transaction."""
        await self._write(lambda db: _freeze(db, facts))
        self.job.update(facts)

    # -- dispatching

    async def begin(self, chunk: Chunk, at: float) -> int:
        """See Ledger."""
        return int(await self._write(lambda db: _begin(db, chunk.first, at)))

    async def record(self, token: int, chunk: Chunk, outcome: Outcome, fate: ItemFate, at: float) -> None:
        """See Ledger."""
        await self._write(lambda db: _record(db, token, chunk.first, outcome, fate, at))

    async def pending(self, after: int, last: int, limit: int) -> Sequence[Chunk]:
        """See Ledger."""
        return await self.checkpoint.read(
            lambda db: [_chunk(db, row) for row in _rows(db, _PENDING, (after, last, limit))]
        )

    async def unsettled(self, first: int, last: int) -> Sequence[Unsettled]:
        """See Ledger."""
        return await self.checkpoint.read(lambda db: _unsettled(db, first, last))

    async def untouched(self, limit: int) -> list[int]:
        """Ids of a few items, spread over the chunks that were never sent."""
        return await self.checkpoint.read(lambda db: [row[0] for row in _rows(db, _UNTOUCHED, (limit, limit))])

    async def refresh(self, fingerprints: dict[int, list[Any]]) -> int:
        """Replace the fingerprints of items that are still to be sent; the answer is how many had moved."""
        values = [(_json(mark), item) for item, mark in fingerprints.items()]
        return int(await self._write(lambda db: _refresh(db, values)))

    async def settle(self, chunk: Chunk, fate: ItemFate, error: str | None, apart: Apart) -> None:
        """See Ledger."""
        await self._write(lambda db: _settle(db, chunk.first, fate, error, apart))

    async def free_unsettled(self) -> None:
        """Let every unsettled chunk be sent again: for kinds that may."""
        await self._write(lambda db: _rows(db, "UPDATE chunk SET fate='not_attempted' WHERE fate='unsettled'"))

    async def span(self) -> tuple[int, int]:
        """The first and the last item of the plan, by their order in it; (0, -1) when there is none."""
        rows = await self.checkpoint.read(
            lambda db: _rows(db, "SELECT coalesce(min(first), 0), coalesce(max(last), -1) FROM chunk")
        )
        return rows[0][0], rows[0][1]

    # -- verifying

    async def accepted(self, ids: Iterable[int]) -> dict[int, list[Any]]:
        """Those of `ids` that the service took and that are not confirmed yet, with their fingerprints."""
        wanted = bytes(orjson.dumps(list(ids))).decode()
        rows = await self.checkpoint.read(lambda db: _rows(db, _ACCEPTED_OF, (wanted,)))
        return {row[0]: orjson.loads(row[1]) for row in rows}

    async def next_accepted(self, after: int, limit: int) -> list[tuple[int, int, list[Any]]]:
        """The next accepted, unconfirmed items beyond position `after`: position, id, fingerprint."""
        rows = await self.checkpoint.read(lambda db: _rows(db, _ACCEPTED_AFTER, (after, limit)))
        return [(seq, item, orjson.loads(mark)) for seq, item, mark in rows]

    async def mark(self, apart: Apart) -> None:
        """Give items a fate of their own."""
        values = [(fate, said, item) for item, (fate, said) in apart.items()]
        await self._write(lambda db: db.executemany("UPDATE item SET fate=?, error=? WHERE id=?", values))

    async def mark_unchanged(self, ids: Iterable[int], look: int) -> None:
        """Note that these accepted items were met unchanged in look number `look`."""
        values = [(look, item) for item in ids]
        await self._write(lambda db: db.executemany("UPDATE item SET fate='accepted', unchanged=? WHERE id=?", values))

    async def confirm_unmet(self, look: int) -> None:
        """Confirm every accepted item that was not met in look number `look`: it is gone."""
        await self._write(lambda db: _confirm_unmet(db, look))

    async def settle_unchanged(self, look: int, fate: ItemFate, said: str) -> None:
        """Give every accepted item that was met unchanged in look number `look` this fate."""
        sql = "UPDATE item SET fate=?, error=? WHERE fate='accepted' AND unchanged=?"
        await self._write(lambda db: _rows(db, sql, (fate, said, look)))

    async def fold(self) -> None:
        """Where all items of an accepted chunk are confirmed, let the chunk say so."""
        await self._write(_fold)

    # -- reporting

    async def counts(self) -> dict[str, int]:
        """How many items have which fate; every fate is there."""
        found: dict[str, int] = dict(await self.checkpoint.read(lambda db: _rows(db, _COUNTS)))
        return {fate.value: found.get(fate.value, 0) for fate in ItemFate}

    async def items(self, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """The next items of the plan beyond position `after`, with what became of each."""
        names = ("seq", "id", "fate", "http_status", "error", "attempts")
        rows = await self.checkpoint.read(lambda db: _rows(db, _ITEMS, (after, limit)))
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def groups(self, limit: int = 20) -> list[tuple[int, int, int]]:
        """The groups of the plan, the largest first: which, how many items, how many chunks."""
        sql = "SELECT grp, sum(last - first + 1), count(*) FROM chunk GROUP BY grp ORDER BY 2 DESC LIMIT ?"
        rows = await self.checkpoint.read(lambda db: _rows(db, sql, (limit,)))
        return [(group, items, chunks) for group, items, chunks in rows]

    async def chunks(self) -> int:
        """How many chunks the plan has."""
        return int((await self.checkpoint.read(lambda db: _rows(db, "SELECT count(*) FROM chunk")))[0][0])

    async def reasons(self, limit: int = 10) -> list[tuple[str, str, int]]:
        """The commonest things said of items that did not go through: fate, what was said, how many items."""
        rows = await self.checkpoint.read(lambda db: _rows(db, _REASONS, (limit,)))
        return [(fate, error, number) for fate, error, number in rows]


# The chunk of an item is the last one that begins at or before it.
_CHUNK_OF_ITEM = "chunk.first = (SELECT max(first) FROM chunk WHERE first <= item.seq)"
_PENDING = """
    SELECT first, last, grp FROM chunk WHERE fate = 'not_attempted' AND first > ? AND first <= ? ORDER BY first LIMIT ?"""
_UNTOUCHED = """
    SELECT id FROM item WHERE seq IN (
        SELECT first FROM (SELECT first, row_number() OVER (ORDER BY first) - 1 AS place, count(*) OVER () AS whole
                           FROM chunk WHERE attempts = 0)
        WHERE place % max(1, whole / ?) = 0 LIMIT ?)"""
_REFRESH = f"""
    UPDATE item SET fingerprint = ?1 WHERE id = ?2 AND fate IS NULL AND fingerprint <> ?1
    AND (SELECT fate FROM chunk WHERE {_CHUNK_OF_ITEM}) = 'not_attempted'"""
_UNSETTLED = """
    SELECT first, last, grp FROM chunk WHERE fate = 'unsettled' AND first BETWEEN ? AND ? ORDER BY first"""
_ACCEPTED_OF = f"""
    SELECT item.id, fingerprint FROM item JOIN chunk ON {_CHUNK_OF_ITEM}
    WHERE item.id IN (SELECT value FROM json_each(?)) AND coalesce(item.fate, chunk.fate) = 'accepted'"""
_ACCEPTED_AFTER = f"""
    SELECT seq, item.id, fingerprint FROM item JOIN chunk ON {_CHUNK_OF_ITEM}
    WHERE seq > ? AND coalesce(item.fate, chunk.fate) = 'accepted' ORDER BY seq LIMIT ?"""
_COUNTS = f"""
    SELECT fate, sum(number) FROM (
        SELECT fate, sum(last - first + 1) AS number FROM chunk GROUP BY fate
        UNION ALL SELECT chunk.fate, -count(*) FROM item JOIN chunk ON {_CHUNK_OF_ITEM}
            WHERE item.fate IS NOT NULL GROUP BY chunk.fate
        UNION ALL SELECT fate, count(*) FROM item WHERE fate IS NOT NULL GROUP BY fate)
    GROUP BY fate"""
_ITEMS = f"""
    SELECT seq, item.id, coalesce(item.fate, chunk.fate), http_status,
        CASE WHEN item.fate IS NULL THEN chunk.error ELSE item.error END, attempts
    FROM item JOIN chunk ON {_CHUNK_OF_ITEM} WHERE seq > ? ORDER BY seq LIMIT ?"""
_REASONS = f"""
    SELECT fate, error, sum(number) FROM (
        SELECT fate, error, sum(last - first + 1) AS number FROM chunk
            WHERE error IS NOT NULL AND fate NOT IN ('not_attempted', 'unsettled') GROUP BY fate, error
        UNION ALL SELECT chunk.fate, chunk.error, -count(*) FROM item JOIN chunk ON {_CHUNK_OF_ITEM}
            WHERE item.fate IS NOT NULL AND chunk.error IS NOT NULL AND chunk.fate NOT IN ('not_attempted', 'unsettled')
            GROUP BY chunk.fate, chunk.error
        UNION ALL SELECT fate, error, count(*) FROM item
            WHERE error IS NOT NULL AND fate NOT IN ('not_attempted', 'unsettled') GROUP BY fate, error)
    GROUP BY fate, error HAVING sum(number) > 0 ORDER BY 3 DESC LIMIT ?"""


def _rows(db: apsw.Connection, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    return db.execute(sql, values).fetchall()


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _note(db: apsw.Connection, facts: dict[str, Any]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO job VALUES (?, ?)",
        [(key, _json(value) or "null") for key, value in facts.items()],
    )


def _freeze(db: apsw.Connection, facts: dict[str, Any]) -> None:
    db.execute("""
        INSERT INTO item (seq, id, grp, fingerprint)
        SELECT row_number() OVER (ORDER BY grp, id), id, grp, fingerprint FROM seen WHERE selected""")
    groups = _rows(db, "SELECT grp, min(seq), max(seq) FROM item GROUP BY grp")
    for group, first, last in groups:
        cuts = range(first, last + 1, CHUNK)
        db.executemany(
            "INSERT INTO chunk (first, last, grp) VALUES (?, ?, ?)",
            ((cut, min(cut + CHUNK - 1, last), group) for cut in cuts),
        )
    db.execute("DROP TABLE seen")
    _note(db, facts)


def _chunk(db: apsw.Connection, row: Sequence[Any]) -> Chunk:
    first, last, group = row
    ids = db.execute("SELECT id FROM item WHERE seq BETWEEN ? AND ? AND fate IS NULL ORDER BY seq", (first, last))
    return Chunk(first, last, group, 0, tuple(row[0] for row in ids))


def _unsettled(db: apsw.Connection, first: int, last: int) -> list[Unsettled]:
    found = []
    for row in _rows(db, _UNSETTLED, (first, last)):
        chunk = _chunk(db, row)
        marks = db.execute("SELECT id, fingerprint FROM item WHERE seq BETWEEN ? AND ?", (chunk.first, chunk.last))
        fingerprints = {item: orjson.loads(str(mark)) for item, mark in marks.fetchall()}
        found.append(Unsettled(chunk, {item: fingerprints[item] for item in chunk.ids}))
    return found


def _refresh(db: apsw.Connection, values: list[tuple[str | None, int]]) -> int:
    before = db.total_changes()
    db.executemany(_REFRESH, values)
    return db.total_changes() - before


def _begin(db: apsw.Connection, first: int, at: float) -> int:
    db.execute("INSERT INTO attempt (chunk, begun_at) VALUES (?, ?)", (first, at))
    token = db.last_insert_rowid()
    db.execute(
        "UPDATE chunk SET fate='unsettled', attempts=attempts+1, attempt=? WHERE first=? AND fate='not_attempted'",
        (token, first),
    )
    _changed_one(db)
    return token


def _record(db: apsw.Connection, token: int, first: int, outcome: Outcome, fate: ItemFate, at: float) -> None:
    db.execute(
        "UPDATE attempt SET ended_at=?, fate=?, http_status=?, error=? WHERE id=?",
        (at, outcome.fate, outcome.status, outcome.error, token),
    )
    db.execute(
        "UPDATE chunk SET fate=?, http_status=?, error=? WHERE first=? AND attempt=?",
        (fate, outcome.status, outcome.error, first, token),
    )
    _changed_one(db)


def _settle(db: apsw.Connection, first: int, fate: ItemFate, error: str | None, apart: Apart) -> None:
    known = Fate.APPLIED if fate is ItemFate.ACCEPTED else Fate.UNKNOWN
    db.execute("UPDATE attempt SET fate=? WHERE id=(SELECT attempt FROM chunk WHERE first=?)", (known, first))
    db.execute("UPDATE chunk SET fate=?, error=? WHERE first=? AND fate='unsettled'", (fate, error, first))
    _changed_one(db)
    db.executemany(
        "UPDATE item SET fate=?, error=? WHERE id=?",
        [(own, said, item) for item, (own, said) in apart.items()],
    )


def _fold(db: apsw.Connection) -> None:
    db.execute("""
        UPDATE chunk SET fate='confirmed' WHERE fate='accepted' AND NOT EXISTS
            (SELECT 1 FROM item WHERE seq BETWEEN chunk.first AND chunk.last AND fate IS NOT 'confirmed')""")
    db.execute(f"""
        UPDATE item SET fate=NULL WHERE fate='confirmed'
        AND (SELECT fate FROM chunk WHERE {_CHUNK_OF_ITEM}) = 'confirmed'""")


def _confirm_unmet(db: apsw.Connection, look: int) -> None:
    db.execute(
        "UPDATE item SET fate='confirmed', unchanged=NULL WHERE fate='accepted' AND unchanged IS NOT ?",
        (look,),
    )
    db.execute("UPDATE chunk SET fate='confirmed' WHERE fate='accepted'")


def _changed_one(db: apsw.Connection) -> None:
    if db.changes() != 1:
        raise StaleAttemptError
