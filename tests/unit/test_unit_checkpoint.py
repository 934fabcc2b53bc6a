"""The checkpoint on real files: modes, locks, foreign files, groups of writes, and kills."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import apsw
import pytest

from engine.checkpoint import APPLICATION_ID, SUFFIX, Checkpoint
from engine.errors import CheckpointError, LockedError, UsageError
from engine.lock import lock_path, owner
from engine.opening import LOG_BYTES, on_network


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a checkpoint may be made."""
    return tmp_path / "state" / f"k3w9q2fd{SUFFIX}"


def put(key: str, value: str = "1") -> Any:
    """An operation that writes one row."""
    return lambda db: db.execute("INSERT INTO job VALUES (?, ?)", (key, value)).fetchall()


def keys(checkpoint: Checkpoint) -> set[str]:
    """What is written."""
    return {str(row[0]) for row in checkpoint.read_now(lambda db: db.execute("SELECT key FROM job").fetchall())}


def elsewhere(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own; `path` and everything of the checkpoint are there."""
    head = "import os, sys, anyio\nfrom pathlib import Path\nfrom engine.checkpoint import *\nfrom engine.errors import *\npath = Path(sys.argv[1])\n"
    return subprocess.run(
        [sys.executable, "-c", head + code, str(path)], capture_output=True, text=True, timeout=30, check=False
    )


def test_every_file_is_private_from_birth(path: Path) -> None:
    """The checkpoint, its log and its lock are readable by their owner alone, whatever the umask says."""
    before = os.umask(0)
    try:
        checkpoint = Checkpoint.create(path)
        checkpoint.read_now(put("a"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    checkpoint.close()
    assert {path.name, f"{path.name}-wal", f"{path.name}.lock"} <= set(modes)
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_checkpoint_never_replaces_a_file(path: Path) -> None:
    """A second file of the same name is refused, and the first is as it was."""
    Checkpoint.create(path).close()
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="File exists"):
        Checkpoint.create(path)
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """With the reason and another way."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(CheckpointError, match="--state-dir"):
        Checkpoint.create(tmp_path / "file" / f"a{SUFFIX}")


def test_the_log_of_a_large_transaction_does_not_stay_large(path: Path) -> None:
    """Whoever resumes after a kill writes the whole of it again."""

    async def use() -> None:
        checkpoint = Checkpoint.create(path)
        await checkpoint.write(put("large", "x" * (2 * LOG_BYTES)))
        wal = path.with_name(f"{path.name}-wal")
        assert wal.stat().st_size > LOG_BYTES
        await checkpoint.write(put("a"))
        assert wal.stat().st_size <= LOG_BYTES
        assert keys(checkpoint) == {"large", "a"}
        checkpoint.close()

    anyio.run(use)


def test_commits_are_synced_and_in_wal(path: Path) -> None:
    """Durable means durable: full synchronisation, asked for and not hoped for, and a write-ahead log."""
    other_default = lambda db: db.pragma("synchronous", "OFF")  # noqa: E731 - builds of SQLite differ in it
    apsw.connection_hooks.append(other_default)
    try:
        checkpoint = Checkpoint.create(path)
    finally:
        apsw.connection_hooks.remove(other_default)
    assert checkpoint.read_now(lambda db: db.pragma("synchronous")) == 2
    assert checkpoint.read_now(lambda db: db.pragma("journal_mode")) == "wal"
    assert checkpoint.read_now(lambda db: db.pragma("application_id")) == APPLICATION_ID
    checkpoint.close()


def test_a_second_worker_is_refused_with_the_pid_of_the_first(path: Path) -> None:
    """Whether in this process or in another."""
    checkpoint = Checkpoint.create(path)
    with pytest.raises(LockedError) as refused:
        Checkpoint.resume(path)
    assert refused.value.pid == os.getpid()
    assert str(os.getpid()) in str(refused.value)
    done = elsewhere("try: Checkpoint.resume(path)\nexcept LockedError as e: print(e.pid, int(e.exit_code))", path)
    assert done.stdout.split() == [str(os.getpid()), "11"]
    assert owner(path) == os.getpid()
    checkpoint.close()
    assert owner(path) is None
    Checkpoint.resume(path).close()


def test_the_lock_of_a_killed_process_is_free(path: Path) -> None:
    """The system lets go of it."""
    elsewhere("Checkpoint.create(path); os.kill(os.getpid(), 9)", path)
    assert owner(path) is None
    Checkpoint.resume(path).close()


def test_looking_needs_no_lock_and_changes_nothing(path: Path) -> None:
    """A look works beside a worker, sees what is committed, and cannot write."""
    checkpoint = Checkpoint.create(path)
    checkpoint.read_now(put("a"))
    looking = Checkpoint.look(path)
    assert keys(looking) == {"a"}
    with pytest.raises(CheckpointError):
        looking.read_now(put("b"))
    looking.close()
    assert owner(path) == os.getpid()
    checkpoint.close()


def test_a_checkpoint_travels(path: Path, tmp_path: Path) -> None:
    """A closed job is one file; copied elsewhere it opens there."""
    checkpoint = Checkpoint.create(path)
    checkpoint.read_now(put("a"))
    checkpoint.close()
    copy = tmp_path / f"copy{SUFFIX}"
    copy.write_bytes(path.read_bytes())
    moved = Checkpoint.resume(copy)
    assert keys(moved) == {"a"}
    moved.close()


def foreign(path: Path) -> None:
    """Somebody else's database."""
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    db.close()


def newer(path: Path) -> None:
    """A checkpoint of a later version."""
    Checkpoint.create(path).close()
    db = apsw.Connection(str(path))
    db.execute("PRAGMA user_version=99")
    db.close()


def damaged(path: Path) -> None:
    """A checkpoint whose first page is noise."""
    Checkpoint.create(path).close()
    path.write_bytes(b"\x07" * 100 + path.read_bytes()[100:])


MAKERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("version: 1\n" * 100, encoding="utf-8"),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": foreign,
    "newer": newer,
    "damaged": damaged,
    "directory": lambda path: path.mkdir(),
    "missing": lambda _path: None,
}


