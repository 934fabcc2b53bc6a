"""Files of a job: for their owner alone from birth, made through no link, and believed only where they are ours."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from engine.checkpoint import Checkpoint
from engine.errors import UsageError
from tests.security.conftest import DELETE, Command
from tests.security.hostile import Asked, Hostile, reply

NOBODY = 65534


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277, 0o777])
def test_every_file_is_for_its_owner_alone_from_birth_whatever_the_umask(
    command: Command, service: Hostile, tmp_path: Path, umask: int
) -> None:
    """As made by `open`, while the job works with its -wal and -shm beside it, and after it."""
    command.umask, command.births = umask, tmp_path / "births"
    command.births.write_text("")
    command.births.chmod(0o666)
    seen: set[tuple[str, int]] = set()

    def look(_asked: Asked) -> bytes:
        seen.update((path.suffix, path.stat().st_mode & 0o777) for path in command.state_dir.iterdir())
        return reply(204)

    service.be(writes=look)
    for name in ("out", "err"):  # the rig's own files are not the matter
        (command.home / name).touch(0o600)
    assert command("run", command.spec(DELETE), "--yes").code == 0
    assert seen >= {(".rebatch", 0o600), (".rebatch-wal", 0o600), (".rebatch-shm", 0o600), (".lock", 0o600)}
    assert {mode for _, mode in seen} == {0o600}
    assert stat.S_IMODE(command.state_dir.stat().st_mode) == 0o700
    born = [line.split(" ", 1) for line in command.births.read_text().splitlines() if "/state/" in line]
    assert len(born) >= 2, "the checkpoint and its lock"
    assert [line for line in born if int(line[0], 8) & 0o077] == []


def test_a_lock_that_is_a_link_is_not_written_through(command: Command, tmp_path: Path) -> None:
    """A file that a link in the folder points to stays as it is."""
    assert command("plan", command.spec(DELETE)).code == 0
    (path,) = command.state_dir.glob("*.rebatch")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock = path.with_name(path.name + ".lock")
    lock.unlink(missing_ok=True)
    lock.symlink_to(victim)
    done = command("run", path, "--yes")
    assert (done.code, "cannot be made" in done.err) == (6, True)
    assert victim.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_a_job_that_another_user_may_have_put_there_is_not_carried_out(
    command: Command, service: Hostile, tmp_path: Path
) -> None:
    """In a folder where others write, its files must be ours: each of them, and those that a link leads to."""
    assert command("plan", command.spec(DELETE)).code == 0
    (path,) = command.state_dir.glob("*.rebatch")
    command.state_dir.chmod(0o1777)
    assert command("resume", path, "--yes", "--format", "json").code == 0, "it is ours"
    command.forget()
    assert command("plan", command.spec(DELETE)).code == 0
    (path,) = command.state_dir.glob("*.rebatch")
    service.be()
    os.chown(path, NOBODY, NOBODY)
    done = command("run", path, "--yes")
    assert (done.code, "belongs to another user" in done.err) == (2, True)
    os.chown(path, 0, 0)
    wal = path.with_name(path.name + "-wal")  # SQLite gives it to us as soon as it looks at it, if we are root
    wal.touch()
    os.chown(wal, NOBODY, NOBODY)
    with pytest.raises(UsageError, match="belongs to another user"):
        Checkpoint.resume(path)
    wal.unlink()
    away = tmp_path / "away"
    away.mkdir()
    moved = path.rename(away / path.name)
    for each in (away, moved):
        os.chown(each, NOBODY, NOBODY)
    path.symlink_to(moved)
    assert command("run", path, "--yes").code == 2
    assert service.asked == []
