"""What is written, read back by other tools: DuckDB, pandas, the standard library, zstd and gzip themselves."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.files import formats
from engine.files.columns import JSON, Column, Layout, columns_of
from engine.files.target import SUFFIXES
from engine.text import spreadsheet
from engine.where import Field, Row, Type, read_time
from tests.files.rows import COLUMNS, FIELDS, plain, row, write

TABLES = [suffix for suffix in SUFFIXES if "jsonl" not in suffix]
NAMES = ["id", "name", "done", "rate", "made", "tags", "more"]
ROWS = [
    row(1),
    row(2, name='quotes "", commas, ä漢字🎉', extra={"a": [1, None]}),
    row(3, name="lines\r\nof\ntext\rhere", done=None),
    row(4, name="", rate=None, tags=[], made="2026-01-31T12:00:00+02:00"),
    row(5, name=17, done="yes", rate="high", made="yesterday", tags="none"),
    row(6, name="=1+1", id=1 << 70),
    row(7, name="a; =b", rate=7),
    {"id": 8},
    row(9, name=None, tags={"a": "; -1"}, more="my own"),
]


def unpacked(path: Path) -> bytes:
    """What `gzip` or `zstd` makes of a file, as everybody has them."""
    tool = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    return subprocess.run([tool, "-dc", path], check=True, capture_output=True).stdout if tool else path.read_bytes()


def rebuilt(cells: Mapping[str, Any]) -> dict[str, Any]:
    """The row that was written: what its columns tell, and over it what the last one has."""
    told = {name: value for name, value in cells.items() if value is not None and name not in {"tags", "more"}}
    if (made := told.get("made")) is not None:
        told["made"] = read_time(made)
    nested = {"tags": json.loads(cells["tags"])} if cells["tags"] is not None else {}
    return {**told, **nested, **(json.loads(cells["more"]) if cells["more"] is not None else {})}


def meant(sent: Row) -> dict[str, Any]:
    """The row that was sent; a null and an absent key are one, and so are times that are one."""
    told = {name: value for name, value in sent.items() if value is not None}
    return told | ({"made": made} if (made := read_time(told.get("made"))) and str(told["made"]).endswith("Z") else {})


def with_duckdb(path: Path) -> list[dict[str, Any]]:
    """Rows as DuckDB has them; times as ISO text."""
    read = "read_parquet(?)" if path.suffix == ".parquet" else "read_csv(?, header=true, allow_quoted_nulls=false)"
    cursor = duckdb.connect().execute(f"SELECT * REPLACE (strftime(made AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ') AS made) FROM {read}", [str(path)])  # fmt: skip
    found = [
        dict(zip([column[0] for column in cursor.description or ()], each, strict=True)) for each in cursor.fetchall()
    ]
    return [{**each, "made": each["made"] and each["made"].replace(".000000Z", "Z")} for each in found]


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if "jsonl" in suffix])
def test_json_lines_are_the_rows_as_they_were_sent(tmp_path: Path, suffix: str) -> None:
    """Keys in their order; what columns would make of them does not matter."""
    (file,) = write(tmp_path / f"runs{suffix}", ROWS)
    lines = unpacked(Path(file.path)).splitlines()
    assert [json.loads(line) for line in lines] == ROWS
    assert [list(json.loads(line)) for line in lines] == [list(each) for each in ROWS]
    small = [each for each in ROWS if each["id"] < 1 << 63]
    (again,) = write(tmp_path / f"small{suffix}", small)
    count = duckdb.connect().execute(
        "SELECT count(*), sum(id) FROM read_json(?, format='newline_delimited')", [again.path]
    )
    assert count.fetchall() == [(len(small), sum(each["id"] for each in small))]
    assert len(pd.read_json(again.path, lines=True)) == len(small)


@pytest.mark.parametrize("suffix", TABLES)
def test_every_row_can_be_rebuilt_from_a_table(tmp_path: Path, suffix: str) -> None:
    """Each value that no column can hold is in the last one, and no other is."""
    (file,) = write(tmp_path / f"runs{suffix}", ROWS)
    found = with_duckdb(Path(file.path))
    assert list(found[0]) == NAMES
    assert [rebuilt(each) for each in found] == [meant(each) for each in ROWS]
    more = [each["more"] and set(json.loads(each["more"])) for each in found]
    formula = None if suffix == ".parquet" else {"name"}
    assert more == [None, {"extra"}, None, {"made"}, {"name", "done", "rate", "made", "tags"}, {"id", *(formula or ())}, formula, None, {"more"}]  # fmt: skip


@pytest.mark.parametrize("suffix", TABLES)
def test_pandas_reads_the_same_table(tmp_path: Path, suffix: str) -> None:
    """Counts, names and text, line breaks among it."""
    (file,) = write(tmp_path / f"runs{suffix}", ROWS)
    if suffix == ".parquet":
        frame = pd.read_parquet(file.path)
        assert str(frame["made"].dtype) == "datetime64[us, UTC]"
    else:
        frame = pd.read_csv(file.path, keep_default_na=False, dtype=str)
    assert list(frame.columns) == NAMES
    assert len(frame) == len(ROWS)
    assert frame["name"][2] == "lines\r\nof\ntext\rhere"


@settings(deadline=None, derandomize=True, database=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"id": st.integers(1, 1 << 40)},
            optional={
                "name": st.one_of(st.text(), st.none(), st.integers(), st.just("@SUM(1)"), st.just(" ;+x")),
                "rate": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.text()),
                "done": st.one_of(st.booleans(), st.sampled_from(["true", "True", "no"])),
                "made": st.one_of(st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat), st.text(max_size=30)),
                "tags": st.recursive(
                    st.one_of(st.none(), st.text(), st.integers(), st.booleans()),
                    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
                    max_leaves=5,
                ),
                "x": st.text(),
            },
        ),
        min_size=1,
        max_size=5,
    )
)
def test_nothing_that_was_sent_is_lost_in_a_table(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever it is: read back with the standard library's CSV and with pyarrow. No text of a CSV is a formula."""
    folder = tmp_path_factory.mktemp("rows")
    (parquet,), (lines,) = write(folder / "x.parquet", rows), write(folder / "x.csv", rows)
    cells = list(csv.reader(io.StringIO(Path(lines.path).read_bytes().decode(), newline="")))
    assert len(cells) == len(rows) + 1
    assert all(spreadsheet(each[index]) == each[index] for each in cells for index in (1, 5, 6))
    tables = [
        pq.read_table(parquet.path).to_pylist(),
        [_typed(dict(zip(NAMES, each, strict=True))) for each in cells[1:]],
    ]
    for table in tables:
        for sent, found in zip(rows, table, strict=True):
            got = rebuilt(found)
            for name, value in sent.items():
                assert value is None or _tells(got.get(name), value), (name, value, found)


