"""Where bytes of one file go: packed, hashed and counted on their way to a temporary file."""

from __future__ import annotations

import io
import os
import zlib
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import zstandard

from .disk import create, write_all

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_LEVEL = 3  # of Zstandard: what its own command does by itself
_WINDOW_LOG = 19  # half a MiB, of which each open file holds one: a quarter of what this level would take


class Packer(Protocol):
    """Makes bytes fewer."""

    def compress(self, data: bytes, /) -> bytes:
        """What can be given away of them already."""

    def flush(self) -> bytes:
        """The rest, and the end."""


class Sink(io.RawIOBase):
    """A new temporary file that is only ever appended to. Methods raise OSError."""

    def __init__(self, path: Path, packing: str = "") -> None:
        """`packing` is `gz`, `zst` or nothing."""
        super().__init__()
        self.path = path
        self.size = 0
        self._descriptor = create(path)
        self._digest = sha256()
        self._packer = _packer(packing)

    @property
    def sha256(self) -> str:
        """Of what the file holds."""
        return self._digest.hexdigest()

    def writable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """How many bytes were given to it, for a format that notes its own offsets; such a one is not packed."""
        return self.size

    def write(self, data: ReadableBuffer) -> int:
        """All of it, or an error."""
        view = memoryview(data)
        self._put(view if self._packer is None else self._packer.compress(bytes(view)))
        return view.nbytes

    def finish(self) -> None:
        """Write what is left, to last, and close."""
        if self._packer is not None:
            self._put(self._packer.flush())
        os.fsync(self._descriptor)
        self.abandon()

    def abandon(self) -> None:
        """Close, whole or not. What a format still writes when it is collected goes nowhere."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _put(self, data: bytes | memoryview) -> None:
        if self._descriptor >= 0:
            write_all(self._descriptor, data)
            self._digest.update(data)
            self.size += len(data)


def _packer(packing: str) -> Packer | None:
    if packing == "gz":
        return zlib.compressobj(wbits=31)
    if not packing:
        return None
    settings = zstandard.ZstdCompressionParameters.from_level(_LEVEL, window_log=_WINDOW_LOG, write_checksum=True)
    return zstandard.ZstdCompressor(compression_params=settings).compressobj()
