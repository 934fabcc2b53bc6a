"""Opening SQLite files so that what is called durable is: journals, syncs, and what failures leave behind."""

from __future__ import annotations

import os
import re
from pathlib import Path

import apsw

from .errors import CheckpointError

BUSY_MS = 5000
LOG_BYTES = (
    16 << 20
)  # of a WAL at rest: one that a large transaction left would be written again by whoever resumes after a kill
_PIECE = 1 << 20
_OCTAL = re.compile(r"\\([0-7]{3})")  # how proc(5) writes a blank in a path
_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "fuse.sshfs",
    "afs",
    "ceph",
    "glusterfs",
    "fuse.glusterfs",
    "lustre",
}


def to_write(path: Path) -> apsw.Connection:
    """Open for writing: the one connection that does."""
    connection = _opened(path, apsw.SQLITE_OPEN_READWRITE)
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: apsw.Connection, path: Path) -> None:
    # However this connection ends, the WAL stays, unless `close` has taken the mark of `mark_open` out: never one without the other.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    # EXTRA syncs the folder behind the deletion of the journal; else a power cut brings it back and undoes the transaction.
    mode, synchronous = ("DELETE", "EXTRA") if on_network(path) else ("WAL", "FULL")
    connection.pragma("journal_mode", mode)  # two statements in one `execute` would leave the second undone
    connection.pragma("synchronous", synchronous)
    connection.pragma("journal_size_limit", LOG_BYTES)


def write_again(wal: Path) -> None:
    """Make sure of a WAL that was left behind: whoever left it may have done so because a sync failed.

    After that the kernel shows what never came to the disk, and a later sync vouches for nothing but what was written since
    ("fsyncgate"; Rebello et al., ATC 2020). SQLite would append to it, and a power cut would leave a hole in the middle.
    The same bytes in the same places harm no reader; SQLite has no locks on this file.
    """
    try:
        with wal.open("r+b", buffering=0) as file:
            while piece := file.read(_PIECE):
                file.seek(-len(piece), os.SEEK_CUR)
                file.write(piece)
            os.fsync(file.fileno())
    except OSError as error:
        remedy = "Mend the disk or make room, then resume; nothing is lost."
        raise CheckpointError(f"{wal}: writing failed ({error.strerror}).", remedy) from None


def to_read(path: Path) -> apsw.Connection:
    """Open for reading. What a kill or a power cut left half done by the rollback journal is undone first: that is writing."""
    connection = _opened(path, apsw.SQLITE_OPEN_READONLY)
    try:
        connection.pragma("application_id")
    except apsw.ReadOnlyError as error:
        connection.close()
        if error.extendedresult != apsw.SQLITE_READONLY_ROLLBACK:  # type: ignore[attr-defined] # missing in apsw's stubs
            raise
        undoing = _opened(path, apsw.SQLITE_OPEN_READWRITE)
        undoing.pragma("application_id")
        undoing.close()
        return _opened(path, apsw.SQLITE_OPEN_READONLY)
    return connection


def _opened(path: Path, flags: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(BUSY_MS)
    return connection


def on_network(path: Path, mounts: str | None = None) -> bool:
    """Whether a path lies on a network file system, by the longest mount point above it (proc(5), mounts)."""
    try:
        table = (
            mounts if mounts is not None else Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        )
    except OSError:
        return False  # not Linux; WAL it is
    fields = [line.split() for line in reversed(table.splitlines())]  # of two mounts on a point, the last one counts
    entries = [(_OCTAL.sub(lambda code: chr(int(code[1], 8)), line[1]), line[2]) for line in fields if len(line) > 2]  # noqa: PLR2004
    real = path.resolve()
    above = [(point, kind) for point, kind in entries if real.is_relative_to(point)]
    return max(above, key=lambda entry: len(entry[0]), default=("", ""))[1] in _NETWORK