def _typed(cells: Mapping[str, str]) -> dict[str, Any]:
    """Cells of a CSV without types, in those of its columns; what is empty is nothing, unless nothing else tells it."""
    more = cells["more"] or None
    kept = set(json.loads(more)) if more else set()
    told: dict[str, Any] = {name: text or None for name, text in cells.items() if name not in kept or name == "more"}
    told["name"] = None if "name" in kept else cells["name"]
    told["rate"] = float(cells["rate"]) if cells["rate"] else None
    told["done"] = {"true": True, "false": False}.get(cells["done"])
    told["id"] = int(cells["id"])
    return {name: told.get(name) for name in NAMES}


def _tells(found: Any, sent: Any) -> bool:
    if isinstance(found, datetime):
        return read_time(sent) == found
    if isinstance(found, bool) and isinstance(sent, str):
        return str(found).lower() == sent
    return bool(found == sent) and isinstance(found, bool) is isinstance(sent, bool)


def test_the_schema_of_parquet_follows_from_the_columns_alone(tmp_path: Path) -> None:
    """The same for a file of nothing, of strange rows and of usual ones; groups are bounded and packed with Zstandard."""
    schemas = []
    for number, rows in enumerate(([], [{"id": "x"}], ROWS)):
        (file,) = write(tmp_path / f"{number}.parquet", rows)
        schemas.append(pq.read_schema(file.path))
    assert schemas[0].equals(schemas[1])
    assert schemas[0].equals(schemas[2])
    time = pa.timestamp("us", tz="UTC")
    assert schemas[0].types == [pa.int64(), pa.string(), pa.bool_(), pa.float64(), time, pa.string(), pa.string()]
    assert pq.ParquetFile(tmp_path / "2.parquet").metadata.row_group(0).column(1).compression == "ZSTD"


