"""Archive before delete: every item in full, durable in a file, before the intent to take it away is written.

The file grows by whole appends, and the checkpoint says how much of it is vouched for; what a kill left behind that is cut
off when the job goes on. So whatever was sent is in it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from .files.archive import Archive, archive_path
from .jobledger import JobLedger
from .kind import Change
from .spec import JobSpec
from .where import Row

FORMAT = 1


class Archiver:
    """The archive of a job that is being worked on."""

    def __init__(self, archive: Archive, ledger: JobLedger) -> None:
        """Use `archiving` instead."""
        self._archive, self._ledger = archive, ledger
        self._turn = anyio.Lock()  # several looks may end at once, and the file grows at its one end

    async def keep(self, rows: Mapping[int, Row | None], groups: Mapping[int, int]) -> None:
        """Keep items in full; they are durable when this returns. Raises OutputError, CheckpointError."""
        lines = [{"id": item, "group": groups[item], "row": row} for item, row in rows.items() if row is not None]
        if not lines:
            return
        async with self._turn:
            length = await run_sync(self._archive.append, lines)
            kept = self._ledger.job.get("archived", 0) + len(lines)
            await self._ledger.note(archive_length=length, archived=kept)


@asynccontextmanager
async def archiving(spec: JobSpec, ledger: JobLedger) -> AsyncIterator[Archiver | None]:
    """Open the archive that the spec asks for, or None. Raises UsageError when it is not what it was, OutputError."""
    text = spec.kind.backup(spec.action) if isinstance(spec.kind, Change) else None
    if text is None:
        yield None
        return
    archive = await _open(text, ledger)
    try:
        yield Archiver(archive, ledger)
    finally:
        archive.close()


async def _open(text: str, ledger: JobLedger) -> Archive:
    job = ledger.job
    if job.get("archive_length"):
        return await run_sync(Archive.resume, Path(job["archive"]), job["archive_length"])
    path = Path(job.get("folder", "")) / archive_path(text, job["job"], job["now"][:10])
    archive = await run_sync(Archive.begin, path, _header(ledger))
    await ledger.note(archive=str(path), archive_length=archive.length)
    return archive


def _header(ledger: JobLedger) -> dict[str, object]:
    job = ledger.job
    return {"rebatch_archive": FORMAT, **{name: job[name] for name in ("job", "spec", "kind", "origin", "created_at")}}