@pytest.mark.parametrize("way", [Checkpoint.look, Checkpoint.resume], ids=["look", "resume"])
@pytest.mark.parametrize("what", MAKERS)
def test_what_is_no_checkpoint_is_refused_and_left_alone(tmp_path: Path, what: str, way: Any) -> None:
    """One sentence with the file's name; the file is not changed, and no lock stays behind."""
    path = tmp_path / f"x{SUFFIX}"
    MAKERS[what](path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UsageError, match=path.name):
        way(path)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert owner(path) is None


def test_a_job_that_never_was_leaves_nothing(path: Path) -> None:
    """Discarding removes the file, its log and its lock."""
    Checkpoint.create(path).discard()
    assert list(path.parent.iterdir()) == []


class Commits:
    """Counts transactions, by SQLite's own commit hook."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.number = 0
        checkpoint._connection.set_commit_hook(self)

    def __call__(self) -> bool:
        self.number += 1
        return False


async def test_writes_that_come_together_share_a_transaction(path: Path) -> None:
    """Two hundred concurrent writes are all there, for the price of a few syncs."""
    checkpoint = Checkpoint.create(path)
    commits = Commits(checkpoint)
    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(checkpoint.write, put(str(number)))
    assert keys(checkpoint) == {str(number) for number in range(200)}
    assert commits.number <= 20
    checkpoint.close()


async def test_a_write_returns_what_its_operation_returned(path: Path) -> None:
    """Each waiter gets its own result."""
    checkpoint = Checkpoint.create(path)
    results: dict[int, int] = {}

    async def write(number: int) -> None:
        results[number] = await checkpoint.write(lambda _db: number * 2)

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(write, number)
    assert results == {number: number * 2 for number in range(50)}
    checkpoint.close()


class Refused(Exception):  # noqa: N818 - what an operation may raise
    """An operation's own refusal."""


async def test_an_operation_that_refuses_fails_alone(path: Path) -> None:
    """A compare-and-set that lost says nothing about its neighbours: they are written, and it leaves no trace."""
    checkpoint = Checkpoint.create(path)
    outcomes: dict[str, str] = {}

    def refuse(db: apsw.Connection) -> None:
        put("half")(db)
        raise Refused

    async def write(name: str, operation: Any) -> None:
        try:
            await checkpoint.write(operation)
            outcomes[name] = "written"
        except Refused:
            outcomes[name] = "refused"

    async with anyio.create_task_group() as group:
        for number in range(6):
            name = str(number)
            group.start_soon(write, name, refuse if number == 3 else put(name))
    assert keys(checkpoint) == {name for name, outcome in outcomes.items() if outcome == "written"}
    assert outcomes == {str(number): "refused" if number == 3 else "written" for number in range(6)}
    checkpoint.close()


