"""The archive: durable before anything is deleted, whole again after any kill, and it tells every damage."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import zstandard

from engine import OutputError, UsageError
from engine.files import archive as module
from engine.files.archive import Archive, archive_path, check_archive_path, read
from engine.files.frames import SEAL, sealed

ROOT = Path(__file__).parents[2]
HEADER = {"archive": "rebatch", "job": "k3w9q2fd"}
BOTH = pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
LINES: list[Any] = [{"id": number, "name": f"run {number}\n", "more": [None, "ä"]} for number in range(6)]


def made(path: Path, *appends: Sequence[Any]) -> list[int]:
    """An archive of these appends; every length that was vouched for."""
    archive = Archive.begin(path, HEADER)
    lengths = [archive.length, *(archive.append(lines) for lines in appends)]
    archive.close()
    return lengths


@BOTH
def test_what_was_appended_is_read_after_the_header(tmp_path: Path, suffix: str) -> None:
    """In its order, whichever process appended it; the file is for its owner alone."""
    path = tmp_path / "new" / f"a{suffix}"
    lengths = made(path, LINES[:2], LINES[2:3])
    assert lengths == sorted(set(lengths))
    assert lengths[-1] == path.stat().st_size
    archive = Archive.resume(path, lengths[-1])
    assert archive.append([]) == lengths[-1]
    assert archive.append(LINES[3:]) == path.stat().st_size
    archive.close()
    assert list(read(path)) == [HEADER, *LINES]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_tools_that_everybody_has_read_it(tmp_path: Path) -> None:
    """`zstd` passes over the seals, and finds its own checksums right."""
    made(tmp_path / "a.jsonl.zst", LINES[:3], LINES[3:])
    subprocess.run(["zstd", "-qt", tmp_path / "a.jsonl.zst"], check=True)
    shown = subprocess.run(["zstd", "-qdc", tmp_path / "a.jsonl.zst"], check=True, capture_output=True).stdout
    assert [json.loads(line) for line in shown.splitlines()] == [HEADER, *LINES]


@BOTH
def test_wherever_an_append_was_cut_off_exactly_what_was_vouched_for_stays(tmp_path: Path, suffix: str) -> None:
    """At each byte of it; then it goes on as if nothing had been."""
    path = tmp_path / f"a{suffix}"
    lengths = made(path, LINES[:2], LINES[2:4])
    whole = path.read_bytes()
    for size in range(lengths[1], lengths[2] + 1):
        path.write_bytes(whole[:size])
        archive = Archive.resume(path, lengths[1])
        assert path.read_bytes() == whole[: lengths[1]]
        assert archive.append(LINES[4:]) == path.stat().st_size
        archive.close()
        assert list(read(path)) == [HEADER, *LINES[:2], *LINES[4:]]


@BOTH
def test_a_file_that_lacks_what_was_vouched_for_is_refused(tmp_path: Path, suffix: str) -> None:
    """Shorter, missing, or another: and nothing is changed in it."""
    path = tmp_path / f"a{suffix}"
    lengths = made(path, LINES)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(
        UsageError, match=f"has {lengths[1] - 1:,} bytes, and {lengths[1]:,} were written. Bring the archive back"
    ):
        Archive.resume(path, lengths[1])
    assert path.read_bytes() == whole[:-1]
    path.write_bytes(b"x" * 5_000)
    with pytest.raises(UsageError, match="not the archive that was written"):
        Archive.resume(path, lengths[1])
    assert path.read_bytes() == b"x" * 5_000
    path.unlink()
    with pytest.raises(UsageError, match="the archive is missing"):
        Archive.resume(path, lengths[1])
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError):
        Archive.resume(path, lengths[1])


@BOTH
def test_a_beginning_that_was_cut_off_is_no_obstacle_but_any_other_file_is(tmp_path: Path, suffix: str) -> None:
    """At each byte of the header; a file that somebody uses is left as it is."""
    path = tmp_path / f"a{suffix}"
    (length,) = made(path)
    whole = path.read_bytes()
    for size in range(length + 1):
        path.write_bytes(whole[:size])
        assert made(path) == [length]
        assert path.read_bytes() == whole
    for other in (b"mine", whole + b"x", whole[:-1] + b"x"):
        path.write_bytes(other)
        with pytest.raises(OutputError, match="it is there already"):
            made(path)
        assert path.read_bytes() == other


def test_every_bit_that_flips_is_found(tmp_path: Path) -> None:
    """Anywhere in a packed archive: a flip is never read as something else, and what is before it is read."""
    path = tmp_path / "a.jsonl.zst"
    lengths = made(path, LINES[:3], LINES[3:])
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        found, told = _read_as_far_as_possible(path)
        assert ": byte " in told
        assert found == [HEADER, *LINES][: [0, 1, 4][sum(bit // 8 >= length for length in lengths[:2])]]


def _read_as_far_as_possible(path: Path) -> tuple[list[Any], str]:
    """The lines before damage, and what is said of it."""
    found = []
    try:
        for each in read(path):
            found.append(each)  # noqa: PERF402 - as many as come
    except UsageError as error:
        return found, str(error)
    return found, ""


@pytest.mark.parametrize("change", ["twice", "swapped", "gone"])
def test_frames_that_do_not_stand_where_they_were_written_are_found(tmp_path: Path, change: str) -> None:
    """Each one is whole."""
    path = tmp_path / "a.jsonl.zst"
    lengths = made(path, LINES[:3], LINES[3:])
    whole = path.read_bytes()
    head, one, two = whole[: lengths[0]], whole[lengths[0] : lengths[1]], whole[lengths[1] :]
    path.write_bytes({"twice": head + one + one, "swapped": head + two + one, "gone": head + two}[change])
    with pytest.raises(UsageError, match="its checksum is wrong"):
        list(read(path))


@BOTH
def test_an_archive_that_breaks_off_is_told_from_a_damaged_one(tmp_path: Path, suffix: str) -> None:
    """With its place; at the end of a frame or line nothing is missing that the file itself could tell."""
    path = tmp_path / f"a{suffix}"
    lengths = made(path, LINES[:1], LINES[1:2])
    whole = path.read_bytes()
    for size in set(range(len(whole))) - set(lengths):
        path.write_bytes(whole[:size])
        with pytest.raises(UsageError, match=r"breaks off|nothing in it"):
            list(read(path))
    for end, length in enumerate(lengths):
        path.write_bytes(whole[:length])
        assert len(list(read(path))) == end + 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "nothing in it"),
        (b"x\n", "line 1: the archive is damaged, or none: a line is not JSON"),
        (b'{"a":1}\n[1]\n', "line 2: the archive is damaged, or none: a line is not an object"),
        (b'{"a":1}\n\n', "line 2"),
        (b'{"a":1}\n{"a"', "line 2 breaks off"),
        (b"[" * 100_000 + b"\n", "not JSON"),
    ],
)
def test_what_is_no_archive_is_told_by_its_line(tmp_path: Path, content: bytes, words: str) -> None:
    """Plain and packed."""
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        list(read(tmp_path / "a.jsonl"))
    for packed in (content, zstandard.compress(content), b"\x52\x2a\x4d\x18" + bytes(60), sealed(b"x\n", 0)):
        (tmp_path / "a.jsonl.zst").write_bytes(packed)
        with pytest.raises(UsageError, match=r"a.jsonl.zst: byte 0"):
            list(read(tmp_path / "a.jsonl.zst"))
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        list(read(tmp_path / "b.jsonl"))


MEASURE = """
import re, sys
from pathlib import Path
from engine import UsageError
from engine.files.archive import Archive, read
path = Path(sys.argv[1])
if len(sys.argv) > 2:
    archive = Archive.begin(path, {"job": "x"})
    for start in range(0, int(sys.argv[2]), 100):
        archive.append([{"id": n, "text": f"{n * 7919 ** 9:x}" * 40} for n in range(start, start + 100)])
    print(sum(1 for _ in read(path)))
