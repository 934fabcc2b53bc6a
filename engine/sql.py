"""All the SQL of the flows. Tables and columns are explained in `engine.checkpoint`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import orjson

from .fates import Fate, ItemFate, Outcome
from .kind import CHUNK
from .ledger import Apart, Chunk, StaleAttemptError, Unsettled

# The chunk of an item is the last one that begins at or before it.
_CHUNK_OF_ITEM = "chunk.first = (SELECT max(first) FROM chunk WHERE first <= item.seq)"
PENDING = """
    SELECT first, last, grp FROM chunk WHERE fate = 'not_attempted' AND first > ? AND first <= ? ORDER BY first LIMIT ?"""
UNTOUCHED = """
    SELECT id FROM item WHERE seq IN (
        SELECT first FROM (SELECT first, row_number() OVER (ORDER BY first) - 1 AS place, count(*) OVER () AS whole
                           FROM chunk WHERE attempts = 0)
        WHERE place % max(1, whole / ?) = 0 LIMIT ?)"""
_STILL_TO_BE_SENT = f"fate IS NULL AND (SELECT fate FROM chunk WHERE {_CHUNK_OF_ITEM}) = 'not_attempted'"
_DIFFERS = f"SELECT 1 FROM item WHERE fingerprint <> ?1 AND id = ?2 AND {_STILL_TO_BE_SENT}"
_REFRESH = f"UPDATE item SET fingerprint = ?1, unchanged = ?3 WHERE id = ?2 AND {_STILL_TO_BE_SENT}"
_SKIP = f"UPDATE item SET fate = 'skipped', error = ?1 WHERE unchanged IS NOT ?2 AND {_STILL_TO_BE_SENT}"
_UNSETTLED = """
    SELECT first, last, grp FROM chunk WHERE fate = 'unsettled' AND first BETWEEN ? AND ? ORDER BY first"""
_IS_DOUBTFUL = """
    fate = 'not_attempted' AND first IN (SELECT chunk FROM attempt WHERE coalesce(fate, 'unknown') = 'unknown')"""
DOUBTFUL = f"SELECT first FROM chunk WHERE {_IS_DOUBTFUL}"
UNSETTLE_DOUBTFUL = f"UPDATE chunk SET fate = 'unsettled' WHERE {_IS_DOUBTFUL}"
ACCEPTED_OF = f"""
    SELECT item.id, fingerprint FROM item JOIN chunk ON {_CHUNK_OF_ITEM}
    WHERE item.id IN (SELECT value FROM json_each(?)) AND coalesce(item.fate, chunk.fate) = 'accepted'"""
ACCEPTED_AFTER = f"""
    SELECT seq, item.id, fingerprint FROM item JOIN chunk ON {_CHUNK_OF_ITEM}
    WHERE seq > ? AND coalesce(item.fate, chunk.fate) = 'accepted' ORDER BY seq LIMIT ?"""
COUNTS = f"""
    SELECT fate, sum(number) FROM (
        SELECT fate, sum(last - first + 1) AS number FROM chunk GROUP BY fate
        UNION ALL SELECT chunk.fate, -count(*) FROM item JOIN chunk ON {_CHUNK_OF_ITEM}
            WHERE item.fate IS NOT NULL GROUP BY chunk.fate
        UNION ALL SELECT fate, count(*) FROM item WHERE fate IS NOT NULL GROUP BY fate)
    GROUP BY fate"""
ITEMS = f"""
    SELECT seq, item.id, coalesce(item.fate, chunk.fate), http_status,
        CASE WHEN item.fate IS NULL THEN chunk.error ELSE item.error END, attempts
    FROM item JOIN chunk ON {_CHUNK_OF_ITEM} WHERE seq > ? ORDER BY seq LIMIT ?"""
REASONS = f"""
    SELECT fate, error, sum(number) FROM (
        SELECT fate, error, sum(last - first + 1) AS number FROM chunk
            WHERE error IS NOT NULL AND fate NOT IN ('not_attempted', 'unsettled') GROUP BY fate, error
        UNION ALL SELECT chunk.fate, chunk.error, -count(*) FROM item JOIN chunk ON {_CHUNK_OF_ITEM}
            WHERE item.fate IS NOT NULL AND chunk.error IS NOT NULL AND chunk.fate NOT IN ('not_attempted', 'unsettled')
            GROUP BY chunk.fate, chunk.error
        UNION ALL SELECT fate, error, count(*) FROM item
            WHERE error IS NOT NULL AND fate NOT IN ('not_attempted', 'unsettled') GROUP BY fate, error)
    GROUP BY fate, error HAVING sum(number) > 0 ORDER BY 3 DESC LIMIT ?"""


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


def freeze(db: apsw.Connection, facts: dict[str, Any]) -> None:
    """Make the plan of what was selected, cut it into chunks, and forget the rest."""
    db.execute("""
        INSERT INTO item (seq, id, grp, fingerprint)
        SELECT row_number() OVER (ORDER BY grp, id), id, grp, fingerprint FROM seen WHERE selected""")
    groups = rows(db, "SELECT grp, min(seq), max(seq) FROM item GROUP BY grp")
    for group, first, last in groups:
        cuts = range(first, last + 1, CHUNK)
        db.executemany(
            "INSERT INTO chunk (first, last, grp) VALUES (?, ?, ?)",
            ((cut, min(cut + CHUNK - 1, last), group) for cut in cuts),
        )
    db.execute("DROP TABLE seen")
    note(db, facts)


def read_chunk(db: apsw.Connection, row: Sequence[Any]) -> Chunk:
    """The chunk of a row of (first, last, group), with the items that have no fate of their own."""
    first, last, group = row
    ids = db.execute("SELECT id FROM item WHERE seq BETWEEN ? AND ? AND fate IS NULL ORDER BY seq", (first, last))
    return Chunk(first, last, group, 0, tuple(row[0] for row in ids))


def read_unsettled(db: apsw.Connection, first: int, last: int) -> list[Unsettled]:
    """The unsettled chunks from item `first` to item `last`, with their fingerprints."""
    found = []
    for row in rows(db, _UNSETTLED, (first, last)):
        chunk = read_chunk(db, row)
        marks = db.execute("SELECT id, fingerprint FROM item WHERE seq BETWEEN ? AND ?", (chunk.first, chunk.last))
        fingerprints = {item: orjson.loads(str(mark)) for item, mark in marks.fetchall()}
        found.append(Unsettled(chunk, {item: fingerprints[item] for item in chunk.ids}))
    return found


def refresh(db: apsw.Connection, values: list[tuple[str | None, int, int]]) -> int:
    """Replace fingerprints of items that are still to be sent and note the look; the answer is how many differed."""
    moved = 0
    for value in values:
        moved += len(rows(db, _DIFFERS, value[:2]))
        db.execute(_REFRESH, value)
    return moved


def skip_unmet(db: apsw.Connection, look: int, said: str) -> None:
    """Leave out what is still to be sent and was not met in this look; a chunk with nothing left is left out whole."""
    db.execute(_SKIP, (said, look))
    db.execute("""
        UPDATE chunk SET fate='skipped' WHERE fate='not_attempted' AND NOT EXISTS
            (SELECT 1 FROM item WHERE seq BETWEEN chunk.first AND chunk.last AND fate IS NULL)""")


def skip_unsent(db: apsw.Connection) -> None:
    """Leave out every chunk that is still to be sent, with words, and note that the job is cancelled."""
    db.execute("""
        UPDATE chunk SET fate='skipped', error=CASE attempts
            WHEN 0 THEN 'cancelled before it was sent' ELSE 'cancelled before it was sent again: it was not carried out' END
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


