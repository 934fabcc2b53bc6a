"""What disks do to files, as one clear error; temporary files that nobody takes for the real ones."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from engine.errors import OutputError
from engine.private import make_folder, open_private
from engine.text import harmless

TEMPORARY = ".tmp"
_LONGEST_NAME = 160  # bytes of a name within a temporary one, which a file system limits to 255
_PIECE = 1 << 20
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "it may not grow any more",
}
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.EISDIR})


@dataclass(frozen=True, slots=True)
class File:
    """A file of a part: its final path, how many rows and bytes it has, and the SHA-256 of its bytes."""

    path: str
    rows: int
    bytes: int
    sha256: str


@contextmanager
def disk(path: str | Path) -> Iterator[None]:
    """Turn what the disk does to a file into OutputError, which names it."""
    try:
        yield
    except OSError as error:
        raise disk_error(path, error) from None


def disk_error(path: str | Path, error: OSError) -> OutputError:
    """What happened to a file, and what a person can do."""
    name = harmless(str(path))
    if error.errno in _FULL:
        return OutputError(f"{name}: {_FULL[error.errno]}.", "Make room, then resume; nothing is lost.")
    if error.errno == errno.EEXIST:
        return taken(name)
    what = harmless(error.strerror or str(error).partition("\n")[0])
    if error.errno in _FORBIDDEN:
        return OutputError(f"{name}: cannot be written: {what}.", "Check the path and its permissions, then resume.")
    return OutputError(f"{name}: {what}.", "Mend the disk or the path, then resume; nothing is lost.")


def taken(path: str | Path) -> OutputError:
    """A name that somebody else has used."""
    remedy = "Move it away, or choose another path, then resume."
    return OutputError(f"{harmless(str(path))}: it is there already, and nothing is ever overwritten.", remedy)


def temporary(path: Path, job: str, sort: str = "") -> Path:
    """The hidden name beside `path` that this job writes to. `sort` tells several of one file apart."""
    return path.with_name(f"{hidden_head(path)}{job}{sort}{TEMPORARY}")


def hidden_head(path: Path) -> str:
    """What every temporary name of `path` begins with."""
    name = path.name.encode()
    if len(name) > _LONGEST_NAME:
        name = name[:_LONGEST_NAME] + b"~" + sha256(name).hexdigest()[:16].encode()
    return f".{name.decode(errors='ignore')}."


def create(path: Path) -> int:
    """A new file for its owner alone, in place of what a killed process left under this name. Raises OSError."""
    make_folder(path.parent)
    path.unlink(missing_ok=True)
    return open_private(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND)


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write everything. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def digest_of(path: Path) -> str:
    """The SHA-256 of a file. Raises OSError."""
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
