"""Who works on a job: an `flock` on a file beside its checkpoint, with the owner's process id in it.

Not on the checkpoint itself: closing any descriptor of that file would drop SQLite's locks on it.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from .errors import CheckpointError, LockedError
from .private import open_private


def lock_path(path: Path) -> Path:
    """The file whose `flock` says who works on the job."""
    return path.with_name(path.name + ".lock")


def owner(path: Path) -> int | None:
    """The process that works on the job of this checkpoint, or None. Zero when it does not say."""
    try:
        descriptor = os.open(lock_path(path), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.read(descriptor, 20).strip()
        return int(said) if said.isdigit() else 0
    else:
        return None
    finally:
        os.close(descriptor)


def take(path: Path) -> int:
    """Take the lock; the answer is the descriptor that holds it until it is closed. Raises LockedError, CheckpointError."""
    try:
        descriptor = open_private(lock_path(path), os.O_CREAT | os.O_RDWR)  # not through a link: it is emptied below
    except OSError as error:
        raise CheckpointError(
            f"{lock_path(path)}: cannot be made: {error.strerror}.", "Check its permissions."
        ) from None
    if not _claim(descriptor):
        os.close(descriptor)
        pid = owner(path)
        raise LockedError(f"{path.stem}: process {pid or '?'} works on this job.", "Wait for it, or stop it.", pid=pid)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    except OSError as error:
        os.close(descriptor)
        raise CheckpointError(f"{lock_path(path)}: writing failed: {error.strerror}.", "Make room.") from None
    return descriptor


def _claim(descriptor: int) -> bool:
    """Take the lock; a `status` that looks at it holds it for a few microseconds, so one refusal proves nothing."""
    for pause_s in (0.02, 0.05, 0.1, None):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if pause_s is None:
                return False
            time.sleep(pause_s)
        else:
            break
    return True
