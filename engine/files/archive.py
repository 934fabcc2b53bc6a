"""The archive: rows in full, durable before anything happens to them, in one local file that is only appended to.

Whoever appends writes down the length that `append` returns; it vouches for what is before it. What is beyond it is the
rest of an append that was cut off, and `Archive.resume` removes it. `.jsonl.zst` tells every damage by itself, bit by bit,
but not that whole frames are missing at its end, which only the length tells. Plain `.jsonl` tells a line that is not JSON
or breaks off; a letter that has become another, or a line that is gone, it cannot tell.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

import orjson

from engine.errors import OutputError, UsageError
from engine.private import make_folder, open_private, sync_folder
from engine.text import harmless

from .disk import disk, taken, write_all
from .frames import TornError, next_offset, sealed, unpacked
from .jsontext import json_line
from .naming import check_placeholders, check_suffix, check_text, encoded, split

SUFFIXES = (".jsonl.zst", ".jsonl")
PACKED = ".zst"
MAX_LINE = 32 << 20  # bytes: an answer of the service has at most 24 MiB
MAX_VALUES = 500_000  # in one line: as many as an answer may hold
FRAME_BYTES = 8 << 20  # about, before it is packed
_SMALL = 2 << 20  # bytes, in which there cannot be as many values as would matter
_PIECE = 1 << 16
_NAMES = ("job", "date")
_RESUME = "Bring the archive back as it was; without it, what was deleted would have no copy."


def check_archive_path(text: str) -> None:
    """Raise ValueError for what cannot be the path of an archive."""
    check_text(text)
    if "://" in text:
        raise ValueError(f"“{text}” is no local file; an archive is appended to, which no object store can do")
    check_suffix(text, SUFFIXES)
    check_placeholders(text, _NAMES)
    if "job" not in split(text)[1::2]:
        raise ValueError(f"“{text}” needs {{job}} in it, so that no two jobs share a file")


def archive_path(text: str, job: str, date: str) -> Path:
    """The file of a job; `date` is YYYY-MM-DD. Raises ValueError."""
    check_archive_path(text)
    values = {"job": job, "date": date}
    pieces = split(text)
    pieces[1::2] = [encoded(values[name]) for name in pieces[1::2]]
    return Path("".join(pieces))


class Archive:
    """An open archive. `length` is how much of it is durable. Use it from one thread at a time; methods raise OutputError."""

    def __init__(self, path: Path, descriptor: int, length: int) -> None:
        """Use `begin` or `resume` instead."""
        self.path = path
        self.length = length
        self._descriptor = descriptor
        self._failed = False

    @classmethod
    def begin(cls, path: Path, header: Mapping[str, Any]) -> Archive:
        """Make a new file, readable by its owner alone, whose first line is `header`; durable on return.

        A file of this name is refused, unless it holds this very header, or the beginning of it, and nothing else: that is
        what is left when a process is killed before it could write down that it has begun.
        """
        first = _blocks([header], 0, packed=_is_packed(path))
        with disk(path):
            make_folder(path.parent)
            archive = cls(path, _create(path, first), 0)
        try:
            archive._put(first)
            with disk(path):
                sync_folder(path.parent)
        except BaseException:
            archive.close()
            raise
        return archive

    @classmethod
    def resume(cls, path: Path, length: int) -> Archive:
        """Open a file to append to it, without what is beyond `length`. Raises UsageError if it lacks what was vouched for."""
        try:
            with disk(path):
                descriptor = open_private(path, os.O_RDWR)
        except OutputError as error:
            if not os.path.lexists(path):
                raise UsageError(f"{harmless(str(path))}: the archive is missing.", _RESUME) from None
            raise error from None
        archive = cls(path, descriptor, length)
        try:
            archive._must_hold(length)
            with disk(path):
                os.ftruncate(descriptor, length)
                os.fsync(descriptor)
        except BaseException:
            archive.close()
            raise
        return archive

    def append(self, lines: Sequence[Mapping[str, Any]]) -> int:
        """Write lines, to last; the new length. After an error nothing more is taken: resume from the last length."""
        if self._failed:
            raise OutputError(f"{harmless(str(self.path))}: an earlier append failed.", "Resume; nothing is lost.")
        if lines:
            self._put(_blocks(lines, self.length, packed=_is_packed(self.path)))
        return self.length

    def close(self) -> None:
        """Close the file; what was appended is durable anyway."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._failed = True

    def _put(self, data: bytes) -> None:
        try:
            with disk(self.path):
                os.lseek(self._descriptor, self.length, os.SEEK_SET)
                write_all(self._descriptor, data)
                os.fsync(self._descriptor)
        except BaseException:
            self._failed = True  # a failed sync may have dropped what was written: only a new look at the disk can tell
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.length)
            raise
        self.length += len(data)

    def _must_hold(self, length: int) -> None:
        size = os.fstat(self._descriptor).st_size
        name = harmless(str(self.path))
        if size < length:
            raise UsageError(f"{name}: the archive has {size:,} bytes, and {length:,} were written.", _RESUME)
        if not self._ends_at(length):
            raise UsageError(f"{name}: this is not the archive that was written, or it is damaged.", _RESUME)

    def _ends_at(self, length: int) -> bool:
        """Whether an append can have ended there: hops from seal to seal, or looks for the end of a line."""
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            if not _is_packed(self.path):
                file.seek(max(length - 1, 0))
                return length > 0 and file.read(1) == b"\n"
            offset = 0
            while offset < length:
                try:
                    offset = next_offset(file, offset)
                except ValueError:
                    return False
        return 0 < offset == length


