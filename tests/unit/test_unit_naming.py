"""Where exports go: paths, placeholders, folders, and whatever values may hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.files import target as target_module
from engine.files.naming import EMPTY, LONGEST, MISSING, encoded, is_whole
from engine.files.target import SUFFIXES, Target, must_be_available, read_target

NAMED: dict[str, Any] = {"job": "k3w9q2fd", "date": "2026-01-31", "number": 7}
HOSTILE = ["", ".", "..", "...", "/", "../../etc/passwd", "a/b", "\x00", "a\nb", "_x", "~", "%2F", "%", "=", MISSING, EMPTY, "ä", "\ud800",
           "x" * 300, "x" * 301, "ä" * 300, "/" * 300, "-00001", "a-b", "a.b", "C:\\x", "CON", " ", "a b", "\u202e"]  # fmt: skip
texts = st.one_of(st.text(st.characters(), max_size=100), st.sampled_from(HOSTILE), st.none())


def path(target: Target, *values: Any, parts: int = 1, **more: Any) -> str:
    """The path of part 7."""
    return target.path(**{**NAMED, **more}, parts=parts, values=values)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_single_part_is_named_as_it_was_written_and_several_are_numbered(suffix: str) -> None:
    """Before the whole suffix."""
    target = read_target(f"out/runs{suffix}")
    assert path(target) == f"out/runs{suffix}"
    assert path(target, parts=12) == f"out/runs-00007{suffix}"
    assert f".{target.format}{'.' * bool(target.packing)}{target.packing}" == suffix


def test_placeholders_are_filled() -> None:
    """Wherever they stand; with `{part}` in it a path needs no other number."""
    target = read_target("{date}/{job}/{agent}/runs-{part}.csv.gz", ["agent"])
    assert path(target, 101, parts=12) == "2026-01-31/k3w9q2fd/101/runs-00007.csv.gz"


def test_fields_without_a_placeholder_become_folders_in_their_order() -> None:
    """As Hive does it, and so DuckDB and Spark; before the file's name, after what was written."""
    target = read_target("s3://bucket/runs/{status}-x.parquet", ["agent", "status", "day"])
    assert target.folders == ("agent", "day")
    assert path(target, 101, "failed", None) == f"s3://bucket/runs/agent=101/day={MISSING}/failed-x.parquet"
    assert path(read_target("x.csv", ["a b"]), "") == "a%20b=/x.csv"
    assert path(read_target("/x.csv", ["a"]), 1) == "/a=1/x.csv"


def test_values_are_told_as_a_person_would_write_them() -> None:
    """Times in UTC, whatever their zone."""
    noon = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
    shown = [encoded(value) for value in (True, 3, 0.5, noon, noon.date(), None, "", [1], noon.replace(tzinfo=None))]
    assert shown == ["true", "3", "0.5", "2026-01-31T10%3A00%3A00Z", "2026-01-31", MISSING, EMPTY, "%5B1%5D", "2026-01-31T12%3A00%3A00"]  # fmt: skip
    assert encoded(datetime.max.replace(tzinfo=timezone(timedelta(hours=-2)))).startswith("9999-12-31T23")
    assert encoded(datetime(2026, 1, 31, tzinfo=UTC)) == "2026-01-31T00%3A00%3A00Z"


@given(value=texts, following=st.sampled_from("/-_.= "))
def test_no_value_leaves_its_name(value: str | None, following: str) -> None:
    """Printable ASCII without a slash, not hidden, never empty, not too long, and it ends where what follows begins."""
    name = encoded(value, following)
    assert name in {MISSING, EMPTY} or following not in name
    assert name.isascii()
    assert name.isprintable()
    assert "/" not in name
    assert name
    assert name[0] != "."
    assert len(name) <= LONGEST


@given(values=st.lists(texts, min_size=2, max_size=2, unique=True))
def test_two_values_never_share_a_name(values: list[str | None]) -> None:
    """Missing and empty among them, and those that are too long."""
    for following in "/-_.":
        assert encoded(values[0], following) != encoded(values[1], following)


def test_halves_of_surrogate_pairs_are_told_apart() -> None:
    """No text that anybody could encode, but JSON can hold it."""
    assert encoded("a\ud800") != encoded("a\ud801") != encoded("a?")
    assert encoded("a\ud800").startswith("a")


