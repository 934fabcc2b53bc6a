"""Frames of a packed archive: each is a Zstandard frame after a *skippable* one, which other tools pass over, that seals it.

The seal holds the length of the frame and the SHA-256 of its place and its bytes. Zstandard's own checksum is of what was
packed, and leaves bits of a frame that it does not look at; the seal is of every bit, and a frame cannot stand elsewhere.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from hashlib import sha256
from typing import BinaryIO

import zstandard

MAGIC = struct.pack("<I", 0x184D2A52)  # skippable, of the sixteen that there are
_LENGTHS = struct.Struct("<4sIQ")  # the magic, the length of the rest of the seal, the length of the frame
_DIGEST = 32
SEAL = _LENGTHS.size + _DIGEST
_REST = SEAL - 8
_LEVEL = 3
_WINDOW = 1 << 23  # bytes: four times what this level takes
_PIECE = 1 << 16


class TornError(ValueError):
    """The file ends within a frame: a write was cut off."""


def sealed(data: bytes, offset: int) -> bytes:
    """`data` as a frame with its seal, to stand at `offset` of the file."""
    frame = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, write_content_size=True).compress(data)
    digest = sha256(_lengths(len(frame)) + struct.pack("<Q", offset) + frame)
    return _lengths(len(frame)) + digest.digest() + frame


def next_offset(file: BinaryIO, offset: int) -> int:
    """Where the frame at `offset` ends, by its seal alone. Raises ValueError if there is no seal; TornError."""
    length, _ = _read_seal(file, offset)
    end = offset + SEAL + length
    if end > os.fstat(file.fileno()).st_size:
        raise TornError("it breaks off")
    return end


def unpacked(file: BinaryIO, offset: int) -> Iterator[bytes]:
    """What the frame at `offset` holds, in pieces, after it was found to be whole. Raises ValueError, TornError."""
    length, digest = _read_seal(file, offset)
    next_offset(file, offset)
    found = sha256(_lengths(length) + struct.pack("<Q", offset))
    file.seek(offset + SEAL)
    for piece in _pieces(file, length):
        found.update(piece)
    if found.digest() != digest:
        raise ValueError("its checksum is wrong")
    file.seek(offset + SEAL)
    yield from _inflated(_Limited(file, length))


class _Limited:
    """The next so many bytes of a file, as a file."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file = file
        self._left = length

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _inflated(source: _Limited) -> Iterator[bytes]:
    """Never more than a piece at a time, however much it is packed."""
    unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    try:
        with unpacker.stream_reader(source, read_size=_PIECE, closefd=False) as reader:  # type: ignore[arg-type]  # it only reads
            while piece := reader.read(_PIECE):
                yield piece
    except zstandard.ZstdError as error:
        raise ValueError(f"it cannot be unpacked: {error}") from None


def _pieces(file: BinaryIO, length: int) -> Iterator[bytes]:
    source = _Limited(file, length)
    while piece := source.read(_PIECE):
        yield piece


def _lengths(length: int) -> bytes:
    return _LENGTHS.pack(MAGIC, _REST, length)


def _read_seal(file: BinaryIO, offset: int) -> tuple[int, bytes]:
    file.seek(offset)
    seal = file.read(SEAL)
    if not seal.startswith(MAGIC[: len(seal)]):
        raise ValueError("no archive has such a frame")
    if len(seal) < SEAL:
        raise TornError("it breaks off")
    _, rest, length = _LENGTHS.unpack_from(seal)
    if rest != _REST:
        raise ValueError("no archive has such a frame")
    return length, seal[_LENGTHS.size :]