def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By rows and by bytes."""
    monkeypatch.setattr(formats, "GROUP_ROWS", 10)
    (file,) = write(tmp_path / "rows.parquet", [row(number) for number in range(25)])
    assert _groups(file.path) == [10, 10, 5]
    monkeypatch.setattr(formats, "GROUP_BYTES", 50_000)
    (file,) = write(tmp_path / "bytes.parquet", [row(number, name="x" * 20_000) for number in range(8)])
    assert _groups(file.path) == [3, 3, 2]


def _groups(path: str) -> list[int]:
    metadata = pq.ParquetFile(path).metadata
    return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


@pytest.mark.parametrize("suffix", TABLES)
def test_folders_are_read_as_columns(tmp_path: Path, suffix: str) -> None:
    """By DuckDB with `hive_partitioning`, hostile values too; what a folder tells is not told again in the file."""
    values = ["a/b", "..", "", None, "_x", "ä b", "x=y", "100%", "x" * 300, "a\nb"]
    rows = [row(number, name=value) for number, value in enumerate(values)]
    files = write(tmp_path / f"out/runs{suffix}", rows, "name", "done")
    assert len({file.path for file in files}) == len(values)
    reader = "read_parquet" if suffix == ".parquet" else "read_csv"
    query = f"SELECT id, name, done::BOOLEAN, more FROM {reader}('{tmp_path}/out/**/*{suffix}', hive_partitioning=true) ORDER BY id"
    found = duckdb.connect().execute(query).fetchall()
    assert [(each[0], each[2]) for each in found] == [(number, number % 2 == 0) for number in range(len(values))]
    for (_, name, _, more), value in zip(found, values, strict=True):
        if value and len(value) > 64:
            assert json.loads(more) == {"name": value}
        else:
            assert (name, more) == (value, None)


def test_pandas_reads_a_folder_of_partitions(tmp_path: Path) -> None:
    """A field is in the folder's name or in the file, never in both, which it refuses."""
    write(tmp_path / "out/runs.parquet", [row(number, name=f"n{number % 3}") for number in range(9)], "name")
    frame = pd.read_parquet(tmp_path / "out")
    assert sorted(zip(frame["id"], frame["name"], strict=True)) == [(number, f"n{number % 3}") for number in range(9)]


def test_columns_give_what_fits_or_nothing() -> None:
    """Whatever a field's reader makes of a row."""
    strange: Sequence[tuple[Type | Any, Any, Any]] = [
        (Type.WHOLE, 1 << 63, None), (Type.WHOLE, True, None), (Type.WHOLE, 1.0, None), (Type.WHOLE, -(1 << 63), -(1 << 63)),
        (Type.NUMBER, 10**400, None), (Type.NUMBER, float("inf"), None), (Type.NUMBER, True, None), (Type.NUMBER, 3, 3.0),
        (Type.TEXT, "\ud800", None), (Type.TEXT, 3, None), (Type.TRUTH, 1, None),
        (Type.TIME, datetime.fromisoformat("2026-01-31"), datetime(2026, 1, 31, tzinfo=UTC)), (Type.TIME, "2026", None),
        (Type.TIME, read_time("0001-01-01T00:00:00+05:00"), None),
        (JSON, {"a": [1]}, '{"a":[1]}'), (JSON, "text", None), (Type.LIST, ["a"], '["a"]'),
    ]  # fmt: skip
    for kind, value, fits in strange:
        assert Column("x", kind, lambda each: each["x"]).read({"x": value}) == fits, (kind, value)
    assert [column.name for column in columns_of(FIELDS)] == [column.name for column in COLUMNS] == NAMES[:-1]


def test_the_last_column_gives_way_to_a_field_of_its_name() -> None:
    """And a number that a column shows otherwise is kept as it was sent."""
    fields = {"more": Field(Type.TEXT, plain("more", str)), "rate": Field(Type.NUMBER, lambda each: each["rate"] / 100)}
    part_of = Layout(columns_of(fields), {}, for_spreadsheets=False)
    assert part_of.names == ["more", "rate", "more_"]
    assert part_of.cells({"more": "x", "rate": 85}) == ["x", 0.85, '{"rate":85}']