@given(one=st.tuples(texts, texts, texts), other=st.tuples(texts, texts, texts), parts=st.sampled_from([1, 2]))
@pytest.mark.parametrize(
    "written", ["x.csv", "{a}/x.csv", "{a}-{b}.csv", "{b}_{a}-{c}.csv", "{a}.{b}/{job}-{c}-x.csv", "{part}{c}.csv"]
)
def test_different_values_never_share_a_path_and_none_leaves_the_folder(
    written: str, one: Sequence[Any], other: Sequence[Any], parts: int
) -> None:
    """However placeholders and folders are mixed."""
    target = read_target(f"/exports/{written}", ["a", "b", "c"])
    found = path(target, *one, parts=parts)
    assert (found == path(target, *other, parts=parts)) is (one == other)
    assert found.startswith("/exports/")
    assert not {"", ".", ".."} & set(found.split("/")[1:])
    assert str(PurePosixPath(found)) == found
    assert found.count("/") == path(target, "x", "y", "z", parts=parts).count("/")
    assert all(len(name) <= 250 for name in found.split("/"))


@given(value=st.text(max_size=20))
def test_a_value_that_is_not_cut_can_be_read_back(value: str) -> None:
    """As DuckDB does."""
    if value and is_whole(value):
        assert unquote(encoded(value)) == value


def test_the_paths_of_a_part_are_told_once_each() -> None:
    """In the order of the partitions."""
    target = read_target("x.csv", ["a"])
    assert target.paths(**NAMED, parts=1, partitions=[(2,), (1,), (2,)]) == ["a=2/x.csv", "a=1/x.csv"]
    assert read_target("x.csv").paths(**NAMED, parts=1) == ["x.csv"]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "a path is needed"),
        ("out/", "is a folder"),
        ("out", "must end with one of .jsonl .jsonl.gz"),
        ("x.json", "must end with one of"),
        ("x.parquet.gz", "must end with one of"),
        ("out/.csv", "no name before its suffix"),
        ("../x.csv", "leads out of a folder"),
        ("a/../x.csv", "leads out of a folder"),
        ("~/x.csv", "only a shell understands"),
        ("a\nb.csv", "cannot be printed"),
        ("{jbo}.csv", "unknown placeholder “{jbo}”; did you mean “job”?"),
        ("{xyzzy}.csv", "unknown placeholder “{xyzzy}”; there are {job}, {date}, {part}, {a}, {b}"),
        ("{}.csv", "unknown placeholder “{}”"),
        ("{job!r}.csv", "unknown placeholder"),
        ("{job.csv", "a brace too many or too few"),
        ("{{job}}.csv", "a brace too many or too few"),
        ("job}.csv", "a brace too many or too few"),
        ("{a}{b}.csv", "must follow “{a}”"),
        ("{a}x.csv", "must follow “{a}”"),
        ("{a}%.csv", "must follow “{a}”"),
        ("http://host/x.csv", "no store that is known"),
        ("s3://x.csv", "plain name of a bucket"),
        ("s3:///x.csv", "plain name of a bucket"),
        ("s3://key:secret@bucket/x.csv", "plain name of a bucket"),
        ("s3://{job}/x.csv", "plain name of a bucket"),
        ("s3://bucket//x.csv", "empty folder"),
        ("s3://bucket/./x.csv", "empty folder"),
        ("file://host/x.csv", "another machine"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(written: str, words: str) -> None:
    """What is wrong, with the text that it is wrong in."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        read_target(written, ["a", "b"])
    assert words in str(caught.value)


def test_a_field_is_not_taken_for_a_placeholder_of_ours() -> None:
    """`{date}` could be either; without it, the field is a folder."""
    with pytest.raises(ValueError, match="leave it out"):
        read_target("{date}/x.csv", ["date"])
    assert path(read_target("x.csv", ["date"]), "d") == "date=d/x.csv"
    with pytest.raises(ValueError, match="twice"):
        read_target("x.csv", ["a", "a"])


def test_the_root_tells_a_store_from_a_file() -> None:
    """`file:///` is the file itself."""
    assert path(read_target("file:///tmp/x.csv")) == "/tmp/x.csv"
    assert read_target("file:///tmp/x.csv").is_local
    assert not read_target("gs://b/x.csv").is_local
    assert read_target("az://b/a/{date}/x.csv").fixed == "az://b/a/"
    assert read_target("a/b-{date}.csv").fixed == "a/"
    assert read_target("x.csv").fixed == ""


@pytest.mark.parametrize(
    ("written", "extra"),
    [("x.parquet", "parquet"), ("s3://b/x.csv", "objects"), ("x.csv", None), ("file:///x.csv", None)],
)
def test_what_is_not_installed_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, written: str, extra: str | None
) -> None:
    """Only where it is needed."""
    must_be_available(read_target(written))
    monkeypatch.setattr(target_module, "find_spec", lambda _name: None)
    if extra is None:
        must_be_available(read_target(written))
        return
    with pytest.raises(UsageError, match=rf"pip install 'rebatch\[{extra}\]'"):
        must_be_available(read_target(written))
