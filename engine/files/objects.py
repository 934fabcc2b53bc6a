"""Object stores, through obstore. Credentials come from the environment, as the store's own tools read them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from engine.errors import OutputError
from engine.text import harmless

from .disk import File, taken, temporary

ONE_REQUEST = 8 << 20  # bytes: one conditional request is held in memory, and must get through within its timeout
_PIECE = 8 << 20  # 10,000 pieces are allowed: far more than the 5 GB that may then be copied
_AT_ONCE = 4
_SHOWN = 200  # characters of what a store says
_QUERY = re.compile(r"\?\S*")  # may hold a signature
# S3 can copy an object to a name that is free only by a multipart copy, which obstore does when it is told to.
_CONFIG: Mapping[str, Any] = {"s3": {"aws_copy_if_not_exists": "multipart"}}


class Objects:
    """The objects of a bucket, by their whole URL. Methods raise OutputError."""

    def __init__(self, root: str) -> None:
        """`root` is `scheme://bucket/`."""
        self._root = root
        scheme = root.partition(":")[0]
        with self._store_says(root):
            self._store = from_url(root.rstrip("/"), config=_CONFIG.get(scheme))

    def size(self, path: str) -> int | None:
        """Bytes of an object, or None if there is none."""
        with self._store_says(path):
            try:
                return obstore.head(self._store, self._key(path))["size"]
            except FileNotFoundError:
                return None

    def place(self, waiting: Path, file: File, job: str) -> bool:
        """Send a file; False if it was there already, whole, since an answer was lost. Raises OutputError if another is."""
        if self._send(waiting, file.path, file.bytes, job):
            return True
        if not self.is_same(file):
            raise taken(file.path)
        return False

    def _send(self, file: Path, path: str, size: int, job: str) -> bool:
        """Make an object of a file, whole; False if there is one of that name."""
        with self._store_says(path):
            try:
                if size <= ONE_REQUEST:
                    obstore.put(self._store, self._key(path), file, mode="create", use_multipart=False)
                else:
                    self._send_large(file, path, job)
            except AlreadyExistsError:
                return False
        return True

    def is_same(self, file: File) -> bool:
        """Whether the object of that name holds these bytes."""
        if self.size(file.path) != file.bytes:
            return False
        found = sha256()
        with self._store_says(file.path):
            for piece in obstore.get(self._store, self._key(file.path)).stream():
                found.update(bytes(piece))
        return found.hexdigest() == file.sha256

    def delete(self, path: str) -> None:
        """Missing is fine."""
        with self._store_says(path), suppress(FileNotFoundError):
            obstore.delete(self._store, self._key(path))

    def delete_leftover(self, path: str, job: str) -> None:
        """What a large object was sent as by a process that was killed."""
        self.delete(self._root + self._hidden(path, job))

    def _send_large(self, file: Path, path: str, job: str) -> None:
        """No store takes pieces on the condition that a name is free: under a hidden name, then by a copy."""
        hidden = self._hidden(path, job)
        obstore.put(self._store, hidden, file, chunk_size=_PIECE, max_concurrency=_AT_ONCE)
        try:
            obstore.copy(self._store, hidden, self._key(path), overwrite=False)
        finally:
            obstore.delete(self._store, hidden)

    def _key(self, path: str) -> str:
        return path.removeprefix(self._root)

    def _hidden(self, path: str, job: str) -> str:
        return str(temporary(Path(self._key(path)), job))

    @contextmanager
    def _store_says(self, path: str) -> Iterator[None]:
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            remedy = "Check the store's credentials in the environment, then resume."
            raise OutputError(f"{harmless(path)}: {_first_line(error)}.", remedy) from None
        except AlreadyExistsError:
            raise
        except (BaseError, OSError, ValueError) as error:
            remedy = "Check the bucket and the store's settings in the environment, then resume; nothing is lost."
            raise OutputError(f"{harmless(path)}: {_first_line(error)}.", remedy) from None


def _first_line(error: Exception) -> str:
    line = harmless(_QUERY.sub("", str(error).partition("\n")[0]))
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
