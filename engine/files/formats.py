"""Rows into the bytes of a format, piece by piece."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from engine.text import spreadsheet
from engine.where import Row, Type

from .columns import Column, Layout, Nested
from .jsontext import json_line
from .sink import Sink

GROUP_BYTES = 8 << 20  # about, of one row group
GROUP_ROWS = 100_000  # what other tools take for a row group, too
_ASIDE = 16  # bytes that a value takes beside its text


class Writer(ABC):
    """Writes the rows of one file. Methods raise OSError."""

    held = 0  # bytes, about, that wait in memory

    def __init__(self, sink: Sink) -> None:
        """`sink` is ours from now on."""
        self.sink = sink

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""

    def flush(self) -> None:  # noqa: B027 - most hold nothing back
        """Write what waits in memory."""

    def finish(self) -> None:
        """Write what is left, to last, and close."""
        self.flush()
        self.sink.finish()


class JsonLines(Writer):
    """Rows as the service sent them, a line each."""

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        self.sink.write(b"".join(map(json_line, rows)))


class Csv(Writer):
    """RFC 4180: every text is quoted, so that an empty one is not nothing; no text is a formula; times are ISO text in UTC."""

    def __init__(self, sink: Sink, layout: Layout) -> None:
        """The header goes first."""
        super().__init__(sink)
        self._layout = layout
        self._lines([[spreadsheet(name) for name in layout.names]])

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        self._lines(map(self._layout.cells, rows))

    def _lines(self, records: Iterable[Sequence[Any]]) -> None:
        self.sink.write("".join(f"{','.join(map(_cell, record))}\r\n" for record in records).encode())


class Parquet(Writer):
    """Row groups of bounded size, compressed with Zstandard. The schema follows from the columns alone, never from rows."""

    def __init__(self, sink: Sink, layout: Layout) -> None:
        """Needs pyarrow."""
        from pyarrow.parquet import ParquetWriter  # noqa: PLC0415 - 0.2 s, and only who wants Parquet has it

        super().__init__(sink)
        self._layout = layout
        self._schema = _schema(layout)
        self._writer = ParquetWriter(sink, self._schema, compression="zstd")
        self._records: list[list[Any]] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows; they wait in memory until there are enough for a group."""
        for row in rows:
            record = self._layout.cells(row)
            self._records.append(record)
            self.held += sum(_ASIDE + (len(cell) if isinstance(cell, str) else 0) for cell in record)
            if self.held >= GROUP_BYTES or len(self._records) >= GROUP_ROWS:
                self.flush()

    def flush(self) -> None:
        """Write a group of what there is."""
        if self._records:
            import pyarrow as pa  # noqa: PLC0415 - see above

            cells = zip(*self._records, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(cells, self._schema, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
            self._records, self.held = [], 0

    def finish(self) -> None:
        """Write the last group and the footer."""
        self.flush()
        self._writer.close()
        super().finish()


def open_writer(sink: Sink, form: str, columns: Sequence[Column], folders: Mapping[str, Any]) -> Writer:
    """A writer of the format `jsonl`, `csv` or `parquet`. `folders` are the fields, with values, that the path tells."""
    if form == "jsonl":
        return JsonLines(sink)
    layout = Layout(columns, folders, for_spreadsheets=form == "csv")
    return Csv(sink, layout) if form == "csv" else Parquet(sink, layout)


def _schema(layout: Layout) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - see above

    types: dict[Type | Nested, Any] = {
        Type.WHOLE: pa.int64(),
        Type.NUMBER: pa.float64(),
        Type.TRUTH: pa.bool_(),
        Type.TIME: pa.timestamp("us", tz="UTC"),
    }
    of_columns = [types.get(column.type, pa.string()) for column in layout.columns]
    return pa.schema(list(zip(layout.names, [*of_columns, pa.string()], strict=True)))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else repr(value)