def read(path: Path) -> Iterator[Mapping[str, Any]]:
    """The header, then every line. Memory is bounded, whatever the file holds.

    Raises UsageError, naming the place, when it comes to damage or to what no archive holds.
    """
    with _reading(path) as file:
        yield from _read_packed(path, file) if _is_packed(path) else _read_plain(path, file)


def _read_packed(path: Path, file: BufferedReader) -> Iterator[Mapping[str, Any]]:
    size = os.fstat(file.fileno()).st_size
    offset = 0
    while offset < size or offset == 0:
        place = f"{harmless(str(path))}: byte {offset:,}"
        try:
            yield from _objects(unpacked(file, offset))
            offset = next_offset(file, offset)
        except TornError:
            raise UsageError(f"{place}: the frame there breaks off.", _torn(offset)) from None
        except ValueError as error:
            raise UsageError(f"{place}: the archive is damaged, or none: {error}.", _damaged(offset)) from None


def _read_plain(path: Path, file: BufferedReader) -> Iterator[Mapping[str, Any]]:
    number = 0
    try:
        for number, each in enumerate(_objects(iter(lambda: file.read(_PIECE), b"")), 1):  # noqa: B007 - told below
            yield each
    except TornError:
        raise UsageError(f"{harmless(str(path))}: line {number + 1:,} breaks off.", _torn(number)) from None
    except ValueError as error:
        place = f"{harmless(str(path))}: line {number + 1:,}"
        raise UsageError(f"{place}: the archive is damaged, or none: {error}.", _damaged(number)) from None
    if not number:
        raise UsageError(f"{harmless(str(path))}: there is nothing in it.", _torn(number))


def _objects(pieces: Iterator[bytes]) -> Iterator[Mapping[str, Any]]:
    """The object of each line. Raises ValueError, and TornError for a last line without an end."""
    rest = bytearray()
    for piece in pieces:
        *whole, tail = piece.split(b"\n")
        for end in whole:
            yield _object(bytes(rest) + end)
            rest.clear()
        rest += tail
        if len(rest) > MAX_LINE:
            raise ValueError(f"a line has more than {MAX_LINE >> 20} MiB")
    if rest:
        raise TornError("its last line has no end")


def _object(line: bytes) -> Mapping[str, Any]:
    if len(line) > _SMALL and sum(map(line.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ValueError(f"a line holds more than {MAX_VALUES:,} values")
    try:
        value = orjson.loads(line)
    except ValueError:
        raise ValueError("a line is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("a line is not an object")  # noqa: TRY004 - it is the file that is wrong
    return value


def _blocks(lines: Sequence[Mapping[str, Any]], offset: int, *, packed: bool) -> bytes:
    """The bytes of an append that begins at `offset`."""
    done, block = bytearray(), bytearray()
    for number, line in enumerate(lines, 1):
        data = json_line(line)
        if len(data) > MAX_LINE:
            raise OutputError(f"A row has more than {MAX_LINE >> 20} MiB.", "Leave its id out, then resume.")
        block += data
        if len(block) >= FRAME_BYTES or number == len(lines):
            done += sealed(bytes(block), offset + len(done)) if packed else block
            block.clear()
    return bytes(done)


def _create(path: Path, first: bytes) -> int:
    """The descriptor of a new file, or of one that holds a beginning of `first` and nothing else."""
    with suppress(FileExistsError):
        return open_private(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    descriptor = open_private(path, os.O_RDWR)
    found = os.read(descriptor, len(first) + 1)
    if not first.startswith(found):
        os.close(descriptor)
        raise taken(path)
    return descriptor


@contextmanager
def _reading(path: Path) -> Iterator[BufferedReader]:
    name = harmless(str(path))
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{name}: the archive cannot be read: {error.strerror}.") from None
    with file:
        try:
            yield file
        except OSError as error:
            raise UsageError(f"{name}: the archive cannot be read: {error.strerror}.") from None


def _is_packed(path: Path) -> bool:
    return path.suffix == PACKED


def _torn(before: int) -> str:
    return "" if not before else "What is before it was read; if a job still has to resume, it removes what is torn."


def _damaged(before: int) -> str:
    return "What is before it was read; bring back a copy for the rest." if before else "Is it the right file?"
