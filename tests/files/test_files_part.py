"""Parts on a real disk: whole or not at all, never over another, and nothing left behind."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine import Exit, OutputError, StoppedError
from engine.files.part import OPEN, remove
from engine.files.target import SUFFIXES, read_target
from tests.files.rows import names, part, row, write

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_visible_before_it_is_published_and_everything_after(tmp_path: Path, suffix: str) -> None:
    """Only hidden names of the job; then the files as they were announced, for their owner alone."""
    made = part(tmp_path / "new" / f"runs{suffix}")
    made.write([row(1)], [()])
    made.write([row(2), row(3)], [(), ()])
    (file,) = made.finish()
    assert names(tmp_path) == [f"new/.runs{suffix}.k3w9q2fd.tmp"]
    made.publish()
    assert names(tmp_path) == [f"new/runs{suffix}"]
    data = Path(file.path).read_bytes()
    assert (file.rows, file.bytes, file.sha256) == (3, len(data), hashlib.sha256(data).hexdigest())
    assert Path(file.path).stat().st_mode & 0o777 == 0o600
    assert Path(file.path).parent.stat().st_mode & 0o777 == 0o700


def test_a_finished_file_and_a_published_name_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced before it is announced, and its folder after it got its name."""
    synced: list[tuple[str, list[str]]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, names(tmp_path)))
        real(descriptor)

    made = part(tmp_path / "runs.csv")
    made.write([row(1)], [()])
    monkeypatch.setattr(os, "fsync", fsync)
    made.finish()
    assert synced == [(".runs.csv.k3w9q2fd.tmp", [".runs.csv.k3w9q2fd.tmp"])]
    made.publish()
    assert synced[1:] == [(tmp_path.name, ["runs.csv"])]


def test_an_export_of_nothing_is_a_file_of_nothing(tmp_path: Path) -> None:
    """With its header; but no partition has no file."""
    (file,) = write(tmp_path / "runs.csv", [])
    assert file.rows == 0
    assert Path(file.path).read_bytes() == b'"id","name","done","rate","made","tags","more"\r\n'
    assert write(tmp_path / "parted.csv", [], "done") == []


def test_a_part_is_published_once(tmp_path: Path) -> None:
    """Neither again, nor before it is finished, nor written to afterwards."""
    made = part(tmp_path / "runs.jsonl")
    with pytest.raises(RuntimeError):
        made.publish()
    made.finish()
    with pytest.raises(RuntimeError):
        made.write([row(1)], [()])
    made.publish()
    with pytest.raises(RuntimeError):
        made.publish()
    made.discard()
    assert names(tmp_path) == ["runs.jsonl"]


def test_a_name_that_is_taken_is_refused_and_its_file_stays(tmp_path: Path) -> None:
    """When the part is finished, or, if it comes later, when it is published; what is left can be thrown away."""
    (tmp_path / "runs.jsonl").write_text("mine")
    made = part(tmp_path / "runs.jsonl")
    made.write([row(1)], [()])
    with pytest.raises(
        OutputError, match=r"runs.jsonl: it is there already, and nothing is ever overwritten. Move it away"
    ):
        made.finish()
    made.discard()
    assert names(tmp_path) == ["runs.jsonl"]
    (tmp_path / "runs.jsonl").unlink()
    made = part(tmp_path / "runs.jsonl")
    made.finish()
    (tmp_path / "runs.jsonl").symlink_to("nowhere")
    with pytest.raises(OutputError, match="it is there already"):
        made.publish()
    made.discard()
    assert names(tmp_path) == ["runs.jsonl"]
    assert issubclass(OutputError, StoppedError)
    assert OutputError.exit_code is Exit.STOPPED


