"""Files for their owner alone, from birth and whatever the umask; and whether a file may be somebody else's."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .errors import UsageError

FILE_MODE = 0o600
FOLDER_MODE = 0o700


def make_folder(path: Path) -> None:
    """Make a folder and what is above it, unless it exists, to last. Raises OSError."""
    if path.is_dir():
        return
    missing = [each for each in (path, *path.parents) if not each.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(FOLDER_MODE, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
    path.chmod(FOLDER_MODE)  # a umask such as 277 would have taken our own right to write
    for made in missing:
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Make sure of the names in a folder: SQLite syncs only the one that its files are in."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # a file system that cannot
            raise
    finally:
        os.close(descriptor)


def open_private(path: Path, flags: int) -> int:
    """Open a file of ours by name, never what a link of that name points to; the descriptor. Raises OSError."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW, FILE_MODE)
    with suppress(OSError):  # it may be another's, whose lock we only look at
        os.fchmod(descriptor, FILE_MODE)
    return descriptor


def must_be_ours(paths: Iterable[Path]) -> None:
    """Raise UsageError for a file that another user may have put where it is: it tells us what to do, with our key.

    In a folder of our own (or the system's) that nobody else can write to nobody could; elsewhere we must own it.
    """
    for path in paths:
        folder = path.parent.stat()
        private = folder.st_uid in {0, os.geteuid()} and not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        with suppress(FileNotFoundError):
            if not private and path.lstat().st_uid != os.geteuid():
                raise UsageError(
                    f"{path}: it belongs to another user, and so might what it tells us to do.",
                    "If you trust it, copy it, with its -wal, into a folder of your own.",
                )
