"""The SQL of planning: what was seen of the list, what of it is selected, and the plan that is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

import apsw
import orjson

from .fates import ItemFate
from .ledger import CHUNK
from .sql import note, rows

# Every row in scope, once; those with a fingerprint are selected. `credits` is NULL where a row does not tell its cost. Of
# those that are `among`, the ones of each `per` with the largest `by` are kept. The key is the id below zero: rows come newest
# first, and what comes in the order of its key is appended. Temporary, since a walk that was cut short is worth nothing: it is not synced, leaves no
# room unused in the checkpoint, and goes with the process. SQLite puts it under SQLITE_TMPDIR, TMPDIR or /var/tmp.
_SEEN = """
    CREATE TEMP TABLE seen (
        below INTEGER PRIMARY KEY, grp INTEGER, fingerprint TEXT, credits REAL, measure REAL, parent INTEGER, among INTEGER, per, by,
        id AS (-below))"""
TALLY = """
    SELECT count(*), count(fingerprint), total(credits) FILTER (WHERE fingerprint IS NOT NULL),
        count(*) FILTER (WHERE fingerprint IS NOT NULL AND credits IS NULL) FROM seen"""
# The order of values is that of `Seen`.
SEE = """
    INSERT OR REPLACE INTO seen (below, grp, fingerprint, credits, measure, parent, among, per, by)
    VALUES (-?, ?, ?, ?, ?, ?, ?, ?, ?)"""
NOT_FOUND = "not found in scope"
# Where `by` is not known, or of what it is one, whether it is one of the last cannot be told: it is kept.
_KEEP = """
    UPDATE seen SET fingerprint = NULL WHERE fingerprint IS NOT NULL AND among AND (by IS NULL OR (?2 AND per IS NULL) OR id IN (
        SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY per ORDER BY by DESC, id DESC) AS place
            FROM seen WHERE among AND by IS NOT NULL) WHERE place <= ?1))"""


def freeze(db: apsw.Connection, facts: dict[str, Any]) -> dict[str, Any]:
    """Make the plan of what was selected, newest first, cut it into chunks, and forget the rest.

    The answer is the facts as they were noted, with the plan's hash.
    """
    # `seq` counts by itself what comes in order; `row_number()` would cost as much again as the sort.
    db.execute("""
        INSERT INTO item (id, grp, parent, fingerprint, before)
        SELECT id, grp, parent, fingerprint, measure FROM seen WHERE fingerprint IS NOT NULL
        ORDER BY grp DESC, below""")
    groups = db.execute(
        "SELECT grp, min(seq), max(seq) FROM item GROUP BY grp ORDER BY 2"
    )  # as many as there are results
    canary = facts.get("canary") or 0
    db.executemany(
        "INSERT INTO chunk (first, last, grp) VALUES (?, ?, ?)",
        ((begin, end, group) for group, first, last in groups for begin, end in _cuts(first, last, canary)),
    )
    _add_missing(db)
    db.execute("DROP TABLE seen")
    db.execute("DROP TABLE wanted")
    noted = {**facts, "plan_hash": plan_hash(db)}
    note(db, noted)
    return noted


def begin_walk(db: apsw.Connection) -> None:
    """Forget what any earlier walk has seen."""
    db.execute("DROP TABLE IF EXISTS seen")
    db.execute(_SEEN)


def want(db: apsw.Connection, ids: Iterable[int]) -> int:
    """Write which ids the scope names; how many they are."""
    db.execute("DELETE FROM wanted")
    db.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((item,) for item in ids))
    return int(rows(db, "SELECT count(*) FROM wanted")[0][0])


def restrict(db: apsw.Connection) -> int:
    """Forget what was seen and is not wanted; how many of the wanted were not seen."""
    db.execute("DELETE FROM seen WHERE id NOT IN wanted")
    return int(rows(db, "SELECT count(*) FROM wanted WHERE -id NOT IN (SELECT below FROM seen)")[0][0])


def keep(db: apsw.Connection, last: int, *, each: bool) -> int:
    """Take the last so many of all, or of `each`, out of what is selected; how many that were."""
    db.execute(_KEEP, (last, each))
    return db.changes()


def _add_missing(db: apsw.Connection) -> None:
    """Whatever the scope names has a fate: what was not found is left out, in a chunk of its own behind the others."""
    behind = int(rows(db, "SELECT coalesce(max(seq), 0) FROM item")[0][0])
    db.execute("""
        INSERT INTO item (id, grp, fingerprint)
        SELECT id, -1, 'null' FROM wanted WHERE -id NOT IN (SELECT below FROM seen) ORDER BY id""")
    if missing := db.changes():
        db.execute(
            "INSERT INTO chunk (first, last, grp, fate, error) VALUES (?, ?, -1, ?, ?)",
            (behind + 1, behind + missing, ItemFate.SKIPPED, NOT_FOUND),
        )


def _cuts(first: int, last: int, canary: int) -> Iterator[tuple[int, int]]:
    """Cut items `first` to `last` into chunks, so that none holds both item `canary` and the one after it."""
    while first <= last:
        end = min(first + CHUNK - 1, last)
        if first <= canary < end:
            end = canary
        yield first, end
        first = end + 1


def plan_hash(db: apsw.Connection) -> str:
    """SHA-256 of the origin, the spec and every item, as they are in the checkpoint. Fingerprints are JSON: one line each."""
    kept = {
        key: orjson.loads(value) for key, value in rows(db, "SELECT key, value FROM job WHERE key IN ('origin', 'raw')")
    }
    digest = sha256(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS))
    for line in db.execute("SELECT id || ' ' || grp || ' ' || fingerprint FROM item ORDER BY seq"):
        digest.update(b"\n" + str(line[0]).encode())
    return digest.hexdigest()
