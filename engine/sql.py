"""All the SQL of the flows. Tables and columns are explained in `engine.checkpoint`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import apsw
import orjson

from .fates import Fate, ItemFate, Outcome
from .ledger import Apart, Chunk, Cut, StaleAttemptError, Unsettled

# The chunk of an item is the last one that begins at or before it.
CHUNK_OF_ITEM = "chunk.first = (SELECT max(first) FROM chunk WHERE first <= item.seq)"
_CHUNK = "SELECT first, last, grp, coalesce(root, first), attempts > 0 FROM chunk"
PENDING = f"{_CHUNK} WHERE fate = 'not_attempted' AND first > ? AND first <= ? ORDER BY first LIMIT ?"
_UNSETTLED = f"{_CHUNK} WHERE fate = 'unsettled' AND first BETWEEN ? AND ? ORDER BY first"
# A few items of a few chunks, spread over the plan.
UNTOUCHED = """
    SELECT item.id FROM (
        SELECT first, last FROM (SELECT first, last, row_number() OVER (ORDER BY first) - 1 AS place, count(*) OVER () AS whole
                                 FROM chunk WHERE fate = 'not_attempted')
        WHERE place % max(1, whole / ?1) = 0 LIMIT ?1) AS few
    JOIN item ON seq IN (first, first + (last - first) / 4, (first + last) / 2, last - (last - first) / 4, last)
    WHERE item.fate IS NULL ORDER BY seq"""
WITNESSES = """
    SELECT item.id, fingerprint FROM chunk JOIN item ON item.seq IN (chunk.first, chunk.last)
    WHERE coalesce(item.fate, chunk.fate) = 'accepted' LIMIT ?"""
ANY_CONFIRMED = """
    SELECT EXISTS (SELECT 1 FROM chunk WHERE fate = 'confirmed') OR EXISTS (SELECT 1 FROM item WHERE fate = 'confirmed')"""
_MAY_BE_DONE = "SELECT chunk FROM attempt WHERE coalesce(fate, 'unknown') = 'unknown'"
_IS_DOUBTFUL = f"fate = 'not_attempted' AND (first IN ({_MAY_BE_DONE}) OR root IN ({_MAY_BE_DONE}))"
DOUBTFUL = f"SELECT first FROM chunk WHERE {_IS_DOUBTFUL}"
UNSETTLE_DOUBTFUL = f"UPDATE chunk SET fate = 'unsettled' WHERE {_IS_DOUBTFUL}"
PARTS = """
    SELECT min(first), max(last), min(whole) FROM (
        SELECT chunk.first, chunk.last, fate IN ('confirmed', 'skipped') AS whole,
            (row_number() OVER (ORDER BY first) - 1) / ? AS number FROM chunk WHERE grp >= 0)
    GROUP BY number ORDER BY number"""
ACCEPTED_OF = f"""
    SELECT item.id, fingerprint FROM item JOIN chunk ON {CHUNK_OF_ITEM}
    WHERE item.id IN (SELECT value FROM json_each(?)) AND coalesce(item.fate, chunk.fate) = 'accepted'"""
SENT = f"""
    SELECT seq, item.id FROM item JOIN chunk ON {CHUNK_OF_ITEM}
    WHERE seq > ? AND (coalesce(item.fate, chunk.fate) IN ('accepted', 'confirmed', 'held', 'unsettled')
        OR (item.fate IS NULL AND chunk.fate = 'not_attempted' AND attempts > 0)) ORDER BY seq LIMIT ?"""
ACCEPTED_AFTER = f"""
    SELECT seq, item.id, fingerprint FROM item JOIN chunk ON {CHUNK_OF_ITEM}
    WHERE seq > ? AND coalesce(item.fate, chunk.fate) = 'accepted' ORDER BY seq LIMIT ?"""

_UNMET = f"coalesce(fate, (SELECT fate FROM chunk WHERE {CHUNK_OF_ITEM})) = 'accepted' AND met IS NOT ?1"
UNMET = f"SELECT id FROM item WHERE {_UNMET} ORDER BY seq * 2654435761 % 4294967296 LIMIT ?2"  # from anywhere
HIDDEN = "hidden"  # what an item shows that the key in use cannot see
HIDE_UNMET = f"UPDATE item SET fate='accepted', met=?1, shows='{HIDDEN}' WHERE {_UNMET}"
_CONFIRM = "UPDATE item SET fate='confirmed', error=NULL, after=? WHERE id=?"
_ACCEPTED_CHUNKS = f"""
    SELECT DISTINCT first, last FROM item JOIN chunk ON {CHUNK_OF_ITEM}
    WHERE item.id IN (SELECT value FROM json_each(?)) AND chunk.fate = 'accepted'"""
_LACKS_CONFIRMATION = "SELECT 1 FROM item WHERE seq BETWEEN ? AND ? AND fate IS NOT 'confirmed' LIMIT 1"
MEET = "UPDATE item SET fate='accepted', met=?, shows=? WHERE id=?"
RELEASED = "released by a person"
SETTLE = f"""
    UPDATE item SET fate=?, error=CASE WHEN error LIKE '{RELEASED}%'
        THEN '{RELEASED}, but unchanged when read back: look again whether it was done' ELSE ? END
    WHERE fate='accepted' AND met=? AND shows=?"""


def rows(db: apsw.Connection, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query, or of a statement that has none."""
    return db.execute(sql, values).fetchall()


