"""A list of ids from a file: `.csv`, `.jsonl` or `.txt`, also packed as `.gz` or `.zst`, or `-` for standard input.

It is read as a stream, so that its length does not matter, and checked line by line: all its mistakes are told together.
"""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import orjson

from .errors import UsageError
from .kind import LARGEST
from .text import harmless

MAX_LINE = 1024 * 1024  # bytes: an exported row is long, but no row is longer
MAX_INFLATED = 16 * 1024**3  # bytes: a few kilobytes can inflate to days of reading
MAX_TOLD = 20
_SHOWN = 40  # characters of what is wrong
_DIGITS = len(str(LARGEST))
_PIECE = 64 * 1024
_ZSTD_PIECE = 128  # each four bytes can be a block of 128 KiB
_ZSTD_WINDOW = 8 * 1024 * 1024  # what every decoder must take (RFC 8878, 3.1.1.1.2); `zstd -19` needs no more

Line = tuple[int, str]
"""The number of a line, from 1, and its text without the line's end."""


def read_manifest(source: str, stdin: BinaryIO | None = None) -> Iterator[int]:
    """The ids of a file, or of `stdin` for `-`, in its order and as often as they are in it.

    Raises UsageError at the end of the file if it had any mistake, with the first of them as `file:line: what`; at
    once if it cannot be read. So what came before is good only if the end is reached.
    """
    named = "standard input" if source == "-" else harmless(source)
    mistakes = _Mistakes(named)
    empty = True
    try:
        with _opened(source, stdin) as pieces:
            lines = _lines(pieces, mistakes)
            for each in _form(source, named)(lines, mistakes):
                empty = False
                if not mistakes.count:
                    yield each
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = harmless(getattr(error, "strerror", None) or str(error))
        raise UsageError(f"{named}: cannot be read: {reason}.") from None
    if mistakes.count:
        raise UsageError("\n".join(mistakes.told()))
    if empty:
        raise UsageError(f"{named}: there is no id in it.")


class _Mistakes:
    """What is wrong with a file: the first mistakes, and how many there are."""

    def __init__(self, named: str) -> None:
        self._named = named
        self._first: list[tuple[int, str]] = []
        self.count = 0

    def add(self, line: int, what: str) -> None:
        self.count += 1
        if len(self._first) < MAX_TOLD:
            self._first.append((line, what))

    def told(self) -> list[str]:
        lines = [f"{self._named}:{line}: {what}" for line, what in self._first]
        more = self.count - len(lines)
        return [*lines, f"{self._named}: and {more:,} more"] if more else lines


def _number(text: str, line: int, mistakes: _Mistakes) -> int:
    """The id that a text is; 0 if it is none, and it is told why."""
    text = text.strip()
    unsigned = text.removeprefix("-")
    if not (unsigned.isascii() and unsigned.isdigit()):
        mistakes.add(line, f"{_quoted(text)} is not a whole number")
        return 0
    if len(unsigned) > _DIGITS:  # so many that Python would not read them, perhaps
        unsigned = unsigned.lstrip("0")[: _DIGITS + 1] or "0"
    number = int(unsigned)
    return _in_range(number if text == unsigned or text[0] != "-" else -number, text, line, mistakes)


def _in_range(number: float, text: str, line: int, mistakes: _Mistakes) -> int:
    if 0 < number < LARGEST:
        return int(number)
    mistakes.add(line, f"{_quoted(text)} is {'too large' if number > 0 else 'not above zero'}")
    return 0


def _quoted(text: str) -> str:
    return f"“{harmless(text[:_SHOWN])}{'…' if len(text) > _SHOWN else ''}”"


Form = Callable[[Iterator[Line], _Mistakes], Iterator[int]]


def _form(source: str, named: str) -> Form:
    """How the lines are to be read, by the name of the file."""
    if source == "-":
        return _guessed
    for suffix, form in (".csv", _csv), (".jsonl", _jsonl), (".txt", _txt):
        if _unpacked(source).endswith(suffix):
            return form
    raise UsageError(
        f"{named}: its name says nothing of its form.",
        "It must end in .csv, .jsonl or .txt, or in one of these with .gz or .zst behind it.",
    )


def _unpacked(source: str) -> str:
    return source.lower().removesuffix(".gz").removesuffix(".zst")


def _guessed(lines: Iterator[Line], mistakes: _Mistakes) -> Iterator[int]:
    """The form is told by the first line that is not blank."""
    line, text = next(((line, text) for line, text in lines if text.strip()), (0, ""))
    if line:
        yield from _form_of(text.strip())(chain([(line, text)], lines), mistakes)


def _form_of(first: str) -> Form:
    if first[0] in "{#":
        return _jsonl if first[0] == "{" else _txt
    return _csv if "," in first or _begins_with_a_number([first]) or _names([first]) == ["id"] else _txt


def _txt(lines: Iterator[Line], mistakes: _Mistakes) -> Iterator[int]:
    for line, text in lines:
        if text.strip() and not text.startswith("#") and (found := _number(text, line, mistakes)):
            yield found


