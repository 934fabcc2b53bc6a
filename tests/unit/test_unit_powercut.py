"""Power cuts on paper: crash images of a checkpoint, each opened as `resume` opens it and held to what was promised."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from random import Random

import apsw
import pytest

from engine.checkpoint import SUFFIX, Checkpoint
from engine.errors import CheckpointError
from tests.torture.disk import Disk, Fault, Name, Record, Sync, SyncFolder, Truncate, Write
from tests.torture.images import POWER_CUTS, Damage, image
from tests.torture.powercut import cut, lay_out, record
from tests.torture.session import as_if_on_network

IMAGES = 120


@pytest.mark.parametrize("network", [False, True], ids=["wal", "journal"])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_power_cut_undoes_what_was_called_durable(tmp_path: Path, seed: int, network: bool) -> None:  # noqa: FBT001 - a table
    """Every image opens, is sound, and says what the checkpoint said at some moment since the last promise."""
    with as_if_on_network(network=network):
        found = cut(record(seed, tmp_path, network=network), IMAGES, seed, f"seed {seed}")
    assert (found.images, found.lost, found.corrupt) == (IMAGES, [], [])


@pytest.mark.parametrize("network", [False, True], ids=["wal", "journal"])
def test_a_disk_that_lies_about_syncs_is_found_out(tmp_path: Path, network: bool) -> None:  # noqa: FBT001 - a table
    """The harness can fail: without syncs most images break a promise, and some are damaged."""
    with as_if_on_network(network=network):
        found = cut(record(1, tmp_path, network=network, syncs_work=False), 400, 1, "")
    assert len(found.lost) > 100
    assert found.corrupt


def test_a_kill_is_the_mildest_of_power_cuts(tmp_path: Path) -> None:
    """What the process had written is all there."""
    found = cut(record(3, tmp_path), IMAGES, 3, "", [Damage.KILL])
    assert (found.lost, found.corrupt) == ([], [])


@pytest.mark.parametrize("damage", POWER_CUTS)
def test_what_was_synced_is_in_every_image(damage: Damage) -> None:
    """File and name, whatever becomes of the rest."""
    done: list[Record] = [Name("a", 1), Write(1, 0, b"x" * 1024), Sync(1), SyncFolder()]
    since: list[Record] = [Write(1, 512, b"y" * 512), Write(1, 4096, b"z" * 512), Name("b", 2), Write(2, 0, b"b")]
    for seed in range(50):
        files = image([*done, *since], damage, Random(seed))
        assert files["a"][:512] == b"x" * 512
        assert files["a"][512:1024] in {b"x" * 512, b"y" * 512}


def test_what_was_not_synced_may_be_there_or_not_in_any_order() -> None:
    """Of two writes, two names and a deletion, every combination turns up; what was never written may be anything."""
    records: list[Record] = [
        Name("a", 1), Sync(1), SyncFolder(), Write(1, 0, b"x"), Write(1, 1, b"y"), Truncate(1, 1), Name("a", None), Name("b", 2),
    ]  # fmt: skip
    seen = [image(records, Damage.SUBSET, Random(seed)) for seed in range(400)]
    assert {frozenset(files) for files in seen} == {frozenset(names) for names in ("", "a", "b", "ab")}
    assert {b"", b"x", b"\0", b"\0y", b"xy"} <= {files["a"] for files in seen if "a" in files}


def test_a_failed_sync_is_not_made_good_by_a_later_one() -> None:
    """The kernel forgets that the pages were dirty: nobody vouches for what was written before."""
    records: list[Record] = [
        Name("a", 1),
        SyncFolder(),
        Write(1, 0, b"x"),
        Sync(1, kept=False),
        Write(1, 1, b"y"),
        Sync(1),
    ]
    assert {image(records, Damage.SUBSET, Random(seed))["a"] for seed in range(50)} == {b"xy", b"\0y"}


def test_new_folders_are_made_to_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of each that was missing is synced in the folder above it: SQLite syncs only the last one."""
    synced: set[Path] = set()
    fsync = os.fsync

    def noticed(descriptor: int) -> None:
        assert stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.add(Path(f"/proc/self/fd/{descriptor}").resolve())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noticed)
    Checkpoint.create(tmp_path / "a" / "b" / f"x{SUFFIX}").close()
    assert {tmp_path, tmp_path / "a"} <= synced


