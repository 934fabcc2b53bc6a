"""A list of ids from a file: read whole, or refused with its mistakes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Exit, UsageError
from engine.kind import LARGEST
from engine.manifest import MAX_INFLATED, MAX_LINE, MAX_TOLD, _bounded, read_manifest

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,  # as the command `zstd` does
}
FORMS = (".csv", ".jsonl", ".txt")
numbers = st.lists(st.integers(1, LARGEST - 1), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each test writes the one file it reads."""
    return tmp_path_factory.mktemp("manifests")


def read(path: Path, data: bytes | str) -> list[int]:
    """What a file of this content is read as."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(read_manifest(str(path)))


def mistakes(path: Path, data: bytes | str) -> list[str]:
    """The lines of the refusal, without the file's name."""
    with pytest.raises(UsageError) as refused:
        read(path, data)
    assert refused.value.exit_code is Exit.USAGE
    lines = refused.value.message.split("\n")
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


@pytest.mark.parametrize(
    ("form", "text", "ids"),
    [
        (".csv", "id\n5\n7\n5\n", [5, 7, 5]),
        (".csv", "5\n7", [5, 7]),
        (".csv", "5,failed\n\n7\n", [5, 7]),
        (".csv", "fate, ID ,error\nfailed, 5 ,\nheld,7\n", [5, 7]),
        (".csv", 'error,id\n"two\nlines, ""quoted""",5\n"",7\n', [5, 7]),
        (".csv", '"5","a"\n7,b\n', [5, 7]),
        (".jsonl", '{"id": 5, "fate": {"id": 6}}\n\n7\n', [5, 7]),
        (".txt", "# mine\n5\n\n 007 \n#8\n", [5, 7]),
        (".txt", f"{LARGEST - 1}", [LARGEST - 1]),
        (".TXT", "5\n", [5]),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("packed", PACKED)
def test_each_form_is_read(
    folder: Path, form: str, text: str, ids: list[int], end: str, mark: str, packed: str
) -> None:
    """With either end of line, with or without a byte order mark, packed or not; in order, duplicates and all."""
    data = PACKED[packed]((mark + text.replace("\n", end)).encode())
    assert read(folder / f"ids{form}{packed}", data) == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('\n \n{"id": 5}\n7\n', [5, 7]),
        ("id,fate\n5,held\n", [5]),
        ("\nId\n5\n", [5]),
        ("5,x\n7\n", [5, 7]),
        ("5\n7\n", [5, 7]),
        ("\ufeff# mine\n5\n# his\n7\n", [5, 7]),
    ],
)
def test_standard_input_is_recognised_by_its_first_line(text: str, ids: list[int]) -> None:
    """An object, a header, a number, or else plain text with remarks."""
    assert list(read_manifest("-", io.BytesIO(text.encode()))) == ids


def test_standard_input_is_named_in_mistakes() -> None:
    """Not as a dash; and a table without the column is not taken for text."""
    for text, told in (("5\nx\n", ":2: “x” is not a whole number"), ("name,fate\nx,y\n", ":1: the column “id” is not")):
        with pytest.raises(UsageError) as refused:
            list(read_manifest("-", io.BytesIO(text.encode())))
        assert refused.value.message.startswith(f"standard input{told}")


