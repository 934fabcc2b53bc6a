"""One part of an export: rows stream into temporary files, and all of them become visible at once, or none.

A part may have a file for each value that it is partitioned by. A few are open at a time; rows of the others wait in plain
files beside them and are written when the part is finished, so that each file is one whole stream, whatever came when.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from engine.where import Row

from .columns import Column
from .disk import File, create, disk, write_all
from .formats import Writer, open_writer
from .jsontext import json_line
from .places import SPILL, Place, place_of
from .sink import Sink
from .target import Target

OPEN = 32  # files at once: each has a packer, which takes about 2 MiB
HELD_BYTES = 16 << 20  # about: what may wait in memory over all files
_AT_ONCE = 100  # rows that come back from a waiting file


@dataclass(slots=True)
class _Growing:
    """A file that is being written: by a writer, or, while too many are open, as lines that wait."""

    path: str
    folders: Mapping[str, Any]
    waiting: Path  # what becomes the file
    spill: Path  # where rows wait while too many others are open
    writer: Writer | None = None
    rows: int = 0


class _State(Enum):
    WRITING = "written"
    FINISHED = "finished"
    OVER = "published or discarded"


class Part:
    """Use it from one thread at a time. Methods raise OutputError; after one, `discard`."""

    def __init__(
        self, target: Target, *, job: str, date: str, number: int, parts: int, columns: Sequence[Column]
    ) -> None:
        """Part `number`, from 1, of `parts`. `columns` matter to CSV and Parquet; `date` is YYYY-MM-DD."""
        self._target = target
        self._path = partial(target.path, job=job, date=date, number=number, parts=parts)
        self._columns = columns
        self._place: Place = place_of(target, job)
        self._growing: dict[str, _Growing] = {}
        self._files: list[File] = []
        self._state = _State.WRITING

    def write(self, rows: Sequence[Row], partitions: Sequence[tuple[Any, ...]]) -> None:
        """Append rows; `partitions` has for each the values of the target's `partition_by`."""
        self._must_be(_State.WRITING)
        for growing, group in self._grouped(rows, partitions):
            growing.rows += len(group)
            with disk(growing.path):
                if growing.writer is not None:
                    growing.writer.write(group)
                else:
                    _append(growing.spill, group)
        self._relieve()

    def finish(self) -> list[File]:
        """Write everything, to last. Nothing is visible under its own name yet, and every name was free a moment ago."""
        self._must_be(_State.WRITING)
        if not self._growing and not self._target.partition_by:
            self._begin(self._path(), ())
        for growing in self._growing.values():  # those that are open first: they make room for the others
            if growing.writer is not None:
                self._files.append(_ended(growing, growing.writer))
        for growing in self._growing.values():
            if growing.writer is None:
                self._files.append(self._from_spill(growing))
        for file in self._files:
            self._place.must_be_free(file.path)
        self._state = _State.FINISHED
        return list(self._files)

    def publish(self) -> None:
        """Make every file visible, whole, and never over another. If one cannot be, none is."""
        self._must_be(_State.FINISHED)
        self._place.publish([(self._growing[file.path].waiting, file) for file in self._files])
        self._state = _State.OVER

    def discard(self) -> None:
        """Remove everything that was not published."""
        if self._state is _State.OVER:
            return
        self._state = _State.OVER
        for growing in self._growing.values():
            if growing.writer is not None:
                growing.writer.sink.abandon()
            for path in (growing.waiting, growing.spill):
                with disk(path):
                    path.unlink(missing_ok=True)
        self._place.forget()

    def _must_be(self, state: _State) -> None:
        if self._state is not state:
            raise RuntimeError(f"this part is not being {state.value}, or it is so no more: it is {self._state.value}")

    def _grouped(
        self, rows: Sequence[Row], partitions: Sequence[tuple[Any, ...]]
    ) -> Iterable[tuple[_Growing, list[Row]]]:
        if not self._target.partition_by:
            return [(self._file(self._path(), ()), list(rows))] if rows else []
        groups: dict[str, tuple[_Growing, list[Row]]] = {}
        for row, values in zip(rows, partitions, strict=True):
            path = self._path(values=values)
            if path not in groups:
                groups[path] = self._file(path, values), []
            groups[path][1].append(row)
        return groups.values()

    def _file(self, path: str, values: tuple[Any, ...]) -> _Growing:
        return self._growing.get(path) or self._begin(path, values)

    def _begin(self, path: str, values: tuple[Any, ...]) -> _Growing:
        by_field = dict(zip(self._target.partition_by, values, strict=True))
        folders = {field: by_field[field] for field in self._target.folders}
        place = self._place
        growing = _Growing(path, folders, place.temporary(path), place.temporary(path, SPILL))
        with disk(path):
            if len(self._growing) < OPEN:
                growing.writer = self._writer(growing)
            else:
                os.close(create(growing.spill))
        self._growing[path] = growing
        return growing

    def _writer(self, growing: _Growing) -> Writer:
        sink = Sink(growing.waiting, self._target.packing)
        return open_writer(sink, self._target.format, self._columns, growing.folders)

    def _relieve(self) -> None:
        """Write what waits in memory, the most of it first, until it is little enough."""
        writers = [(growing.path, growing.writer) for growing in self._growing.values() if growing.writer is not None]
        held = sum(writer.held for _, writer in writers)
        for path, writer in sorted(writers, key=lambda each: -each[1].held):
            if held <= HELD_BYTES:
                return
            held -= writer.held
            with disk(path):
                writer.flush()

    def _from_spill(self, growing: _Growing) -> File:
        with disk(growing.path):
            growing.writer = self._writer(growing)
            with growing.spill.open("rb") as lines:
                while some := list(islice(lines, _AT_ONCE)):
                    growing.writer.write(
                        [json.loads(line) for line in some]
                    )  # not orjson: it reads large numbers as floats
            growing.spill.unlink()
        return _ended(growing, growing.writer)


def remove(target: Target, paths: Iterable[str | File], *, job: str = "") -> None:
    """Remove what a killed process has left: files of a part that was finished but never announced. Raises OutputError.

    Missing ones are fine. A path is taken for ours; a File is removed only if it holds what it says, so that a stranger's
    file of that name stays. Temporary files of these paths go too, and with `job`, all
    of that job below the target's folder.
    """
    place = place_of(target, job)
    for each in paths:
        place.remove(each.path if isinstance(each, File) else each, each if isinstance(each, File) else None)
    if job:
        place.sweep(target.fixed)


def _append(spill: Path, rows: Sequence[Row]) -> None:
    descriptor = os.open(spill, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    try:
        write_all(descriptor, b"".join(map(json_line, rows)))
    finally:
        os.close(descriptor)


def _ended(growing: _Growing, writer: Writer) -> File:
    with disk(growing.path):
        writer.finish()
    return File(growing.path, growing.rows, writer.sink.size, writer.sink.sha256)