else:
    try:
        print(sum(1 for _ in read(path)))
    except UsageError as error:
        print(error)
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10)
"""


def measured(path: Path, *more: str) -> tuple[str, int]:
    """What a process that reads an archive says, and how many MiB it took."""
    command = [sys.executable, "-c", MEASURE, str(path), *more]
    told, memory = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return told, int(memory)


@BOTH
def test_memory_does_not_grow_with_an_archive(tmp_path: Path, suffix: str) -> None:
    """Written and read: ten times the rows, 60 MiB more."""
    few = measured(tmp_path / f"few{suffix}", "5000")
    many = measured(tmp_path / f"many{suffix}", "50000")
    assert (few[0], many[0]) == ("5001", "50001")
    assert many[1] - few[1] < 10, (few, many)


def test_a_bomb_takes_no_more_memory_than_is_bounded(tmp_path: Path) -> None:
    """With right seals: blanks without end, a window without end, a line of a million values."""
    (tmp_path / "usual.jsonl.zst").write_bytes(sealed(b"{}\n", 0))
    usual = measured(tmp_path / "usual.jsonl.zst")[1]
    wide = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False, write_checksum=True)
    bombs = {
        "a line has more than 32 MiB": sealed(b" " * (1 << 30), 0),
        "a line holds more than 500,000 values": sealed(b"[" + b"{}," * (8 << 20) + b"1]\n", 0),
        "cannot be unpacked": _resealed(
            zstandard.ZstdCompressor(compression_params=wide).compressobj(), b"{}\n" * (50 << 20)
        ),
    }
    for words, content in bombs.items():
        (tmp_path / "bomb.jsonl.zst").write_bytes(content)
        told, memory = measured(tmp_path / "bomb.jsonl.zst")
        assert words in told
        assert memory - usual < 110, (words, memory, usual)


def _resealed(packer: Any, data: bytes) -> bytes:
    """A frame of any make with a seal that fits it."""
    frame = packer.compress(data) + packer.flush()
    lengths = sealed(b"", 0)[: SEAL - 32 - 8] + struct.pack("<Q", len(frame))
    return bytes(lengths + sha256(lengths + struct.pack("<Q", 0) + frame).digest() + frame)


FULL = """
import resource, sys
from pathlib import Path
from engine import OutputError
from engine.files.archive import Archive
archive = Archive.begin(Path(sys.argv[1]), {"archive": "rebatch", "job": "k3w9q2fd"})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
count = 0
try:
    while True:
        archive.append([{"id": n, "name": f"{n * 7919 ** 9:x}"} for n in range(count, count + 100)])
        count += 100