@pytest.mark.parametrize(
    ("form", "text", "told"),
    [
        (".txt", "5\nx\n", ":2: “x” is not a whole number"),
        (".txt", "5.0\n", ":1: “5.0” is not a whole number"),
        (".txt", "²\n", ":1: “²” is not a whole number"),
        (".txt", "1_000\n", ":1: “1_000” is not a whole number"),
        (".txt", "-\n", ":1: “-” is not a whole number"),
        (".txt", "00\n", ":1: “00” is not above zero"),
        (".txt", "-5\n", ":1: “-5” is not above zero"),
        (".txt", f"{LARGEST}\n", f":1: “{LARGEST}” is too large"),
        (".txt", "9" * 5000, f":1: “{'9' * 40}…” is too large"),
        (".txt", "x\x1b[31m\u202e\n", ":1: “x<001b>[31m<202e>” is not a whole number"),
        (".csv", "\nname,fate\n5,held\n", ":2: the column “id” is not there: “name, fate”"),
        (".csv", "id,ID\n5,6\n", ":1: the column “id” is there more than once: “id, id”"),
        (".csv", "name,id\nx,5\nx\n", ":3: there is nothing in the column “id”"),
        (".csv", "name,id\nx,\n", ":2: “” is not a whole number"),
        (".csv", "-5\n6\n", ":1: “-5” is not above zero"),
        (".csv", 'id,name\n"a\nb",x\n7,x\n', ":2: “a<000a>b” is not a whole number"),
        (".csv", 'id,name\n5,"x\n6,y\n', ":2: this is not CSV: unexpected end of data"),
        (".csv", 'id,name\n5,"x"y\n', ":2: this is not CSV: ',' expected after '\"'"),
        (".jsonl", "5\n{oops\n", ":2: “{oops” is not JSON: "),
        (".jsonl", "0\n", ":1: “0” is not above zero"),
        (".jsonl", '{"id": -5}\n', ":1: “-5” is not above zero"),
        (".jsonl", f'{{"id": {LARGEST}}}\n', f":1: “{LARGEST}” is too large"),
        (".jsonl", "1" + "0" * 30, ":1: “1e+30” is too large"),
        (".jsonl", '{"name": 5}\n', ':1: “{"name": 5}” is neither a whole number nor an object whose “id” is one'),
        (".jsonl", '{"id": "5"}\n', ':1: “{"id": "5"}” is neither a whole number nor an object whose “id” is one'),
        (".jsonl", "[5]\n", ":1: “[5]” is neither a whole number nor an object whose “id” is one"),
        (".jsonl", "5.0\n", ":1: “5.0” is neither a whole number nor an object whose “id” is one"),
        (".jsonl", "true\n", ":1: “true” is neither a whole number nor an object whose “id” is one"),
        (".jsonl", "[" * 1000 + "]" * 1000, f":1: “{'[' * 40}…” is neither a whole number nor an object whose “id” is one"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(folder: Path, form: str, text: str, told: str) -> None:
    """A row over several lines by its first; text from the file cannot harm a terminal."""
    path = folder / f"ids{form}"
    (line,) = mistakes(path, text)
    assert f":{line}".startswith(told)


@pytest.mark.parametrize("form", FORMS)
def test_lines_that_are_no_text_or_too_long_are_told(folder: Path, form: str) -> None:
    """And the lines after them are still looked at."""
    told = mistakes(folder / f"ids{form}", b"5\n\xff\xfe\n" + b"7" * (MAX_LINE + 1) + b"\n6\nx")
    assert told[:2] == ["2: this is not UTF-8 text", "3: this line is longer than 1024 KiB"]
    assert told[2].startswith("5: “x” is not ")


def test_a_line_may_be_as_long_as_the_limit(folder: Path) -> None:
    """An exported row with all its texts is one."""
    row = json.dumps({"id": 5, "text": ""})
    row = row.replace('""', f'"{"x" * (MAX_LINE - len(row))}"')
    assert len(row) == MAX_LINE
    assert read(folder / "ids.jsonl", f"{row}\n7\n") == [5, 7]


def test_the_first_mistakes_are_told_and_the_rest_counted(folder: Path) -> None:
    """A wrong file must not fill the screen."""
    told = mistakes(folder / "ids.txt", "x\n" * 1234)
    assert len(told) == MAX_TOLD + 1
    assert told[MAX_TOLD - 1] == f"{MAX_TOLD}: “x” is not a whole number"
    assert told[MAX_TOLD] == f" and {1234 - MAX_TOLD:,} more"


def test_no_id_follows_a_mistake(folder: Path) -> None:
    """What is handed out is the beginning of the file, without a gap."""
    path = folder / "ids.txt"
    path.write_text("1\n2\nx\n4\n")
    ids = read_manifest(str(path))
    assert [next(ids), next(ids)] == [1, 2]
    with pytest.raises(UsageError):
        next(ids)


@pytest.mark.parametrize("text", ["", "\n \n", "\ufeff"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", PACKED)
def test_a_file_without_an_id_is_refused(folder: Path, text: str, form: str, packed: str) -> None:
    """Nothing to do is more likely a mistake."""
    assert mistakes(folder / f"ids{form}{packed}", PACKED[packed](text.encode())) == [" there is no id in it."]
    with pytest.raises(UsageError, match="standard input: there is no id in it"):
        list(read_manifest("-", io.BytesIO(text.encode())))


@pytest.mark.parametrize("text", ["id\n", "id,name\r\n"])
def test_a_header_alone_is_no_id(folder: Path, text: str) -> None:
    """Nor are remarks."""
    assert mistakes(folder / "ids.csv", text) == [" there is no id in it."]
    assert mistakes(folder / "ids.txt", "# none\n") == [" there is no id in it."]


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    """A missing file, a folder, a name that says nothing, one that is none."""
    for source, told in (
        (str(folder / "missing.csv"), "missing.csv: cannot be read: No such file or directory."),
        (str(folder), "cannot be read: Is a directory."),
        ("ids\x00.csv", "ids<0000>.csv: cannot be read: embedded null byte."),
    ):
        with pytest.raises(UsageError) as refused:
            list(read_manifest(source))
        assert refused.value.message.endswith(told)
    (told,) = mistakes(folder / "ids.xlsx", "5\n")
    assert told == " its name says nothing of its form."


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_a_packed_file_that_is_cut_off_or_damaged_is_refused(folder: Path, packed: str) -> None:
    """Wherever it ends: a part of the ids must not be taken for all of them."""
    data = PACKED[packed]("".join(f"{n * 7919}\n" for n in range(1, 3000)).encode())
    for end in (1, 9, len(data) // 2, len(data) - 1):
        assert "cannot be read: " in mistakes(folder / f"ids.txt{packed}", data[:end])[0]
    assert "cannot be read: " in mistakes(folder / f"ids.txt{packed}", data[:40] + b"junk" + data[44:])[0]
    assert "cannot be read: " in mistakes(folder / f"ids.txt{packed}", b"5\n7\n")[0]


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_files_that_were_packed_one_by_one_and_put_together_are_read_whole(folder: Path, packed: str) -> None:
    """As `cat a.gz b.gz` does."""
    pack = PACKED[packed]
    assert read(folder / f"ids.txt{packed}", pack(b"5\n6") + pack(b"7\n8\n")) == [5, 67, 8]


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_a_small_file_that_inflates_to_much_takes_little_memory(folder: Path, packed: str) -> None:
    """A hundred megabytes of one line are one mistake."""
    path = folder / f"ids.txt{packed}"
    path.write_bytes(PACKED[packed](bytes(100_000_000)))
    tracemalloc.start()
    with pytest.raises(UsageError, match="1: this line is longer"):
        list(read_manifest(str(path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16_000_000


def test_a_window_larger_than_every_decoder_must_take_is_refused(folder: Path) -> None:
    """It would be allocated before a byte is seen."""
    wide = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    data = packer.compress(b"5\n") + packer.flush()
    assert "cannot be read: " in mistakes(folder / "ids.txt.zst", data)[0]


def test_reading_what_inflates_has_an_end() -> None:
    """A limit in bytes, whatever they are."""
    assert b"".join(_bounded([b"12", b"34"], 4)) == b"1234"
    with pytest.raises(ValueError, match="it inflates to more than"):
        list(_bounded([b"12", b"345"], 4))
    assert MAX_INFLATED >> 30 == 16


@pytest.mark.parametrize("form", FORMS)
def test_memory_does_not_grow_with_the_file(folder: Path, form: str) -> None:
    """Ten times the lines, the same memory."""
    row = '{"id": %d}\n' if form == ".jsonl" else "%d\n"
    peaks = []
    for lines in (30_000, 300_000):
        (folder / f"ids{form}").write_text("".join(row % number for number in range(1, lines + 1)))
        tracemalloc.start()
        assert sum(1 for _ in read_manifest(str(folder / f"ids{form}"))) == lines
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] < 10_000_000


@given(ids=numbers, text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20), form=st.sampled_from(FORMS))
def test_what_was_written_is_read(folder: Path, ids: list[int], text: str, form: str) -> None:
    """Beside whatever other columns or keys there are."""
    if form == ".csv":
        out = io.StringIO(newline="")
        csv.writer(out).writerows([["name", "id", "error"], *([text, each, text] for each in ids)])
        written = out.getvalue()
    elif form == ".jsonl":
        written = "".join(json.dumps({text: 1, "id": each}) + "\n" for each in ids)
    else:
        written = "".join(f"# {text!r}\n{each}\n" for each in ids)
    assert read(folder / f"ids{form}", written) == ids


pieces = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from([b"\n", b"\r\n", b'"', b",", b"id", b"5", b"-1", b'{"id":', b"}", b"#", b"\xef\xbb\xbf", b"[" * 1100]),
    ),
    max_size=30,
).map(b"".join)  # fmt: skip


@given(data=pieces, form=st.sampled_from(FORMS), packed=st.sampled_from(list(PACKED)), honest=st.booleans())
def test_whatever_the_bytes_they_are_ids_or_refused(
    folder: Path, data: bytes, form: str, packed: str, *, honest: bool
) -> None:
    """In a file of any name, and from standard input: no other exception."""
    path = folder / f"any{form}{packed}"
    path.write_bytes(PACKED[packed](data) if honest else data)
    for source in (str(path), "-"):
        try:
            ids = list(read_manifest(source, io.BytesIO(data)))
        except UsageError as error:
            printed = error.message.split("\n")
        else:
            assert ids
            assert all(0 < each < LARGEST for each in ids)
            printed = []
        assert all(line.isprintable() for line in printed)