def as_json(value: Any) -> str | None:
    """A value as JSON text; None stays NULL."""
    return None if value is None else orjson.dumps(value).decode()


def note(db: apsw.Connection, facts: dict[str, Any]) -> None:
    """Write facts of the job itself."""
    db.executemany(
        "INSERT OR REPLACE INTO job VALUES (?, ?)",
        [(key, as_json(value) or "null") for key, value in facts.items()],
    )


def read_chunk(db: apsw.Connection, row: Sequence[Any]) -> Chunk:
    """The chunk of a row of `_CHUNK`, with the items that have no fate of their own."""
    first, last, group, root, sent = row
    ids = db.execute("SELECT id FROM item WHERE seq BETWEEN ? AND ? AND fate IS NULL ORDER BY seq", (first, last))
    return Chunk(first, last, group, 0, tuple(chain.from_iterable(ids)), root=root, sent=bool(sent))


def fingerprints(db: apsw.Connection, first: int, last: int) -> dict[int, list[Any]]:
    """The fingerprints of the items from seq `first` to seq `last`, by id."""
    marks = db.execute("SELECT id, fingerprint FROM item WHERE seq BETWEEN ? AND ?", (first, last))
    return {int(str(item)): orjson.loads(str(mark)) for item, mark in marks.fetchall()}


def read_unsettled(db: apsw.Connection, first: int, last: int) -> list[Unsettled]:
    """The unsettled chunks from item `first` to item `last`, with their fingerprints."""
    found = []
    for row in rows(db, _UNSETTLED, (first, last)):
        chunk = read_chunk(db, row)
        marks = fingerprints(db, chunk.first, chunk.last)
        found.append(Unsettled(chunk, {item: marks[item] for item in chunk.ids}))
    return found


def mark(db: apsw.Connection, apart: Apart) -> None:
    """Give items a fate of their own."""
    values = [(fate, said, item) for item, (fate, said) in apart.items()]
    db.executemany("UPDATE item SET fate=?, error=? WHERE id=?", values)


def leave_out(db: apsw.Connection, first: int, last: int, apart: Apart) -> None:
    """Give items of a chunk that is still to be sent a fate of their own; where none is left, the chunk is over."""
    mark(db, apart)
    db.execute(
        """UPDATE chunk SET fate='skipped' WHERE first=? AND fate='not_attempted' AND NOT EXISTS
            (SELECT 1 FROM item WHERE seq BETWEEN ? AND ? AND fate IS NULL)""",
        (first, first, last),
    )


