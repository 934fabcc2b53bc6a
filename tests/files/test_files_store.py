"""Parts in a real object store over HTTP."""

from __future__ import annotations

import tempfile
import urllib.request
from pathlib import Path

import duckdb
import obstore
import pytest
from obstore.store import from_url

from engine import OutputError
from engine.files import objects
from engine.files.part import remove
from engine.files.target import read_target
from tests.files.conftest import BUCKET
from tests.files.rows import part, row, write


@pytest.fixture
def folder(request: pytest.FixtureRequest, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of this test in the bucket; temporary files go where they can be counted."""
    assert store
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return f"s3://{BUCKET}/{request.node.name.partition('[')[0]}"


def keys(folder: str) -> list[str]:
    """The names of all objects in a folder."""
    prefix = folder.removeprefix(f"s3://{BUCKET}/")
    bucket = from_url(f"s3://{BUCKET}")
    return sorted(each["path"].removeprefix(f"{prefix}/") for some in obstore.list(bucket, prefix) for each in some)


def content(path: str) -> bytes:
    """What an object holds."""
    return bytes(obstore.get(from_url(f"s3://{BUCKET}"), path.removeprefix(f"s3://{BUCKET}/")).bytes())


def test_objects_appear_when_the_part_is_published_and_nothing_stays_here(folder: str, tmp_path: Path) -> None:
    """Their names are as they would be on a disk, and another tool reads them over HTTP."""
    made = part(f"{folder}/runs.parquet", "name")
    made.write([row(1, name="a/b"), row(2, name="")], [("a/b",), ("",)])
    files = made.finish()
    assert keys(folder) == []
    made.publish()
    assert keys(folder) == ["name=/runs.parquet", "name=a%2Fb/runs.parquet"]
    assert list(tmp_path.iterdir()) == []
    for file in files:
        (tmp_path / "x.parquet").write_bytes(content(file.path))
        assert duckdb.connect().execute(
            "SELECT count(*) FROM read_parquet(?)", [f"{tmp_path}/x.parquet"]
        ).fetchall() == [(1,)]


@pytest.mark.parametrize("size", ["small", "large"])
def test_an_object_of_somebody_else_is_never_replaced(folder: str, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was there before, or came when the part was finished already; then nothing of the part stays."""
    if size == "large":
        monkeypatch.setattr(objects, "ONE_REQUEST", 10)
    theirs = f"{folder}/{size}/done=true/runs.jsonl".removeprefix(f"s3://{BUCKET}/")
    made = part(f"{folder}/{size}/runs.jsonl", "done")
    made.write([row(1), row(2)], [(False,), (True,)])
    made.finish()
    obstore.put(from_url(f"s3://{BUCKET}"), theirs, b"mine")
    with pytest.raises(OutputError, match=r"done=true/runs.jsonl: it is there already"):
        made.publish()
    made.discard()
    assert keys(f"{folder}/{size}") == ["done=true/runs.jsonl"]
    again = part(f"{folder}/{size}/runs.jsonl", "done")
    again.write([row(2)], [(True,)])
    with pytest.raises(OutputError, match="it is there already"):
        again.finish()
    again.discard()
    assert content(f"s3://{BUCKET}/{theirs}") == b"mine"


def test_a_large_object_appears_whole_and_leaves_no_other(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces under a hidden name, then by a copy that refuses a name that is taken."""
    monkeypatch.setattr(objects, "ONE_REQUEST", 10)
    (file,) = write(f"{folder}/runs.jsonl", [row(number, name="x" * 9_000) for number in range(2_000)])
    assert file.bytes > 2 * objects._PIECE
    assert keys(folder) == ["runs.jsonl"]
    assert content(file.path).count(b"\n") == 2_000


def test_an_answer_that_was_lost_is_not_taken_for_somebody_else(folder: str) -> None:
    """An object that holds just what we sent is ours."""
    made = part(f"{folder}/runs.jsonl")
    made.write([row(1)], [()])
    (file,) = made.finish()
    sent = Path(made._growing[file.path].waiting).read_bytes()
    obstore.put(from_url(f"s3://{BUCKET}"), file.path.removeprefix(f"s3://{BUCKET}/"), sent)
    made.publish()
    assert keys(folder) == ["runs.jsonl"]


def test_what_a_killed_process_left_in_a_store_can_be_removed(folder: str, tmp_path: Path) -> None:
    """Objects, the hidden one of a large object, and the folder here; a stranger's object stays."""
    bucket = from_url(f"s3://{BUCKET}")
    (file,) = write(f"{folder}/runs.jsonl", [row(1)])
    obstore.put(bucket, f"{folder}/.runs.jsonl.k3w9q2fd.tmp".removeprefix(f"s3://{BUCKET}/"), b"x")
    left = part(f"{folder}/other.jsonl")
    left.write([row(1)], [()])
    assert len(list(tmp_path.iterdir())) == 1
    target = read_target(f"{folder}/runs.jsonl")
    for _ in range(2):
        remove(target, [file], job="k3w9q2fd")
        assert (keys(folder), list(tmp_path.iterdir())) == ([], [])
    obstore.put(bucket, file.path.removeprefix(f"s3://{BUCKET}/"), b"theirs")
    remove(target, [file], job="k3w9q2fd")
    assert keys(folder) == ["runs.jsonl"]


def test_a_store_that_refuses_is_told_by_the_path(folder: str) -> None:
    """In one line, with what to do."""
    missing = folder.replace(BUCKET, "nobody-has-it")
    made = part(f"{missing}/runs.jsonl")
    made.write([row(1)], [()])
    made.finish()
    with pytest.raises(OutputError, match=r"^s3://nobody-has-it/.*runs.jsonl: .*Check the bucket .*$") as caught:
        made.publish()
    made.discard()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_store_is_a_real_one(store: str) -> None:
    """Over HTTP."""
    with urllib.request.urlopen(f"{store}/{BUCKET}?list-type=2") as answer:
        assert b"ListBucketResult" in answer.read()
