"""The SQL of reporting: what became of the items, in numbers and one by one. It only reads."""

from __future__ import annotations

from typing import Any

import apsw
import orjson

from .fates import ItemFate
from .sql import CHUNK_OF_ITEM, rows

_COUNTS = f"""
    SELECT fate, sum(number) FROM (
        SELECT fate, sum(last - first + 1) AS number FROM chunk GROUP BY fate
        UNION ALL SELECT chunk.fate, -count(*) FROM item JOIN chunk ON {CHUNK_OF_ITEM}
            WHERE item.fate IS NOT NULL GROUP BY chunk.fate
        UNION ALL SELECT fate, count(*) FROM item WHERE fate IS NOT NULL GROUP BY fate)
    GROUP BY fate"""
_ITEMS = f"""
    SELECT seq, item.id, coalesce(item.fate, chunk.fate), http_status,
        CASE WHEN item.fate IS NULL THEN chunk.error ELSE item.error END, attempts, before, after
    FROM item JOIN chunk ON {CHUNK_OF_ITEM} WHERE seq > ? ORDER BY seq LIMIT ?"""
_REASONS = f"""
    SELECT fate, error, sum(number) FROM (
        SELECT fate, error, sum(last - first + 1) AS number FROM chunk
            WHERE error IS NOT NULL AND fate NOT IN ('not_attempted', 'unsettled') GROUP BY fate, error
        UNION ALL SELECT chunk.fate, chunk.error, -count(*) FROM item JOIN chunk ON {CHUNK_OF_ITEM}
            WHERE item.fate IS NOT NULL AND chunk.error IS NOT NULL AND chunk.fate NOT IN ('not_attempted', 'unsettled')
            GROUP BY chunk.fate, chunk.error
        UNION ALL SELECT fate, error, count(*) FROM item
            WHERE error IS NOT NULL AND fate NOT IN ('not_attempted', 'unsettled') GROUP BY fate, error)
    GROUP BY fate, error HAVING sum(number) > 0 ORDER BY 3 DESC LIMIT ?"""
_SHOWN = "SELECT shows, count(*) FROM item WHERE fate='accepted' AND shows IS NOT NULL GROUP BY shows"
_EQUAL = 1e-9  # what a share may differ by and still be the same: it is a quotient, computed elsewhere
_MEASURED = "FROM item WHERE before IS NOT NULL AND after IS NOT NULL"
_CHANGE = f"""
    SELECT count(*), avg(before), avg(after), count(*) FILTER (WHERE after - before > {_EQUAL}),
        count(*) FILTER (WHERE before - after > {_EQUAL}) {_MEASURED}"""
_IMPROVED = (
    f"SELECT id, before, after {_MEASURED} AND after - before > {_EQUAL} ORDER BY after - before DESC, seq LIMIT ?"
)
_FELL = f"SELECT id, before, after {_MEASURED} AND before - after > {_EQUAL} ORDER BY before - after DESC, seq LIMIT ?"


def counts(db: apsw.Connection) -> dict[str, int]:
    """How many items have which fate; every fate is there."""
    found: dict[str, int] = dict(rows(db, _COUNTS))
    return {fate.value: found.get(fate.value, 0) for fate in ItemFate}


def items(db: apsw.Connection, after: int, limit: int) -> list[dict[str, Any]]:
    """The next items of the plan beyond position `after`, with what became of each."""
    names = ("seq", "id", "fate", "http_status", "error", "attempts", "before", "after")
    return [dict(zip(names, row, strict=True)) for row in rows(db, _ITEMS, (after, limit))]


def held(db: apsw.Connection, limit: int) -> dict[int, int]:
    """The ids of items that are held, each with its group; all with a limit of -1."""
    return dict(rows(db, "SELECT id, grp FROM item WHERE fate='held' ORDER BY seq LIMIT ?", (limit,)))


def files(db: apsw.Connection) -> list[dict[str, Any]]:
    """The files of every part that was announced: `path`, `rows`, `bytes`, `sha256`."""
    found = rows(db, "SELECT files FROM part WHERE whole ORDER BY number")
    return [file for row in found for file in orjson.loads(row[0])]


def shown(db: apsw.Connection) -> dict[str, int]:
    """Of the items that are accepted and not confirmed, how many showed what when they were last looked at."""
    return dict(rows(db, _SHOWN))


def change(db: apsw.Connection, movers: int) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
    """What became of the measure of all items that have one from before and after, and the largest movers.

    First: how many items, mean before, mean after, how many improved, how many fell. Then id, before and after of
    as many `movers` in each direction, the improvements first.
    """
    (whole,) = rows(db, _CHANGE)
    *_, improved, fell = whole
    told = ([_IMPROVED] if improved else []) + ([_FELL] if fell else [])  # each reads the whole plan
    return whole, [row for statement in told for row in rows(db, statement, (movers,))]


def reasons(db: apsw.Connection, limit: int = 10) -> list[tuple[str, str, int]]:
    """The commonest things said of items that did not go through: fate, what was said, how many items."""
    return [(fate, error, number) for fate, error, number in rows(db, _REASONS, (limit,))]
