"""Proving an archive against a job: whatever was sent lies in it, in full, as it was planned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import apsw

from .errors import UsageError
from .files.archive import read
from .jobledger import JobLedger
from .kind import Resource
from .sql import as_json, rows

_BATCH = 1000
SHOWN = 20  # ids that are told of


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found: `rows` of the archive, `sent` items of the job, and those of them that it lacks, or has otherwise."""

    rows: int
    sent: int
    missing: int
    differing: int
    examples: tuple[int, ...]

    @property
    def holds(self) -> bool:
        """Whether everything that was sent is in the archive as it was planned."""
        return not (self.missing or self.differing)


async def prove(path: Path, ledger: JobLedger, resource: Resource) -> Proof:
    """Compare an archive with the job that wrote it. Memory stays flat. Raises UsageError when it is damaged or another's."""
    lines = iter(read(path))
    must_be_of(next(lines, {}), ledger, path)
    found = apsw.Connection("")  # SQLite's own temporary file
    found.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, good INTEGER) WITHOUT ROWID; BEGIN")
    number = 0
    while some := list(islice(lines, _BATCH)):
        number += len(some)
        marks = await ledger.marks(line["id"] for line in some)
        values = [(line["id"], _is_as_planned(line, marks, resource)) for line in some]
        upsert = "INSERT INTO kept VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET good = max(good, excluded.good)"
        found.executemany(upsert, values)
    return await _compared(found, ledger, number)


def must_be_of(header: Mapping[str, Any], ledger: JobLedger, path: Path) -> None:
    """See that a header is of this job's archive. Raises UsageError."""
    if header.get("job") != ledger.job["job"]:
        raise UsageError(f"{path}: this is the archive of job {header.get('job')}, not of {ledger.job['job']}.")


def _is_as_planned(line: Mapping[str, Any], marks: Mapping[int, Any], resource: Resource) -> bool:
    row = line.get("row")
    return isinstance(row, dict) and resource.fingerprint(row) == marks.get(line["id"])


async def _compared(found: apsw.Connection, ledger: JobLedger, number: int) -> Proof:
    sent = missing = differing = after = 0
    examples: list[int] = []
    while items := await ledger.sent(after, _BATCH):
        after = items[-1][0]
        good = dict(_kept(found, (item for _, item in items)))
        for _, item in items:
            missing += item not in good
            differing += item in good and not good[item]
            if not good.get(item) and len(examples) < SHOWN:
                examples.append(item)
        sent += len(items)
    return Proof(number, sent, missing, differing, tuple(examples))


def _kept(found: apsw.Connection, ids: Iterable[int]) -> list[tuple[Any, ...]]:
    """Which of these are in the archive, and whether as they were planned."""
    return rows(found, "SELECT id, good FROM kept WHERE id IN (SELECT value FROM json_each(?))", (as_json(list(ids)),))
