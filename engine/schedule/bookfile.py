"""The file of the book of schedules: opening it, transactions, and what the disk does to us.

Its transactions are few and small, so it uses the rollback journal, which works on network file systems too; EXTRA syncs
the folder behind it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import apsw

from ..errors import CheckpointError, UsageError
from ..private import make_folder, must_be_ours, open_private

T = TypeVar("T")

NAME = "schedules.book"
APPLICATION_ID = 0x72656273  # "rebs"
VERSION = 1
BUSY_MS = 20_000
_SCHEMA = """
CREATE TABLE schedule (
    name TEXT PRIMARY KEY, source TEXT NOT NULL, schedule TEXT NOT NULL, notify TEXT NOT NULL, decided REAL NOT NULL,
    paused_because TEXT, gone INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE source (path TEXT PRIMARY KEY, broken TEXT) WITHOUT ROWID;
CREATE TABLE tick (
    spec TEXT NOT NULL, at INTEGER NOT NULL, by_hand INTEGER NOT NULL, fate TEXT NOT NULL, why TEXT, job TEXT,
    begun_at REAL, ended_at REAL, outcome TEXT, exit_code INTEGER, error TEXT, report TEXT,
    PRIMARY KEY (spec, at, by_hand)) WITHOUT ROWID;
CREATE INDEX tick_open ON tick (fate) WHERE fate IN ('waiting', 'running');
CREATE TABLE notice (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, spec TEXT NOT NULL, target TEXT NOT NULL, signal TEXT NOT NULL,
    body TEXT NOT NULL, made_at REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0, due_at REAL, arrived_at REAL, error TEXT);
CREATE INDEX notice_due ON notice (due_at) WHERE due_at IS NOT NULL;
"""


class BookFile:
    """The open file. Everything done with it is one transaction; do it in a thread, since it waits for the disk."""

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        """Use `keep` or `look`."""
        self.path = path
        self._connection = connection
        self._alone = threading.Lock()

    @classmethod
    def keep(cls, state_dir: Path) -> Self:
        """Open the book to write in it; made if there is none. Raises CheckpointError, UsageError."""
        path = state_dir / NAME
        try:
            make_folder(state_dir)
            if not path.exists():  # closing a descriptor of an open database would drop its locks
                os.close(open_private(path, os.O_CREAT | os.O_RDWR))
        except OSError as error:
            raise CheckpointError(
                f"{path}: cannot be made: {error.strerror}.", "Choose another: --state-dir."
            ) from None
        must_be_ours([path, path.with_name(path.name + "-journal")])
        with _disk(path):
            connection = _opened(path, apsw.SQLITE_OPEN_READWRITE)
            connection.pragma("journal_mode", "DELETE")
            connection.pragma("synchronous", "EXTRA")
            with _transaction(connection):
                if connection.pragma("user_version") == 0:
                    connection.execute(_SCHEMA).fetchall()
                    connection.pragma("application_id", APPLICATION_ID)
                    connection.pragma("user_version", VERSION)
        return cls(path, _checked(path, connection))

    @classmethod
    def look(cls, state_dir: Path) -> Self | None:
        """Open the book to read it; None where no schedule was ever kept."""
        path = state_dir / NAME
        if not path.exists():
            return None
        with _disk(path):
            return cls(
                path, _checked(path, _opened(path, apsw.SQLITE_OPEN_READWRITE))
            )  # a journal may have to be undone

    def close(self) -> None:
        """Close it."""
        with self._alone:
            self._connection.close()

    def read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query. Raises CheckpointError, as all of these do."""
        with self._alone, _disk(self.path):
            return self._connection.execute(query, values).fetchall()

    def do(self, statement: str, values: Sequence[Any]) -> int:
        """One statement; the number of rows that it changed."""

        def run(db: apsw.Connection) -> int:
            db.execute(statement, values)
            return db.changes()

        return self.write(run)

    def write(self, operation: Callable[[apsw.Connection], T]) -> T:
        """Run `operation` in a transaction; it is durable when this returns."""
        with self._alone, _disk(self.path), _transaction(self._connection):
            return operation(self._connection)


def _opened(path: Path, flags: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(BUSY_MS)
    return connection


def _checked(path: Path, connection: apsw.Connection) -> apsw.Connection:
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    if application != APPLICATION_ID:
        raise UsageError(f"{path}: this is not the book of schedules of rebatch.", "Move it away.")
    if version != VERSION:
        raise UsageError(f"{path}: made by another version of rebatch (format {version}, not {VERSION}).")
    return connection


@contextmanager
def _transaction(connection: apsw.Connection) -> Iterator[None]:
    """IMMEDIATE: of two that read before they write, one would be refused at the end."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turn what the disk does to us into one clear error."""
    try:
        yield
    except apsw.FullError:
        raise CheckpointError(f"{path}: the disk is full.", "Make room.") from None
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise UsageError(
            f"{path}: this is not the book of schedules, or it is damaged ({error}).", "Move it away."
        ) from None
    except apsw.Error as error:
        raise CheckpointError(
            f"{path}: it cannot be read or written ({error}).", "Look at its disk and permissions."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}.", "Look at its disk and permissions.") from None