async def test_after_a_refusal_the_checkpoint_works_on(path: Path) -> None:
    """A failed group leaves no transaction open."""
    checkpoint = Checkpoint.create(path)

    def refuse(_db: apsw.Connection) -> None:
        raise Refused

    with pytest.raises(Refused):
        await checkpoint.write(refuse)
    await checkpoint.write(put("a"))
    assert keys(checkpoint) == {"a"}
    checkpoint.close()


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancelled_write_takes_no_other_write_with_it(path: Path, turns: int) -> None:
    """Whenever some writers are cancelled, what returned is written: no outcome is lost to another's second Ctrl-C."""
    checkpoint = Checkpoint.create(path)
    returned: set[str] = set()

    async def write(name: str) -> None:
        await checkpoint.write(put(name))
        returned.add(name)

    async with anyio.create_task_group() as group, anyio.create_task_group() as doomed:
        for number in range(6):
            (doomed if number % 2 == 0 else group).start_soon(write, str(number))
        for _ in range(turns):
            await asyncio.sleep(0)
        doomed.cancel_scope.cancel()
    assert {"1", "3", "5"} <= returned
    assert returned <= keys(checkpoint)
    checkpoint.close()


@pytest.mark.parametrize("given_up", ["first", "second", "third"])
async def test_a_write_cancelled_before_its_turn_is_not_carried_out(path: Path, given_up: str) -> None:
    """And the others of its group are, also when it was the one that was to commit for them."""
    checkpoint, others_turn = Checkpoint.create(path), threading.Event()
    scopes = {name: anyio.CancelScope() for name in ("first", "second", "third")}

    async def write(name: str) -> None:
        with scopes[name]:
            await checkpoint.write(put(name))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(checkpoint.read, lambda _db: others_turn.wait())
            for name in scopes:
                group.start_soon(write, name)
            await anyio.wait_all_tasks_blocked()
            scopes[given_up].cancel()
            await anyio.wait_all_tasks_blocked()
            others_turn.set()
    assert keys(checkpoint) == set(scopes) - {given_up}
    checkpoint.close()


async def test_a_group_that_has_begun_is_committed_once_whoever_of_it_is_cancelled(path: Path) -> None:
    """Not by a scope of anyio's but by `Task.cancel`, as `asyncio.timeout` around a program's call of us does."""
    checkpoint, begun, go, others_turn = Checkpoint.create(path), *(threading.Event() for _ in range(3))
    times: Counter[str] = Counter()

    def put_slowly(name: str) -> Any:
        def operation(db: apsw.Connection) -> str:
            times[name] += 1
            begun.set()
            go.wait()
            put(name)(db)
            return name

        return operation

    with anyio.fail_after(60):
        before = asyncio.create_task(checkpoint.read(lambda _db: others_turn.wait()))
        await anyio.wait_all_tasks_blocked()
        tasks = [asyncio.create_task(checkpoint.write(put_slowly(name))) for name in ("first", "second")]
        await anyio.wait_all_tasks_blocked()
        others_turn.set()
        await before
        await anyio.to_thread.run_sync(begun.wait)
        tasks[0].cancel()
        await anyio.wait_all_tasks_blocked()
        go.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(ended[0], asyncio.CancelledError)
    assert (ended[1], times) == ("second", {"first": 1, "second": 1})
    assert keys(checkpoint) == {"first", "second"}
    checkpoint.close()


async def test_who_is_cancelled_goes_on_when_what_had_begun_is_over(path: Path) -> None:
    """Else it might close the file in the middle of a commit."""
    checkpoint, begun, go = Checkpoint.create(path), threading.Event(), threading.Event()

    def slowly(db: apsw.Connection) -> None:
        begun.set()
        go.wait()
        put("a")(db)

    async def end() -> None:
        await anyio.to_thread.run_sync(begun.wait)
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert "is over" not in told
        go.set()

    told: list[str] = []
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(end)
            with anyio.CancelScope() as scope:
                await checkpoint.write(slowly)
            told.append("is over")
            assert keys(checkpoint) == {"a"}
    checkpoint.close()


async def test_what_is_jotted_is_one_transaction_and_leaves_the_file_alone(path: Path) -> None:
    """Rows that need not outlive the process: all of them or none, nothing in the log, nothing that goes with a commit."""
    checkpoint = Checkpoint.create(path)
    with_each: list[object] = []
    await checkpoint.write(lambda db: db.execute("CREATE TEMP TABLE jotted (number INTEGER UNIQUE)"))
    wal = path.with_name(f"{path.name}-wal")
    before = wal.read_bytes()
    checkpoint.with_each = with_each.append

    def jot(numbers: range | list[int]) -> Any:
        return lambda db: db.executemany("INSERT INTO jotted VALUES (?)", [(number,) for number in numbers])

    await checkpoint.jot(jot(range(100)))
    with pytest.raises(apsw.ConstraintError):
        await checkpoint.jot(jot([100, 101, 7]))
    assert await checkpoint.read(lambda db: db.execute("SELECT count(*) FROM jotted").get) == 100
    assert (wal.read_bytes(), with_each) == (before, [])
    checkpoint.close()