def test_a_hot_journal_does_not_keep_a_job_from_being_looked_at(tmp_path: Path) -> None:
    """Killed in the middle of a transaction with the rollback journal: the first look undoes the half, and sees the rest."""
    disk = Disk(tmp_path)
    path = tmp_path / f"x{SUFFIX}"
    with as_if_on_network(network=True), disk.installed():
        checkpoint = Checkpoint.create(path)
        disk.fault = Fault(disk.steps + 1, apsw.SQLITE_IOERR_DELETE, "delete")
        with pytest.raises(CheckpointError):
            checkpoint.read_now(lambda db: db.execute("INSERT INTO job VALUES ('a', '1')"))
        files = image(disk.records, Damage.KILL, Random(0))
        checkpoint._let_go()
    assert f"{path.name}-journal" in files, "the transaction was under way"
    after = lay_out(files, tmp_path / "after")
    assert after is not None
    for _ in range(2):
        looking = Checkpoint.look(after)
        assert looking.read_now(lambda db: db.execute("SELECT * FROM job").fetchall()) == []
        looking.close()


async def test_a_disk_that_was_full_to_the_end_leaves_a_job_that_can_be_resumed(tmp_path: Path) -> None:
    """The mark of an open job cannot be taken out then, and closing keeps the WAL, without which the job would be refused."""
    disk = Disk(tmp_path)
    path = tmp_path / f"x{SUFFIX}"
    with disk.installed():
        checkpoint = Checkpoint.create(path)
        await checkpoint.mark_open()
        await checkpoint.write(lambda db: db.execute("INSERT INTO job VALUES ('a', '1')"))
        disk.fault = Fault(disk.steps + 1, apsw.SQLITE_FULL, "write", times=2)
        with pytest.raises(CheckpointError, match="full"):
            await checkpoint.write(lambda db: db.execute("INSERT INTO job VALUES ('b', '1')"))
        checkpoint.close()
        assert disk.hits == 2
        disk.fault = None
        again = Checkpoint.resume(path)
        assert ("a", "1") in again.read_now(lambda db: db.execute("SELECT * FROM job").fetchall())
        again.close()
    assert not path.with_name(path.name + "-wal").exists(), "closed in order: one file again"


async def test_what_a_failed_sync_left_in_the_wal_is_written_again_before_work_goes_on(tmp_path: Path) -> None:
    """Else a power cut after the resume would leave a hole in the middle of the WAL, and pages of two ages behind it."""
    disk = Disk(tmp_path)
    path = tmp_path / f"x{SUFFIX}"
    with disk.installed():
        checkpoint = Checkpoint.create(path)
        await checkpoint.mark_open()
        await checkpoint.write(lambda db: db.execute("INSERT INTO job VALUES ('a', '1')"))
        disk.fault = Fault(disk.steps + 1, apsw.SQLITE_IOERR_FSYNC, "sync")
        with pytest.raises(CheckpointError, match="writing failed"):
            await checkpoint.write(lambda db: db.execute("INSERT INTO attempt (chunk, begun_at) VALUES (1, 1)"))
        checkpoint.close()
        disk.fault = None
        again = Checkpoint.resume(path)
        await again.write(lambda db: db.execute("INSERT INTO job VALUES ('b', '1')"))
        await again.mark_open()
        behind = len(disk.records)
        again.close()
    after = lay_out(image(disk.records[:behind], Damage.LOST, Random(0)), tmp_path / "after")
    assert after is not None
    found = Checkpoint.resume(after)
    assert {"a", "b"} <= found.read_now(lambda db: {row[0] for row in db.execute("SELECT key FROM job")})
    assert found.read_now(lambda db: db.execute("PRAGMA integrity_check").fetchall()) == [("ok",)]
    found.close()
