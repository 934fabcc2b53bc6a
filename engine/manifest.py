"""A manifest: ids from a file, checked line by line and read as a stream, however many there are.

`.txt` has one on each line, blank lines and those that begin with “#” are passed over. `.csv` has them in the column `id`, or
without a header in the first one. `.jsonl` has an object with an `id`, or a bare number, on each line. `.gz` and `.zst` of
these are inflated. `-` is standard input, whose first line tells which it is.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import orjson

from .errors import UsageError
from .kind import LARGEST
from .text import harmless

MAX_LINE = 65_536  # bytes
MAX_TOLD = 20  # mistakes
MAX_SHOWN = 40  # characters of what is no id
MAX_DIGITS = 19
STDIN = "-"
_FORMATS = (".txt", ".csv", ".jsonl")

Reader = Callable[[str], str | None]  # what stands for the id on a line; None where the line has none


@dataclass(slots=True)
class _Mistakes:
    """What was wrong, the first of it with its line."""

    name: str
    told: list[str] = field(default_factory=list)
    more: int = 0

    def add(self, line: int, what: str) -> None:
        if len(self.told) < MAX_TOLD:
            self.told.append(f"{self.name}:{line}: {what}")
        else:
            self.more += 1

    def error(self) -> UsageError:
        rest = [f"and {self.more:,} more"] if self.more else []
        return UsageError("\n".join([*self.told, *rest]))


def read_manifest(source: str, stdin: BinaryIO | None = None) -> Iterator[int]:
    """The ids in a file, in its order, repeated ones too. Raises UsageError with its mistakes when all of it has been read."""
    with ExitStack() as stack:
        name = "standard input" if source == STDIN else source
        try:
            yield from _ids(_opened(source, stdin, stack), name, _format(source))
        except (OSError, EOFError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UsageError(f"{harmless(name)}: cannot be read: {harmless(reason)}.") from None


def _opened(source: str, stdin: BinaryIO | None, stack: ExitStack) -> BinaryIO:
    if source == STDIN:
        if stdin is None:
            raise UsageError("There is no standard input to read ids from.")
        return stdin
    file: BinaryIO = stack.enter_context(Path(source).open("rb"))  # noqa: SIM115 - the stack closes it
    if source.endswith(".gz"):
        return io.BufferedReader(stack.enter_context(gzip.GzipFile(fileobj=file)))
    if source.endswith(".zst"):
        from zstandard import ZstdDecompressor, ZstdError  # noqa: PLC0415 - for these alone

        reader = ZstdDecompressor(max_window_size=1 << 27).stream_reader(file, read_across_frames=True)
        return io.BufferedReader(_Inflated(reader, ZstdError))
    return file


class _Inflated(io.RawIOBase):
    """A stream whose own kind of error is an OSError."""

    def __init__(self, stream: BinaryIO, error: type[Exception]) -> None:
        self._stream, self._error = stream, error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # all that BufferedReader asks with
        try:
            piece = self._stream.read(len(buffer))
        except self._error as error:
            raise OSError(str(error)) from None
        buffer[: len(piece)] = piece
        return len(piece)


def _format(source: str) -> str | None:
    """What the name of a file tells; None where the first line has to."""
    if source == STDIN:
        return None
    name = source.removesuffix(".gz").removesuffix(".zst")
    found = [suffix for suffix in _FORMATS if name.endswith(suffix)]
    if not found:
        raise UsageError(f"{harmless(source)}: a list of ids is a .txt, .csv or .jsonl file, or - for standard input.")
    return found[0]


def _ids(file: BinaryIO, name: str, style: str | None) -> Iterator[int]:
    mistakes, read, some = _Mistakes(harmless(name)), None, False
    for number, line in enumerate(_lines(file, mistakes), 1):
        if not line.strip() or (style in {None, ".txt"} and line.lstrip().startswith("#")):
            continue
        if read is None:
            style = style or _guess(line)
            read, is_header = _reader(style, line, number, mistakes)
            if is_header:
                continue
        item = _checked(read, line, number, mistakes)
        if item is not None:
            some = True
            yield item
    if not some and not mistakes.told:
        mistakes.add(1, "there is no id in it")
    if mistakes.told:
        raise mistakes.error()


def _lines(file: BinaryIO, mistakes: _Mistakes) -> Iterator[str]:
    number = 0
    while data := file.readline(MAX_LINE):
        number += 1
        if len(data) == MAX_LINE and not data.endswith(b"\n"):
            mistakes.add(number, f"a line of more than {MAX_LINE >> 10} KiB")
            raise mistakes.error()  # whatever comes now is no line
        try:
            yield data.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            mistakes.add(number, "this is not UTF-8 text")
            yield ""


def _guess(line: str) -> str:
    if line.lstrip().startswith("{"):
        return ".jsonl"
    return ".csv" if "," in line or not line.strip().isdecimal() else ".txt"


def _reader(style: str, line: str, number: int, mistakes: _Mistakes) -> tuple[Reader, bool]:
    """How to read lines, and whether this one is a header."""
    if style == ".jsonl":
        return _from_json, False
    if style == ".txt":
        return str.strip, False
    header = [cell.strip().lower() for cell in _cells(line)]
    if header and header[0].isdecimal():
        return lambda row: _cell(row, 0), False
    if "id" not in header:
        mistakes.add(number, "there is no column “id”")
        raise mistakes.error()
    column = header.index("id")
    return lambda row: _cell(row, column), True


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _cell(line: str, column: int) -> str | None:
    cells = _cells(line)
    return cells[column].strip() if column < len(cells) else None


def _from_json(line: str) -> str | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line.strip()
    value = value.get("id") if isinstance(value, dict) else value
    return str(value) if type(value) is int or isinstance(value, str) else None


def _checked(read: Reader, line: str, number: int, mistakes: _Mistakes) -> int | None:
    text = read(line)
    if text is None:
        mistakes.add(number, "there is no id")
        return None
    if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS and 0 < (item := int(text)) < LARGEST:
        return item
    shown = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    mistakes.add(number, f"“{harmless(shown)}” is no id; a whole number from 1 is needed")
    return None