async def test_what_is_jotted_waits_for_its_turn(path: Path) -> None:
    """It runs on the one connection, which a transaction may be using in another thread."""
    checkpoint, others_turn, order = Checkpoint.create(path), threading.Event(), []

    def write(_db: apsw.Connection) -> None:
        others_turn.wait()
        order.append("written")

    async with anyio.create_task_group() as group:
        group.start_soon(checkpoint.write, write)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(checkpoint.jot, lambda _db: order.append("jotted"))
        await anyio.wait_all_tasks_blocked()
        others_turn.set()
    assert order == ["written", "jotted"]
    checkpoint.close()


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_what_was_reported_durable_survives_a_kill(path: Path, end: str) -> None:
    """The process dies the moment an awaited write has returned; everything it was told of is there."""
    code = f"""
async def main():
    checkpoint = Checkpoint.create(path)
    async def write(number):
        await checkpoint.write(lambda db: db.execute("INSERT INTO job VALUES (?, 1)", (str(number),)).fetchall())
        os.write(1, f"{{number}}\\n".encode())
        if number == 37:
            {end}
    async with anyio.create_task_group() as group:
        for number in range(60):
            group.start_soon(write, number)
anyio.run(main)
"""
    done = elsewhere(code, path)
    told = set(done.stdout.split())
    assert "37" in told
    checkpoint = Checkpoint.resume(path)
    assert told <= keys(checkpoint)
    checkpoint.close()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (apsw.SQLITE_IOERR_WRITE, "writing failed"),
        (apsw.SQLITE_IOERR_GETTEMPPATH, "writing failed"),
        (apsw.SQLITE_FULL, "the disk is full"),
    ],
)
async def test_an_error_after_which_sqlite_rolls_back_by_itself_is_told_as_it_was(
    path: Path, code: int, told: str
) -> None:
    """And not as that of who comes to roll back what no longer is: temporary files fail in the middle of a statement."""

    def fail(db: apsw.Connection) -> None:
        db.execute("ROLLBACK")
        raise apsw.exception_for(code)

    checkpoint = Checkpoint.create(path)
    with pytest.raises(CheckpointError, match=told):
        await checkpoint.write(fail)
    await checkpoint.write(put("a"))
    assert keys(checkpoint) == {"a"}
    checkpoint.close()


def test_a_full_disk_is_one_clear_error(path: Path) -> None:
    """What SQLite says of a full disk becomes a sentence, and what was written before stays."""
    checkpoint = Checkpoint.create(path)
    checkpoint.read_now(put("a"))
    pages = checkpoint.read_now(lambda db: db.pragma("page_count"))
    checkpoint.read_now(lambda db: db.pragma("max_page_count", pages))
    with pytest.raises(CheckpointError, match="disk is full"):
        checkpoint.read_now(put("b", "x" * 100_000))
    assert keys(checkpoint) == {"a"}
    checkpoint.close()


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
proc /proc proc rw 0 0
server:/export /mnt/nfs nfs4 rw,vers=4.2 0 0
/dev/sdb1 /mnt/nfs/local ext4 rw 0 0
//win/share /mnt/win cifs rw 0 0
systemd-1 /mnt/auto autofs rw 0 0
server:/auto /mnt/auto nfs4 rw 0 0
server:/spaced /mnt/my\\040share nfs rw 0 0
user@host: /mnt/ssh fuse.sshfs rw 0 0
tmpfs /mnt/nfsx tmpfs rw 0 0
junk
"""


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("/home/a/x", False), ("/mnt/nfs/x", True), ("/mnt/nfs", True), ("/mnt/nfs/local/x", False), ("/mnt/win/a/b", True),
        ("/mnt/nfsx/x", False), ("/mnt/ssh/x", True), ("/mnt/auto/x", True), ("/mnt/my share/x", True), ("/mnt/my", False),
    ],
)  # fmt: skip
def test_network_file_systems_are_known_by_their_mounts(place: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """The longest mount point above decides, of those on the same point the last; blanks are octal (proc(5))."""
    assert on_network(Path(place), MOUNTS) is expected


def test_no_mounts_means_no_network() -> None:
    """An empty table says nothing."""
    assert on_network(Path("/x"), "") is False


def test_the_lock_has_a_file_of_its_own(path: Path) -> None:
    """Closing a descriptor of the database would drop SQLite's locks on it."""
    assert lock_path(path) == path.with_name(path.name + ".lock")