def settle(db: apsw.Connection, first: int, fate: ItemFate, error: str | None, apart: Apart) -> None:
    """Write what reading back showed of a chunk. Raises StaleAttemptError."""
    known = Fate.APPLIED if fate is ItemFate.ACCEPTED else Fate.UNKNOWN
    db.execute("UPDATE attempt SET fate=? WHERE id=(SELECT attempt FROM chunk WHERE first=?)", (known, first))
    db.execute("UPDATE chunk SET fate=?, error=? WHERE first=? AND fate='unsettled'", (fate, error, first))
    _changed_one(db)
    db.executemany(
        "UPDATE item SET fate=?, error=? WHERE id=?",
        [(own, said, item) for item, (own, said) in apart.items()],
    )


def fold(db: apsw.Connection) -> None:
    """Where all items of an accepted chunk are confirmed, let the chunk say so."""
    db.execute("""
        UPDATE chunk SET fate='confirmed' WHERE fate='accepted' AND NOT EXISTS
            (SELECT 1 FROM item WHERE seq BETWEEN chunk.first AND chunk.last AND fate IS NOT 'confirmed')""")
    db.execute(f"""
        UPDATE item SET fate=NULL WHERE fate='confirmed'
        AND (SELECT fate FROM chunk WHERE {_CHUNK_OF_ITEM}) = 'confirmed'""")


def confirm_unmet(db: apsw.Connection, look: int) -> None:
    """Confirm every accepted item that was not met in this look."""
    db.execute(
        "UPDATE item SET fate='confirmed', unchanged=NULL WHERE fate='accepted' AND unchanged IS NOT ?",
        (look,),
    )
    db.execute("UPDATE chunk SET fate='confirmed' WHERE fate='accepted'")


def _changed_one(db: apsw.Connection) -> None:
    if db.changes() != 1:
        raise StaleAttemptError