def test_if_one_file_of_a_part_cannot_be_published_none_is(tmp_path: Path) -> None:
    """Those that were before it are taken back."""
    made = part(tmp_path / "runs.jsonl", "done")
    made.write([row(1), row(2)], [(False,), (True,)])
    made.finish()
    (tmp_path / "done=true" / "runs.jsonl").write_text("mine")
    with pytest.raises(OutputError, match="done=true"):
        made.publish()
    made.discard()
    assert names(tmp_path) == ["done=true/runs.jsonl"]


def test_more_partitions_than_may_be_open_lose_nothing_and_keep_their_order(tmp_path: Path) -> None:
    """And no more files are open at once than that."""
    count = OPEN * 3
    made = part(tmp_path / "{name}.jsonl.gz", "name")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for turn in range(3):
        rows = [row(turn * count + number, name=f"n{number}") for number in range(count)]
        made.write(rows, [(each["name"],) for each in rows])
        assert len(list(Path("/proc/self/fd").iterdir())) - before <= OPEN
    files = made.finish()
    made.publish()
    assert sum(file.rows for file in files) == 3 * count
    assert len(names(tmp_path)) == count
    for number in range(count):
        shown = subprocess.run(
            ["gzip", "-dc", tmp_path / f"n{number}.jsonl.gz"], check=True, capture_output=True
        ).stdout
        assert [json.loads(line)["id"] for line in shown.splitlines()] == [number, count + number, 2 * count + number]


def test_a_discarded_part_leaves_nothing(tmp_path: Path) -> None:
    """In the middle of writing, with open and with waiting files."""
    made = part(tmp_path / "runs.parquet", "id")
    made.write([row(number) for number in range(OPEN + 5)], [(number,) for number in range(OPEN + 5)])
    assert len(names(tmp_path)) == OPEN + 5
    made.discard()
    assert names(tmp_path) == []


KILLED = """
import os, signal, sys
from tests.files.rows import part, row
made = part(sys.argv[1] + "/{date}/runs.csv.zst", "id")
made.write([row(n) for n in range(60)], [(n,) for n in range(60)])
if sys.argv[2] != "write":
    print(*(file.path for file in made.finish()), sep="\\n", flush=True)
if sys.argv[2] == "publish":
    made.publish()
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(folder: Path, moment: str) -> list[str]:
    """The paths that a process told before it was killed at some moment."""
    command = [sys.executable, "-c", KILLED, str(folder), moment]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("moment", ["write", "finish", "publish"])
def test_what_a_killed_process_left_can_be_removed(tmp_path: Path, moment: str) -> None:
    """Hidden files only, or all; other jobs' files stay, and removing twice does no harm."""
    (tmp_path / "2026-01-31" / "id=1").mkdir(parents=True)
    (tmp_path / "2026-01-31" / "id=1" / ".runs.csv.zst.another.tmp").write_text("theirs")
    (tmp_path / "keep.tmp").write_text("theirs")
    paths = killed(tmp_path, moment)
    left = names(tmp_path)
    assert len(left) == 62
    assert len([name for name in left if "/." not in name]) == (61 if moment == "publish" else 1)
    target = read_target(f"{tmp_path}/{{date}}/runs.csv.zst", ["id"])
    for _ in range(2):
        remove(target, paths, job="k3w9q2fd")
        assert names(tmp_path) == ["2026-01-31/id=1/.runs.csv.zst.another.tmp", "keep.tmp"]


def test_a_part_can_be_made_again_after_a_kill_without_cleaning_up(tmp_path: Path) -> None:
    """Its own hidden files are in nobody's way."""
    for moment in ("write", "finish", "publish"):
        killed(tmp_path, moment)
    assert len([name for name in names(tmp_path) if "/." not in name]) == 60


def test_a_file_of_somebody_else_is_not_removed(tmp_path: Path) -> None:
    """If one tells what it ought to hold."""
    (file,) = write(tmp_path / "runs.jsonl", [row(1)])
    target = read_target(str(tmp_path / "runs.jsonl"))
    whole = (tmp_path / "runs.jsonl").read_bytes()
    (tmp_path / "runs.jsonl").write_bytes(whole.replace(b"run 1", b"run 2"))
    remove(target, [file])
    assert names(tmp_path) == ["runs.jsonl"]
    (tmp_path / "runs.jsonl").write_bytes(whole)
    remove(target, [file, str(tmp_path / "missing" / "x.jsonl")])
    assert names(tmp_path) == []