def close(db: apsw.Connection, first: int, fate: ItemFate, said: str) -> None:
    """End a chunk that is not sent after all."""
    db.execute("UPDATE chunk SET fate=?, error=? WHERE first=? AND fate='not_attempted'", (fate, said, first))
    _changed_one(db)


def skip_unsent(db: apsw.Connection) -> None:
    """Leave out every chunk that is still to be sent, with words, and note that the job is cancelled."""
    db.execute("""
        UPDATE chunk SET fate='skipped', error=CASE attempts
            WHEN 0 THEN 'cancelled before it was sent' ELSE 'cancelled before it was sent again' END
        WHERE fate='not_attempted'""")
    note(db, {"cancelled": True})


def begin(db: apsw.Connection, first: int, at: float) -> int:
    """Write an intent; the answer is its token. Raises StaleAttemptError."""
    db.execute("INSERT INTO attempt (chunk, begun_at) VALUES (?, ?)", (first, at))
    token = db.last_insert_rowid()
    db.execute(
        "UPDATE chunk SET fate='unsettled', attempts=attempts+1, attempt=? WHERE first=? AND fate='not_attempted'",
        (token, first),
    )
    _changed_one(db)
    return token


def record(db: apsw.Connection, token: int, first: int, outcome: Outcome, fate: ItemFate, at: float) -> None:
    """Write the outcome of the attempt `token`. Raises StaleAttemptError."""
    db.execute(
        "UPDATE attempt SET ended_at=?, fate=?, http_status=?, error=? WHERE id=?",
        (at, outcome.fate, outcome.status, outcome.error, token),
    )
    db.execute(
        "UPDATE chunk SET fate=?, http_status=?, error=? WHERE first=? AND attempt=?",
        (fate, outcome.status, outcome.error, first, token),
    )
    _changed_one(db)


def narrow(db: apsw.Connection, token: int, chunk: Chunk, outcome: Outcome, cut: Cut, at: float) -> list[Chunk]:
    """Write that an attempt was refused and how its chunk is cut, in one; the parts. Raises StaleAttemptError."""
    fate = ItemFate.NOT_ATTEMPTED if cut.parts else ItemFate.FAILED
    record(db, token, chunk.first, replace(outcome, error=cut.rest or outcome.error), fate, at)
    mark(db, {item: (ItemFate.FAILED, said) for item, said in cut.failed.items()})
    edges = [chunk.first, *(_seq(db, part[0]) for part in cut.parts[1:]), chunk.last + 1]
    parts = []
    for ids, (first, behind) in zip(cut.parts, pairwise(edges), strict=False):
        parts.append(replace(chunk, first=first, last=behind - 1, ids=ids, sent=True, attempts=0))
        db.execute(
            """INSERT INTO chunk (first, last, grp, attempts, root)
                SELECT ?1, ?2, grp, attempts, ?3 FROM chunk WHERE first = ?4
                ON CONFLICT (first) DO UPDATE SET last = excluded.last""",
            (first, behind - 1, chunk.root, chunk.first),
        )
    return parts


def _seq(db: apsw.Connection, item: int) -> int:
    return int(rows(db, "SELECT seq FROM item WHERE id=?", (item,))[0][0])


def settle(db: apsw.Connection, first: int, fate: ItemFate, error: str | None, apart: Apart) -> None:
    """Write what reading back showed of a chunk. Raises StaleAttemptError."""
    known = Fate.APPLIED if fate is ItemFate.ACCEPTED else Fate.UNKNOWN
    db.execute("UPDATE attempt SET fate=? WHERE id=(SELECT attempt FROM chunk WHERE first=?)", (known, first))
    db.execute("UPDATE chunk SET fate=?, error=? WHERE first=? AND fate='unsettled'", (fate, error, first))
    _changed_one(db)
    mark(db, apart)


