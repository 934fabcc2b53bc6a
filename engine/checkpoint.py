"""The checkpoint: one SQLite file a job. This file opens it and commits to it in groups.

What is in it is the business of `engine.jobledger`. Facts it rests on:

- SQLite 3.7.0–3.51.2 can lose commits when two connections write at the same time; apsw brings a SQLite of its own.
- WAL needs shared memory, which network file systems do not have; there the rollback journal is used.
- Closing any descriptor of a file drops the process's POSIX locks on it, so the database is never `open()`ed here once
  SQLite has it, and the lock lives in a file beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import apsw
from anyio.to_thread import run_sync

from . import lock
from .errors import CheckpointError, RebatchError, UsageError
from .group import Group, Operation, Write, in_a_task
from .opening import to_read, to_write, write_again
from .private import make_folder, must_be_ours, open_private

T = TypeVar("T")

APPLICATION_ID = 0x72656261  # "reba"
SCHEMA_VERSION = 4
SUFFIX = ".rebatch"
_SCHEMA = """
CREATE TABLE job (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- The ids that the scope names. Gone when the plan is made.
CREATE TABLE wanted (id INTEGER PRIMARY KEY);

-- The plan. `fate` and `error` are set only where an item differs from its chunk. `met` is the latest look, while
-- verifying, that met it and could not confirm it, and `shows` what it showed then. `before` and `after` are what its kind
-- measures, 0.0 to 1.0: when it was planned, and when it was confirmed.
CREATE TABLE item (
    seq INTEGER PRIMARY KEY, id INTEGER NOT NULL, grp INTEGER NOT NULL, parent INTEGER, fingerprint TEXT NOT NULL,
    fate TEXT, error TEXT, met INTEGER, shows TEXT, before REAL, after REAL);
CREATE UNIQUE INDEX item_id ON item (id DESC);  -- as they come: newest first
CREATE INDEX item_fate ON item (fate) WHERE fate IS NOT NULL;

-- A chunk is the items from seq `first` to seq `last` that have no fate of their own. `root` is the chunk of the plan that
-- it was cut from, when that was refused.
CREATE TABLE chunk (
    first INTEGER PRIMARY KEY, last INTEGER NOT NULL, grp INTEGER NOT NULL, fate TEXT NOT NULL DEFAULT 'not_attempted',
    attempts INTEGER NOT NULL DEFAULT 0, attempt INTEGER, http_status INTEGER, error TEXT, root INTEGER);
CREATE INDEX chunk_fate ON chunk (fate, first);

-- An attempt without `ended_at` is an intent whose outcome was never learned.
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY, chunk INTEGER NOT NULL, begun_at REAL NOT NULL, ended_at REAL,
    fate TEXT, http_status INTEGER, error TEXT);

-- What was exported: items `first` to `last`. `files` are as JSON, `whole` once they are all in their places.
CREATE TABLE part (
    number INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, files TEXT NOT NULL, whole INTEGER NOT NULL);
