"""A job whose every step on the disk is on record, and what it was promised to be durable and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import apsw

from engine import job as stages
from engine import opening
from engine.checkpoint import Checkpoint
from engine.fates import Fate, ItemFate, Outcome
from engine.jobledger import JobLedger
from engine.ledger import Apart, Seen
from engine.spec import parse_spec
from engine.sql import as_json
from jobs import kinds
from tests.torture.disk import Disk, Name, Record, Write

SPEC = """
version: 1
jobs:
  - name: scripted
    resource: results
    where: {status: [completed, failed]}
    action: {type: evaluate_metrics, metrics: [11]}
    limits: {rate: 50/s, timeout: 5s, settle: 20s}
"""
_FRAME_HEADER, _WAL_HEADER = 24, 32


@dataclass(frozen=True, slots=True)
class Promise:
    """A write that ran behind record `begun` was called durable behind record `told`."""

    begun: int
    told: int


@dataclass
class Session:
    """What happened, and the promises given meanwhile."""

    disk: Disk
    promises: list[Promise] = field(default_factory=list)

    @contextmanager
    def witnessed(self) -> Iterator[Session]:
        """Note each promise that a checkpoint gives: each return of `write`."""
        write = Checkpoint.write

        async def noting(checkpoint: Checkpoint, operation: Callable[[apsw.Connection], Any]) -> Any:
            begun = 0

            def noted(connection: apsw.Connection) -> Any:
                nonlocal begun
                begun = len(self.disk.records)
                return operation(connection)

            answer = await write(checkpoint, noted)
            self.promises.append(Promise(begun, len(self.disk.records)))
            return answer

        Checkpoint.write = noting  # type: ignore[method-assign, assignment]
        try:
            with self.disk.installed():
                yield self
        finally:
            Checkpoint.write = write  # type: ignore[method-assign]


def commits(records: list[Record]) -> list[int]:
    """Behind how many records each transaction is complete: the last frame of it in the WAL, or its journal's deletion."""
    names: dict[int, str] = {}
    found: list[int] = []
    last_frame: set[int] = set()  # files whose next write completes a transaction
    for number, record in enumerate(records, 1):
        match record:
            case Name(name, int(file)):
                names[file] = name
            case Name(name, None) if name.endswith("-journal"):
                found.append(number)
            case Write(file, offset, data) if names[file].endswith("-wal") and offset >= _WAL_HEADER:
                if file in last_frame:
                    last_frame.discard(file)
                    found.append(number)
                elif len(data) == _FRAME_HEADER and any(data[4:8]):
                    last_frame.add(file)
            case _:
                pass
    return found


@contextmanager
def as_if_on_network(*, network: bool) -> Iterator[None]:
    """Let the checkpoint take every path for one on a network file system, where it uses the rollback journal."""
    really = opening.on_network
    opening.on_network = lambda path, mounts=None: network  # noqa: ARG005 - the signature of what it stands for
    try:
        yield
    finally:
        opening.on_network = really


def abandon(ledger: JobLedger) -> None:
    """End as SIGKILL does: nothing is written any more, nothing is tidied up."""
    ledger.checkpoint.read_now(lambda db: db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1))
    ledger.checkpoint._let_go()


async def scripted(folder: Path, dice: Random) -> None:
    """The life of a job on its books, by every way of writing in them: planned, killed, resumed, closed, finished."""
    (spec,) = parse_spec(SPEC, kinds.find())
    ledger = await stages.create(folder, spec, origin="http://127.0.0.1:1", source="torture", approved=True)
    path = ledger.checkpoint.path
    ledger = await _again(ledger, path, dice, 0.2)
    items = dice.randint(250, 420)
    await ledger.begin_walk()
    for start in range(0, items, 100):
        await ledger.see(
            [
                Seen(id_, 101 + id_ % 2, as_json(["completed", str(id_), 1]))
                for id_ in range(start, min(items, start + 100))
            ]
        )
    await ledger.freeze(state="planned", planned=items, in_scope=items, page_size=100, completeness="complete")
    ledger = await _again(ledger, path, dice)
    await ledger.note(state="working")
    await ledger.checkpoint.mark_open()
    for _ in range(40):
        ledger = await _again(ledger, path, dice, 0.15)
        if not await _one_chunk(ledger, dice):
            break
    await ledger.note(state="verifying")
    marks: Apart = dict.fromkeys(range(0, items, 3), (ItemFate.CONFIRMED, None))
    await ledger.mark(marks)
    await ledger.meet(dict.fromkeys(range(1, items, 3), "unmoved"), 1)
    await ledger.settle_shown(1, "unmoved", ItemFate.ACCEPTED, "unchanged")
    ledger = await _again(ledger, path, dice)
    await ledger.fold()
    await ledger.note(state="finished")
    ledger.checkpoint.close()


async def _one_chunk(ledger: JobLedger, dice: Random) -> bool:
    pending = await ledger.pending(-1, 1 << 40, 1)
    if not pending:
        return False
    chunk = pending[0]
    token = await ledger.begin(chunk, 1.0)
    fate = dice.choice((Fate.APPLIED, Fate.APPLIED, Fate.NEVER_SENT, Fate.UNKNOWN))
    known = {Fate.APPLIED: ItemFate.ACCEPTED, Fate.UNKNOWN: ItemFate.UNSETTLED}.get(fate, ItemFate.NOT_ATTEMPTED)
    await ledger.record(token, chunk, Outcome(fate, 200 if fate is Fate.APPLIED else None, None), known, 2.0)
    if known is ItemFate.UNSETTLED:
        rest = dice.choice((ItemFate.ACCEPTED, ItemFate.NOT_ATTEMPTED))
        await ledger.settle(chunk, rest, None, {chunk.ids[0]: (ItemFate.HELD, "unclear")})
    return True


async def _again(ledger: JobLedger, path: Path, dice: Random, chance: float = 0.5) -> JobLedger:
    """By chance, another process: the first was killed, or ended in order."""
    if dice.random() >= chance:
        return ledger
    if dice.random() < 0.6:
        abandon(ledger)
    else:
        ledger.checkpoint.close()
    ledger = JobLedger.resume(path)
    if ledger.job.get("state") == "working":
        await ledger.checkpoint.mark_open()
    return ledger