def _go_back(db: apsw.Connection, state: str, *ended: str) -> None:
    """Let a job that is in one of the states `ended` go on from `state`."""
    known = ", ".join(f"'{as_json(each)}'" for each in ended)
    db.execute(f"UPDATE job SET value=? WHERE key='state' AND value IN ({known})", (as_json(state),))


def release_held(db: apsw.Connection) -> None:
    """Count what is held as accepted, and let a finished job be verified again."""
    db.execute("UPDATE item SET fate='accepted', error=? WHERE fate='held'", (RELEASED,))
    _go_back(db, "verifying", "finished")


def retry_held(db: apsw.Connection, fingerprints: dict[int, list[Any]], apart: Apart) -> None:
    """Let held items be sent again: their chunks are pending anew, and the fates of all others in these stay as they are."""
    mark(db, apart)
    chunks = f"SELECT first, last, chunk.fate, chunk.error FROM item JOIN chunk ON {CHUNK_OF_ITEM}"
    for first, last, fate, said in set(rows(db, f"{chunks} WHERE item.fate='held' AND chunk.fate <> 'unsettled'")):
        if fate != ItemFate.NOT_ATTEMPTED:
            others = "UPDATE item SET fate=?, error=? WHERE seq BETWEEN ? AND ? AND fate IS NULL"
            db.execute(others, (fate, said, first, last))
            db.execute("UPDATE chunk SET fate='not_attempted', error=NULL WHERE first=?", (first,))
        again = (
            "UPDATE item SET fate=NULL, error=NULL, fingerprint=? WHERE id=? AND fate='held' AND seq BETWEEN ? AND ?"
        )
        db.executemany(again, [(as_json(mark), item, first, last) for item, mark in fingerprints.items()])
    _go_back(db, "working", "finished", "verifying")


def confirm(db: apsw.Connection, measures: Mapping[int, float | None]) -> None:
    """Confirm items, with what was measured of each. Where that makes a chunk whole the chunk says so: few have fates of their own."""
    db.executemany(_CONFIRM, [(measure, item) for item, measure in measures.items()])
    for first, last in rows(db, _ACCEPTED_CHUNKS, (as_json(list(measures)),)):
        if not rows(db, _LACKS_CONFIRMATION, (first, last)):
            db.execute("UPDATE chunk SET fate='confirmed' WHERE first=?", (first,))
            db.execute("UPDATE item SET fate=NULL WHERE seq BETWEEN ? AND ?", (first, last))


def fold(db: apsw.Connection) -> None:
    """Where all items of an accepted chunk are confirmed, let the chunk say so."""
    db.execute("""
        UPDATE chunk SET fate='confirmed' WHERE fate='accepted' AND NOT EXISTS
            (SELECT 1 FROM item WHERE seq BETWEEN chunk.first AND chunk.last AND fate IS NOT 'confirmed')""")
    db.execute(f"""
        UPDATE item SET fate=NULL WHERE fate='confirmed'
        AND (SELECT fate FROM chunk WHERE {CHUNK_OF_ITEM}) = 'confirmed'""")


def confirm_unmet(db: apsw.Connection, look: int) -> None:
    """Confirm every accepted item that was not met in this look."""
    db.execute(
        "UPDATE item SET fate='confirmed', met=NULL WHERE fate='accepted' AND met IS NOT ?",
        (look,),
    )
    db.execute("UPDATE chunk SET fate='confirmed' WHERE fate='accepted'")


def announce_part(db: apsw.Connection, number: int, apart: Apart) -> None:
    """Say that a part is whole, and that its items are confirmed, but for those in `apart`."""
    db.execute("UPDATE part SET whole=1 WHERE number=?", (number,))
    db.execute(
        """UPDATE chunk SET fate='confirmed' FROM part
            WHERE number=? AND chunk.first BETWEEN part.first AND part.last AND fate='not_attempted'""",
        (number,),
    )
    mark(db, apart)


def _changed_one(db: apsw.Connection) -> None:
    if db.changes() != 1:
        raise StaleAttemptError
