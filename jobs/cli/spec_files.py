"""Spec files that are read again when they change; one that is broken leaves in force what it said before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from engine.errors import RebatchError, UsageError
from engine.schedule.carrier import Carrier, Tell
from engine.schedule.keeper import Keeper

LOOK_EVERY_S = 2.0
Stamp = tuple[int, ...]
_UNREAD: Stamp = ()  # that of no file


class SpecFiles:
    """The files that `serve` was given, and what they looked like when they were last read."""

    def __init__(self, paths: Sequence[Path], keeper: Keeper, carrier: Carrier, tell: Tell) -> None:
        """`tell` is told what was read, and what cannot be."""
        self._sources = list(dict.fromkeys(str(path.absolute()) for path in paths))
        self._keeper, self._carrier, self._tell = keeper, carrier, tell
        self._seen: dict[str, Stamp | None] = {}

    async def read_first(self) -> None:
        """Read all of them. One that is broken is told of; if there is no schedule in any, UsageError is raised."""
        errors = [error for source in self._sources if (error := await self._read(source))]
        if not self._keeper.roster.enrolled:
            if errors:
                raise errors[0]
            raise UsageError(
                "No job of these specs has a schedule.", "Give one `schedule: {cron: …}`; see docs/reference.md."
            )
        for error in errors:
            self._tell(str(error), wrong=True)

    async def go_on(self) -> None:
        """Read whatever changes, until it is cancelled. What the disk does not take is tried again."""
        while True:
            await anyio.sleep(LOOK_EVERY_S)
            for source in self._sources:
                if _stamp(source) != self._seen[source]:
                    try:
                        await self._read_again(source)
                    except RebatchError as error:
                        self._seen[source] = _UNREAD
                        self._tell(str(error), wrong=True)

    async def _read_again(self, source: str) -> None:
        if error := await self._read(source):
            self._tell(f"{source} is broken, and what it said before stays in force: {error}", wrong=True)
            return
        names = [name for name, each in self._keeper.roster.enrolled.items() if each.source == source]
        self._tell(f"{source} was read again; its schedules: {', '.join(names) or 'none'}")

    async def _read(self, source: str) -> RebatchError | None:
        self._seen[source] = _stamp(source)
        try:
            jobs = await run_sync(self._carrier.load, Path(source))
            await self._keeper.take(source, jobs)
        except UsageError as error:
            await run_sync(self._keeper.book.note_source, source, str(error))
            return error
        return None


def _stamp(source: str) -> Stamp | None:
    """What differs when the file was written; None when there is none."""
    try:
        found = Path(source).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