"""


class Checkpoint:
    """An open checkpoint. Writes that are asked for at the same time are made durable together."""

    def __init__(self, path: Path, connection: apsw.Connection, taken: int | None) -> None:
        """Use `create`, `resume` or `look` instead. `taken` is the descriptor of the lock file, where it is held."""
        self.path = path
        self._connection = connection
        self._lock = taken
        self._next = Group()
        self.with_each: Operation[object] | None = None  # what every transaction does at its end

    @cached_property
    def _turn(self) -> anyio.Lock:
        """Whose turn it is. Made when it is first waited for, since it loads asyncio: `read_now` needs none."""
        return anyio.Lock(fast_acquire=True)

    @classmethod
    def create(cls, path: Path) -> Checkpoint:
        """Make a new file, readable by its owner alone from birth, and lock it. Raises CheckpointError."""
        path = path.resolve()
        try:
            make_folder(path.parent)
            os.close(open_private(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except OSError as error:
            remedy = "Choose another place: --state-dir DIR."
            raise CheckpointError(f"{path}: cannot be made: {error.strerror}.", remedy) from None
        try:
            return cls._begin(path)
        except RebatchError:  # a file without a job in it would only be in the way
            _remove(path)
            raise

    @classmethod
    def _begin(cls, path: Path) -> Checkpoint:
        taken = lock.take(path)
        with _disk(path):
            connection = to_write(path)
            connection.execute(f"""
                BEGIN IMMEDIATE; {_SCHEMA}
                PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION};
                COMMIT; PRAGMA wal_checkpoint(TRUNCATE)""").fetchall()
        return cls(path, connection, taken)

    @classmethod
    def resume(cls, path: Path) -> Checkpoint:
        """Open a file to work on its job, and lock it. Raises LockedError when another process does."""
        path = path.resolve()  # a link beside it would have a lock of its own
        _must_exist(path)
        must_be_ours(_beside(path, suffix) for suffix in ("", "-wal", "-shm", "-journal", ".lock", ".orders"))
        wal = _beside(path, "-wal")
        has_wal = wal.exists() and wal.stat().st_size > 0  # whoever only looks leaves an empty one behind
        cls.look(path).close()  # before anything is changed in it: it may be somebody else's
        taken = lock.take(path)
        try:
            if has_wal:
                write_again(wal)
            with _disk(path):
                connection = to_write(path)
        except BaseException:
            os.close(taken)
            raise
        checkpoint = cls(path, connection, taken)
        if not has_wal and checkpoint.read_now(_says_open):
            checkpoint._let_go()
            raise UsageError(
                f"{path}: whoever worked on this job was killed, and the file {path.name}-wal that was beside it then is missing: "
                "it holds what was done last.",
                "Bring it here too. Without it, work might be done and paid for twice.",
            )
        return checkpoint

    @classmethod
    def look(cls, path: Path) -> Checkpoint:
        """Open a file to read it, whether or not somebody works on it."""
        path = path.resolve()
        _must_exist(path)
        with _disk(path):
            connection = to_read(path)
        return cls(path, _checked(path, connection), None)

    async def mark_open(self) -> None:
        """Say in the main file itself that work goes on, so that it is not mistaken for all there is without its WAL."""
        if _beside(self.path, "-wal").exists():
            await self.write(lambda db: db.execute("INSERT OR REPLACE INTO job VALUES ('open', 'true')"))
            # Passive: the mark gets into the main file, and the WAL, which is never empty again, stays beside it.
            await self.read(lambda db: db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())

    def close(self) -> None:
        """Close the file and let go of the lock."""
        if self._lock is not None:
            with suppress(
                apsw.Error
            ):  # closed already, or a disk that takes nothing: then it stays marked, and its WAL stays
                self._connection.execute("DELETE FROM job WHERE key = 'open'")
                self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        self._let_go()

    def _let_go(self) -> None:
        with _disk(self.path):
            self._connection.close()  # harmless when it is closed already
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def discard(self) -> None:
        """Close, and remove the file: for a job that never came to be."""
        self.close()
        _remove(self.path)

    async def write(self, operation: Operation[T]) -> T:
        """Run `operation` in a transaction and return when it is durable. Raises CheckpointError.

        All who come while a group waits for its turn are of it: one sync serves many.
        """
        group, mine = self._next, Write(operation)
        group.writes.append(mine)
        if group.task is None:
            group.task = in_a_task(self._see_to(group))
        try:
            await group.ended()
        except BaseException:
            if group is self._next:
                group.writes.remove(mine)  # cancelled before its turn: nobody will ask what came of it
            else:
                with anyio.CancelScope(shield=True):  # whoever goes on may close the file
                    await group.ended()
            raise
        return cast("T", mine.get())

    async def _see_to(self, group: Group) -> None:
        """Commit for all of a group: in a task of its own, since whoever of them is cancelled, the others are not."""
        try:
            async with self._turn:
                self._next = Group()
                if group.writes:
                    await run_sync(self._commit, group.writes)
        except BaseException as error:
            for write in group.writes:
                write.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            group.end()

    async def jot(self, operation: Operation[T]) -> T:
        """Run `operation` on tables that are temporary: nothing of it is durable, so nothing is waited for."""
        async with self._turn:
            return self.read_now(lambda db: _in_one(db, operation))

    async def read(self, operation: Operation[T]) -> T:
        """Run `operation`, which only reads, on the one connection."""
        async with self._turn:
            return await run_sync(self.read_now, operation)

    def read_now(self, operation: Operation[T]) -> T:
        """The same from code that is not asynchronous, while nothing else uses the checkpoint."""
        with _disk(self.path):
            return operation(self._connection)

    def _commit(self, batch: list[Write[Any]]) -> None:
        try:
            with _disk(self.path), self._connection:
                for write in batch:
                    write.run(self._connection)
                if self.with_each:
                    self.with_each(self._connection)
        except BaseException as error:  # noqa: BLE001 - handed to each waiter, none is lost
            for write in batch:
                write.error = error


def _in_one(db: apsw.Connection, operation: Operation[T]) -> T:
    """In one transaction: each row would be one of its own."""
    with db:
        done = operation(db)
    return done  # noqa: RET504 - mypy takes a `with` for one that may swallow errors


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turn what the disk does to us into one clear error."""
    try:
        yield
    except apsw.Error as error:
        raise _told(path, _first(error)) from None


def _first(error: BaseException) -> BaseException:
    """What went wrong to begin with: SQLite may have rolled back by itself, and then apsw fails to do so again."""
    while isinstance(error, apsw.SQLError) and isinstance(error.__context__, apsw.Error):
        error = error.__context__
    return error


def _told(path: Path, error: BaseException) -> BaseException:
    """The error in words of ours, if it is one of those that a disk is to blame for."""
    place = "there or where temporary files go (TMPDIR or /var/tmp)"
    match error:
        case apsw.FullError():
            return CheckpointError(f"{path}: the disk is full.", f"Make room, {place}, then resume; nothing is lost.")
        case apsw.IOError():
            remedy = f"Mend the disk or make room, {place}, then resume; nothing is lost."
            return CheckpointError(f"{path}: writing failed ({error}).", remedy)
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError() | apsw.AuthError():
            return CheckpointError(f"{path}: cannot be opened for writing ({error}).", f"Check permissions, {place}.")
        case apsw.NotADBError() | apsw.CorruptError():
            return UsageError(f"{path}: this is not a checkpoint, or it is damaged ({error}).")
        case apsw.BusyError():
            return CheckpointError(f"{path}: another program keeps it locked.", "Close it, then resume.")
    return error


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".lock", ".orders"):
        _beside(path, suffix).unlink(missing_ok=True)


def _says_open(connection: apsw.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM job WHERE key = 'open'").fetchall())


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such checkpoint.", "See: rebatch list")


def _checked(path: Path, connection: apsw.Connection) -> apsw.Connection:
    """The connection, if the file is a checkpoint that we can read."""
    with _disk(path):
        application, version = connection.pragma("application_id"), connection.pragma("user_version")
    if application != APPLICATION_ID:
        raise UsageError(f"{path}: this is not a checkpoint of rebatch, or it is damaged.", "Is its -wal missing?")
    if version != SCHEMA_VERSION:
        raise UsageError(f"{path}: made by another version of rebatch (format {version}, not {SCHEMA_VERSION}).")
    return connection
