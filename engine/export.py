"""Exporting: every item of the plan in full into files, part by part.

A part is a range of the plan. It is written beside its place, synced, put into its place and only then announced, in one
transaction with the fates of its items. What a kill left behind of a part is removed, and the part made anew: no row is
there twice, and none is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import structlog
from anyio.streams.memory import MemoryObjectSendStream
from anyio.to_thread import run_sync

from .fates import ItemFate
from .files.part import Part, remove
from .files.target import Target
from .kind import Export
from .ledger import CHUNK, Chunk
from .look import GONE
from .readback import read_back
from .tasks import task_group
from .where import Row
from .work import Work

log = structlog.get_logger("rebatch")
_PAGES_AHEAD = 64  # chunks that are read at once where a page holds many items, for one span of the list
_BULKS_AHEAD = 16  # the same where each is a request, whose items may be large


@dataclass(frozen=True, slots=True)
class _Batch:
    rows: list[Row]
    gone: list[int]


async def export(work: Work) -> None:
    """Write every part that is not announced yet. Raises OutputError, ServiceError, StoppedError, CheckpointError."""
    kind = work.export
    parts = await work.ledger.cut_parts(-(-kind.rows_per_part(work.spec.action) // CHUNK))
    done = sum(last - first + 1 for first, last, whole in parts if whole)
    sweep = True  # once: an earlier process may have left something, this one does not
    work.progress.begin("exporting", work.ledger.job["planned"], done)
    for number, (first, last, whole) in enumerate(parts, 1):
        if not whole and not work.control.cancelled:
            with work.control.until_cancelled():
                await _Exporter(work, kind, number, len(parts)).make(first, last, sweep=sweep)
            sweep = False


def _seen_from(folder: str, target: Target) -> Target:
    """The same target, where a relative path is one from the folder in which the job was begun."""
    return replace(target, stem=str(Path(folder) / target.stem)) if target.is_local else target


class _Exporter:
    """Makes one part."""

    def __init__(self, work: Work, kind: Export, number: int, parts: int) -> None:
        self._work, self._kind, self._number = work, kind, number
        job = work.ledger.job
        self._target = _seen_from(job.get("folder", ""), kind.target(work.spec.action))
        self._part = Part(
            self._target, job=job["job"], date=job["now"][:10], number=number, parts=parts, columns=kind.columns()
        )

    async def make(self, first: int, last: int, *, sweep: bool) -> None:
        """Write the items from `first` to `last` of the plan, put the files into their places, and announce them."""
        ledger = self._work.ledger
        job = ledger.job["job"] if sweep else ""
        await run_sync(partial(remove, self._target, await ledger.part_files(self._number), job=job))
        done = self._work.progress.done
        try:
            gone = await self._write(first, last)
            files = await run_sync(self._part.finish)
            await ledger.begin_part(self._number, first, last, files)
            with anyio.CancelScope(shield=True):  # files in their places that nobody announced would be made twice
                await run_sync(self._part.publish)
                await ledger.announce_part(self._number, dict.fromkeys(gone, (ItemFate.SKIPPED, GONE)))
        except BaseException:
            self._work.progress.done = done
            with anyio.CancelScope(shield=True):
                await run_sync(self._part.discard)
            raise
        log.info("exported", part=self._number, rows=sum(file.rows for file in files), files=len(files))

    async def _write(self, first: int, last: int) -> list[int]:
        """Write while the next batch is read; the answer is the items that are gone."""
        gone: list[int] = []
        send, receive = anyio.create_memory_object_stream[_Batch](0)
        async with task_group() as group, receive:
            group.start_soon(self._read, first, last, send)
            async for batch in receive:
                partitions = [self._kind.partition(self._work.spec.action, row) for row in batch.rows]
                await run_sync(self._part.write, batch.rows, partitions)
                gone += batch.gone
                self._work.progress.done += len(batch.rows) + len(batch.gone)
        return gone

    async def _read(self, first: int, last: int, send: MemoryObjectSendStream[_Batch]) -> None:
        size = _BULKS_AHEAD if self._kind.resource.at_once > 1 else _PAGES_AHEAD
        after = first - 1
        async with send:
            while chunks := await self._work.ledger.pending(after, last, size):
                after = chunks[-1].last
                await send.send(await self._batch(chunks))

    async def _batch(self, chunks: Sequence[Chunk]) -> _Batch:
        """The items of chunks as they are now, in the order of the plan."""
        groups = {item: chunk.group for chunk in chunks for item in chunk.ids}
        rows = await read_back(self._work, groups)
        parents = await self._work.ledger.parents(chunks[0].first, chunks[-1].last)
        there = [(item, row) for item in groups if (row := rows[item]) is not None]
        gone = [item for item in groups if rows[item] is None]
        return _Batch([self._kind.row(row, parents[item]) for item, row in there], gone)
