"""A disk that remembers: an SQLite VFS that passes everything on, writes down what it passed on, and can be told to fail.

It writes down what a power cut may undo: writes and truncations of each file, creations and deletions of names; and what
makes them last: syncs of files and of the folder. Facts it rests on (SQLite's os_unix.c):

- the first sync of a journal or WAL through a handle that may create it syncs the folder too;
- a deletion syncs the folder only when it is asked to;
- `-shm` is shared memory: it is made anew from the WAL, so it does not appear here.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

_JOURNALS = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL
_NAME = "remembering"


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes written to a file; `file` stands for an inode."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file cut off, or made longer."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """What was written to the file so far is on the platters; if not `kept`, the sync failed and nobody knows."""

    file: int
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Name:
    """A name in the folder means this file from now on; None: it is deleted."""

    name: str
    file: int | None


@dataclass(frozen=True, slots=True)
class SyncFolder:
    """All names are on the platters as they are now."""


Record = Write | Truncate | Sync | Name | SyncFolder


@dataclass(frozen=True, slots=True)
class Fault:
    """From which step on which steps fail, and how. A step is a write, a truncation, a sync or a deletion."""

    at: int
    code: int  # of SQLite
    only: str = ""  # "sync": steps of this sort only
    times: int = 1 << 30

    def hits(self, step: int, sort: str, hits: int) -> bool:
        """Whether this step fails; `hits` have failed before."""
        return step >= self.at and hits < self.times and self.only in {"", sort}


POWER_OFF = apsw.SQLITE_IOERR


@dataclass
class Disk:
    """What happened to the files of one folder, in order."""

    folder: Path
    fault: Fault | None = None
    records: list[Record] = field(default_factory=list)
    steps: int = 0
    hits: int = 0
    syncs_work: bool = True  # False: a disk that lies, for seeing that the harness notices
    on_step: Callable[[str], None] | None = None
    _names: dict[str, int] = field(default_factory=dict)
    _files: int = 0

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()  # SQLite names files so

    @contextmanager
    def installed(self) -> Iterator[Disk]:
        """Use it for every connection opened in this process meanwhile."""
        vfs = _Vfs(self)
        fsync = os.fsync

        def noticed(fd: Any) -> None:
            fsync(fd)
            self._synced(Path(f"/proc/self/fd/{fd}").resolve())

        apsw.set_default_vfs(_NAME)
        os.fsync = noticed  # what the engine syncs by itself
        try:
            yield self
        finally:
            os.fsync = fsync
            apsw.set_default_vfs("unix")
            gc.collect()  # a connection that a failed opening left behind needs its VFS to be closed
            vfs.unregister()

    def mine(self, path: str | None) -> bool:
        """Whether a file is one of those watched."""
        return path is not None and Path(path).parent == self.folder

    def step(self, sort: str) -> None:
        """Count a step; raise if it is to fail."""
        self.steps += 1
        if self.on_step:
            self.on_step(sort)
        if self.fault and self.fault.hits(self.steps, sort, self.hits):
            self.hits += 1
            raise apsw.exception_for(self.fault.code)

    def opened(self, path: str, *, new: bool) -> int:
        """The file behind a name, which is noted if it is new to us."""
        name = Path(path).name
        if name not in self._names or new:
            self._files += 1
            self._names[name] = self._files
            self.records.append(Name(name, self._files))
            if not new and (content := Path(path).read_bytes()):  # from an earlier life: it has survived one power cut
                self.records += [Write(self._files, 0, content), Sync(self._files), SyncFolder()]
        return self._names[name]

    def deleted(self, path: str, *, synced: bool) -> None:
        """A name is gone."""
        self._names.pop(Path(path).name, None)
        self.records.append(Name(Path(path).name, None))
        if synced and self.syncs_work:
            self.records.append(SyncFolder())

    def _synced(self, path: Path) -> None:
        """The engine has synced something by itself: the folder, or a file that it wrote from end to end."""
        if path == self.folder:
            for each in self.folder.glob("*.rebatch"):
                self.opened(str(each), new=False)
            self.records.append(SyncFolder())
        elif self.mine(str(path)):
            file = self.opened(str(path), new=False)
            self.records += [Write(file, 0, path.read_bytes()), Sync(file)]


class _Vfs(apsw.VFS):
    _disk: Disk

    def __init__(self, disk: Disk) -> None:
        super().__init__(_NAME, "unix")
        self._disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's names
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if not self._disk.mine(path):
            return super().xOpen(name, flags)
        assert path is not None
        return _File(self._disk, path, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802 - SQLite's signature
        if not self._disk.mine(filename):
            super().xDelete(filename, syncdir)
            return
        self._disk.step("delete")
        super().xDelete(filename, syncdir)
        self._disk.deleted(filename, synced=syncdir)

    def excepthook(self, *_raised: object) -> bool:
        """What fails in a place that SQLite cannot report is no news here."""
        return True


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, path: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        new = not Path(path).exists()
        super().__init__("unix", name, flags)
        self._disk = disk
        self._file = disk.opened(path, new=new)
        self._folder_too = bool(flags[0] & _JOURNALS and flags[0] & apsw.SQLITE_OPEN_CREATE)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.step("write")
        super().xWrite(data, offset)
        self._disk.records.append(Write(self._file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.step("truncate")
        super().xTruncate(newsize)
        self._disk.records.append(Truncate(self._file, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        try:
            self._disk.step("sync")
        except apsw.Error:
            self._disk.records.append(Sync(self._file, kept=False))
            raise
        super().xSync(flags)
        if not self._disk.syncs_work:
            return
        self._disk.records.append(Sync(self._file))
        if self._folder_too:
            self._folder_too = False
            self._disk.records.append(SyncFolder())

    def xLock(self, level: int) -> None:  # noqa: N802
        try:
            super().xLock(level)
        except (
            apsw.IOError
        ):  # read-only, and asked for the last lock: SQLite shrugs at the code, apsw not at an exception
            raise apsw.BusyError from None

    def excepthook(self, *_raised: object) -> bool:
        """As above."""
        return True
