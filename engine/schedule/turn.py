"""The turn: one process at a time decides on ticks, claims them and makes their jobs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from ..errors import CheckpointError
from ..private import open_private

NAME = "schedules.lock"
_AGAIN_S = 0.05


@asynccontextmanager
async def turn(state_dir: Path) -> AsyncIterator[None]:
    """Wait for the turn and have it in the block. The kernel ends the turn of a process that is killed.

    Raises CheckpointError.
    """
    path = state_dir / NAME
    try:
        descriptor = open_private(path, os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be made: {error.strerror}.", "Check its permissions.") from None
    try:
        while not _taken(path, descriptor):  # noqa: ASYNC110 - the kernel tells nobody
            await anyio.sleep(_AGAIN_S)
        yield
    finally:
        os.close(descriptor)


def _taken(path: Path, descriptor: int) -> bool:
    """Not blocking: a thread that waits for a process that was stopped could not be cancelled."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be locked: {error.strerror}.", "Check its file system.") from None
    return True
