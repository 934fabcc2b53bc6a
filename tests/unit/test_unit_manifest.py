"""Lists of ids: every format, every mistake with its line, and never more memory than a line."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Exit, UsageError
from engine.manifest import MAX_LINE, MAX_TOLD, read_manifest


def written(folder: Path, name: str, data: bytes) -> str:
    """A file of this content."""
    path = folder / name
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "5\n6\n\n# a comment\n  7  \n5"),
        ("a.txt", "\ufeff5\r\n6\r\n7\r\n5\r\n"),
        ("a.csv", "id\n5\n6\n7\n5\n"),
        ("a.csv", 'name,ID,x\n"a, b",5,\n,6,\n"",7,1\n"",5,\n'),
        ("a.csv", "5,a\n6,b\n7\n5\n"),
        ("a.jsonl", '{"id": 5}\n{"x": [1], "id": "6"}\n7\n{"id":5}\n'),
    ],
)
def test_ids_are_read_in_every_format(name: str, text: str, tmp_path: Path) -> None:
    """In the order of the file, repeated ones too; compressed, and from standard input."""
    data = text.encode()
    assert list(read_manifest(written(tmp_path, name, data))) == [5, 6, 7, 5]
    assert list(read_manifest(written(tmp_path, name + ".gz", gzip.compress(data)))) == [5, 6, 7, 5]
    assert list(read_manifest(written(tmp_path, name + ".zst", zstandard.compress(data)))) == [5, 6, 7, 5]
    assert list(read_manifest("-", io.BytesIO(data))) == [5, 6, 7, 5]


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.txt", b"5\nsix\n0\n-1\n1.5\n9223372036854775808\n" + b"9" * 5000, [2, 3, 4, 5, 6, 7]),
        ("a.txt", "٥\n".encode(), [1]),
        ("a.txt", b"5\n\xff\n", [2]),
        ("a.txt", b"", [1]),
        ("a.txt", b"# nothing\n\n", [1]),
        ("a.csv", b"ident,x\n5,1\n", [1]),
        ("a.csv", b"x,id\n1\n2,5\n", [2]),
        ("a.jsonl", b'{"id": 5}\n{"ident": 6}\n[7]\nnull\n{"id": 1.0}\n{"id": true}\n{\n', [2, 3, 4, 5, 6, 7]),
        ("a.txt", b"5\n" + b"9" * MAX_LINE + b"\n6\n", [2]),
    ],
)
def test_every_mistake_is_told_with_its_line(name: str, data: bytes, told: list[int], tmp_path: Path) -> None:
    """At once, when all has been read; exit code 2."""
    path = written(tmp_path, name, data)
    with pytest.raises(UsageError) as error:
        list(read_manifest(path))
    assert [line.removeprefix(path + ":").split(":")[0] for line in str(error.value).splitlines()] == [
        str(line) for line in told
    ]
    assert error.value.exit_code is Exit.USAGE


def test_what_stands_in_a_file_can_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    """Its text is foreign, and of many mistakes only the first are told."""
    path = written(tmp_path, "a.txt", b"\x1b[31mred\n" * (MAX_TOLD + 3))
    with pytest.raises(UsageError) as error:
        list(read_manifest(path))
    assert "\x1b" not in str(error.value)
    assert str(error.value).splitlines()[-1] == "and 3 more"


@pytest.mark.parametrize("name", ["missing.txt", "folder.txt", "cut.txt.gz", "no.txt.zst", "a.xlsx", "a"])
def test_what_cannot_be_read_is_told_by_its_name(name: str, tmp_path: Path) -> None:
    """A UsageError, whatever is wrong with it."""
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"5\n" * 1000)[:-20])
    (tmp_path / "no.txt.zst").write_bytes(b"not compressed")
    with pytest.raises(UsageError, match=name.replace(".", r"\.")):
        list(read_manifest(str(tmp_path / name)))


@given(data=st.binary(max_size=300), name=st.sampled_from([".txt", ".csv", ".jsonl", ".txt.gz", ".csv.zst", "-"]))
def test_whatever_is_in_a_file_it_gives_ids_or_a_clear_error(
    data: bytes, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Never another exception, never an id that is none."""
    source = name if name == "-" else written(tmp_path_factory.getbasetemp(), f"any{name}", data)
    try:
        ids = list(read_manifest(source, io.BytesIO(data)))
    except UsageError:
        return
    assert ids
    assert all(type(item) is int and 0 < item < 2**63 for item in ids)


def test_millions_of_ids_take_no_memory(tmp_path: Path) -> None:
    """They are a stream: what is held is a line."""
    path = written(tmp_path, "many.txt", b"".join(b"%d\n" % item for item in range(1, 400_001)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_manifest(path)) == 400_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
    assert list(islice(read_manifest(path), 2)) == [1, 2]