def _jsonl(lines: Iterator[Line], mistakes: _Mistakes) -> Iterator[int]:
    for line, text in lines:
        if text.strip() and (found := _number_in_json(text, line, mistakes)):
            yield found


def _number_in_json(text: str, line: int, mistakes: _Mistakes) -> int:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        mistakes.add(line, f"{_quoted(text)} is not JSON: {error.msg}")
        return 0
    found = value.get("id") if isinstance(value, dict) else value
    # What has more than 64 bits orjson reads as a float.
    if type(found) is int or (isinstance(found, float) and abs(found) >= LARGEST):
        return _in_range(found, f"{found}", line, mistakes)
    mistakes.add(line, f"{_quoted(text)} is neither a whole number nor an object whose “id” is one")
    return 0


def _csv(lines: Iterator[Line], mistakes: _Mistakes) -> Iterator[int]:
    """From the column `id`, or the first one if the first row begins with a number and so is no header."""
    rows = _rows(lines, mistakes)
    line, first = next(rows, (0, [""]))
    names = _names(first)
    headed = not _begins_with_a_number(first)
    if line and headed and names.count("id") != 1:
        wrong = "is there more than once" if "id" in names else "is not there"
        mistakes.add(line, f"the column “id” {wrong}: {_quoted(', '.join(names))}")
        return
    column = names.index("id") if line and headed else 0
    for number, cells in rows if headed else chain([(line, first)], rows):
        if column >= len(cells):
            mistakes.add(number, "there is nothing in the column “id”")
        elif found := _number(cells[column], number, mistakes):
            yield found


def _begins_with_a_number(cells: list[str]) -> bool:
    return cells[0].strip().removeprefix("-").isdigit()


def _names(cells: list[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]


def _rows(lines: Iterator[Line], mistakes: _Mistakes) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row that is not blank."""
    for line, text in lines:
        if '"' not in text:
            if text.strip():
                yield line, text.split(",")
            continue
        try:
            yield line, next(csv.reader([_whole_row(text, lines)], strict=True))
        except csv.Error as error:
            mistakes.add(line, f"this is not CSV: {error}")


def _whole_row(text: str, lines: Iterator[Line]) -> str:
    """A row with the lines over which it goes on, as long as a quote is open."""
    parts, quotes, length = [text], text.count('"'), len(text)
    while quotes % 2 and length <= MAX_LINE and (more := next(lines, None)):
        parts.append(more[1])
        quotes += more[1].count('"')
        length += len(more[1]) + 1
    return "\n".join(parts)


def _lines(pieces: Iterable[bytes], mistakes: _Mistakes) -> Iterator[Line]:
    """The lines that are text and not too long; of the others it is told."""
    for number, line in enumerate(_split(pieces), 1):
        if len(line) > MAX_LINE:
            mistakes.add(number, f"this line is longer than {MAX_LINE >> 10} KiB")
            continue
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            mistakes.add(number, "this is not UTF-8 text")
        else:
            yield number, text.removesuffix("\r")


def _split(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines; of one that is too long no more is kept than tells so."""
    kept: list[bytes] = []
    length = 0
    for piece in pieces:
        if b"\n" in piece:
            *whole, rest = b"".join([*kept, piece]).split(b"\n")
            yield from whole
            kept, length = [rest], len(rest)
        elif length <= MAX_LINE:
            kept.append(piece)
            length += len(piece)
    if length:
        yield b"".join(kept)


@contextmanager
def _opened(source: str, stdin: BinaryIO | None) -> Iterator[Iterator[bytes]]:
    """What is in the file, unpacked, in pieces."""
    if source == "-":
        if stdin is None and sys.stdin is None:
            raise OSError("it is closed")
        yield _read(stdin or sys.stdin.buffer)
        return
    name = source.lower()
    with Path(source).open("rb") as file:
        if name.endswith(".gz"):
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield _bounded(_read(unpacked))
        elif name.endswith(".zst"):
            yield _bounded(_unzstd(file))
        else:
            yield _read(file)


def _read(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _bounded(pieces: Iterable[bytes], most: int = MAX_INFLATED) -> Iterator[bytes]:
    inflated = 0
    for piece in pieces:
        inflated += len(piece)
        if inflated > most:
            raise ValueError(f"it inflates to more than {most >> 30} GiB")
        yield piece


def _unzstd(file: BinaryIO) -> Iterator[bytes]:
    """Frame after frame: zstandard's own reader of streams takes a file that was cut off for a whole one."""
    from zstandard import ZstdDecompressor, ZstdError  # noqa: PLC0415 - for those few who have such a file

    unpacker = ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = unpacker.decompressobj()
    try:
        while piece := file.read(_ZSTD_PIECE):
            while piece:
                frame = unpacker.decompressobj() if frame.eof else frame
                inflated = frame.decompress(piece)
                yield from (inflated[at : at + _PIECE] for at in range(0, len(inflated), _PIECE))
                piece = frame.unused_data if frame.eof else b""
    except ZstdError as error:
        raise ValueError(str(error)) from None
    if not frame.eof:
        raise ValueError("it was cut off")