def test_leftovers_of_a_path_go_with_it_even_when_no_job_is_told(tmp_path: Path) -> None:
    """Those of other paths stay."""
    part(tmp_path / "runs.jsonl").write([row(1)], [()])
    part(tmp_path / "other.jsonl").write([row(1)], [()])
    remove(read_target(str(tmp_path / "runs.jsonl")), [str(tmp_path / "runs.jsonl")])
    assert names(tmp_path) == [".other.jsonl.k3w9q2fd.tmp"]


FULL = """
import resource, sys
from engine import OutputError
from tests.files.rows import part, row, names
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
made = part(sys.argv[1], *sys.argv[2:])
try:
    for start in range(0, 20_000, 100):
        rows = [row(n, name=f"{n * 7919 ** 5:x}" * 3) for n in range(start, start + 100)]
        made.write(rows, [(True,)] * 100 if sys.argv[2:] else [()] * 100)
    made.finish()
except OutputError as error:
    print(error)
made.discard()
print(names(Path(sys.argv[1]).parent))
"""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_is_full_is_told_by_the_path_and_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    """No file of the process may grow beyond some KiB."""
    command = [sys.executable, "-c", FULL, str(tmp_path / f"runs{suffix}")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (
        done.stdout
        == f"{tmp_path}/runs{suffix}: it may not grow any more. Make room, then resume; nothing is lost.\n[]\n"
    )
    assert done.stderr == ""


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """What is in the way, and what to do; hostile names are harmless in it."""
    (tmp_path / "file").write_text("")
    for target, words in ((tmp_path / "file" / "runs.csv", "cannot be written: Not a directory"), (tmp_path / ("x" * 260) / "runs.csv", "File name too long")):  # fmt: skip
        made = part(target)
        with pytest.raises(OutputError, match=words):
            made.write([row(1)], [()])


def test_a_row_that_is_nested_without_end_is_told(tmp_path: Path) -> None:
    """Deeper than any JSON is read; what is merely deep is written."""
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    write(tmp_path / "deep.jsonl", [row(1, x=deep)])
    assert json.loads((tmp_path / "deep.jsonl").read_bytes())["x"] == deep
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(OutputError, match="nested too deeply"):
        write(tmp_path / "deeper.jsonl", [row(1, x=deep)])


FLAT = """
import re, sys
from tests.files.rows import part, row
made = part(sys.argv[1], *sys.argv[3:])
for start in range(0, int(sys.argv[2]), 100):
    rows = [row(n, name=f"n{n % 48}", text=f"{n * 7919 ** 9:x}" * 40) for n in range(start, start + 100)]
    made.write(rows, [(each["name"],) for each in rows] if sys.argv[3:] else [()] * 100)
made.finish()
made.publish()
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10)
"""


def memory(target: Path, rows: int, *fields: str) -> int:
    """MiB of a process that writes so many rows of 1.5 KiB."""
    command = [sys.executable, "-c", FLAT, str(target), str(rows), *fields]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)


@pytest.mark.parametrize(
    ("suffix", "fields"), [(".jsonl.zst", ["name"]), (".csv.gz", []), (".parquet", []), (".parquet", ["name"])]
)
def test_memory_does_not_grow_with_a_part(tmp_path: Path, suffix: str, fields: list[str]) -> None:
    """Three times the rows, 100 MiB more of them, once everything that waits in memory is full; with many partitions too."""
    few = memory(tmp_path / f"few{suffix}", 36_000, *fields)
    many = memory(tmp_path / f"many{suffix}", 108_000, *fields)
    assert many - few < 20, (few, many)