except OutputError as error:
    print(error)
try:
    archive.append([{"id": 1}])
except OutputError as error:
    print(error)
print(count, archive.length)
"""


@BOTH
def test_a_full_disk_is_told_and_what_was_vouched_for_stays(tmp_path: Path, suffix: str) -> None:
    """The rest is taken back at once, nothing more is taken, and a resume goes on from there."""
    path = tmp_path / f"a{suffix}"
    done = subprocess.run([sys.executable, "-c", FULL, path], cwd=ROOT, capture_output=True, text=True, check=True)
    first, second, counts = done.stdout.splitlines()
    assert first == f"{path}: it may not grow any more. Make room, then resume; nothing is lost."
    assert second == f"{path}: an earlier append failed. Resume; nothing is lost."
    count, length = map(int, counts.split())
    assert path.stat().st_size == length
    archive = Archive.resume(path, length)
    archive.append([{"id": count}])
    archive.close()
    assert [each["id"] for each in list(read(path))[1:]] == list(range(count + 1))


@BOTH
def test_an_append_is_vouched_for_only_after_the_disk_has_it(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that fails is an error, and what it was for is not kept; the header is synced with its folder."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / f"a{suffix}"
    archive = Archive.begin(path, HEADER)
    assert synced == [str(path), str(tmp_path)]
    archive.append(LINES)
    assert synced[2:] == [str(path)]

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    length = archive.length
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OutputError, match=r"Input/output error\. Mend the disk"):
        archive.append(LINES)
    assert (archive.length, path.stat().st_size) == (length, length)


@BOTH
def test_a_large_append_is_one_to_whoever_vouches_for_it(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many frames it takes."""
    monkeypatch.setattr(module, "FRAME_BYTES", 100)
    path = tmp_path / f"a{suffix}"
    _, length = made(path, LINES * 10)
    assert list(read(path)) == [HEADER, *LINES * 10]
    Archive.resume(path, length).close()
    monkeypatch.setattr(module, "MAX_LINE", 1_000)
    archive = Archive.resume(path, length)
    with pytest.raises(OutputError, match="A row has more than"):
        archive.append([{"id": 1}, {"x": "x" * 1_000}])
    assert path.stat().st_size == length


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "a path is needed"),
        ("a-{job}/", "is a folder"),
        ("a.jsonl", r"needs \{job\}"),
        ("a-{job}.csv", "must end with one of .jsonl.zst .jsonl"),
        ("a-{job}.jsonl.gz", "must end with one of"),
        ("a-{job}-{part}.jsonl", "unknown placeholder “{part}”"),
        ("a-{job.jsonl", "a brace too many"),
        ("../{job}.jsonl", "leads out of"),
        ("s3://b/{job}.jsonl", "which no object store can do"),
    ],
)
def test_a_path_that_is_none_for_an_archive_is_told(written: str, words: str) -> None:
    """In one sentence."""
    for check in (check_archive_path, lambda text: archive_path(text, "k3w9q2fd", "2026-01-31")):
        with pytest.raises(ValueError, match=words):
            check(written)


def test_the_path_of_an_archive_has_the_job_in_it() -> None:
    """And the day, if it is asked for."""
    assert archive_path("/a/{date}/{job}.jsonl.zst", "k3w9q2fd", "2026-01-31") == Path(
        "/a/2026-01-31/k3w9q2fd.jsonl.zst"
    )
    assert archive_path("{job}.jsonl", "../x", "2026-01-31") == Path("%2E.%2Fx.jsonl")
