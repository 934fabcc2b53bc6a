"""Disks that are full and directories that cannot be written: a clear error, and nothing is lost."""

from __future__ import annotations

import resource
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.rig import EVALUATE, Rebatch, World, assert_all_confirmed, assert_each_once, eligible, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open


LIMIT = 8192  # bytes: far less than the checkpoint has by then, and more than is said on stderr


def may_mount() -> bool:
    """Whether a file system of our own can be made here."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_state_directory_that_cannot_be_made_is_said_before_anything_is_sent(
    rebatch: Rebatch, quiet_world: World
) -> None:
    """Exit 6, with what to do; reading commands find no jobs there and say so."""
    (rebatch.home / "file").write_text("")
    before = len(quiet_world.requests())
    rebatch.environment["REBATCH_STATE_DIR"] = str(rebatch.home / "file" / "below")
    done = rebatch.at(quiet_world.url)("run", rebatch.spec(EVALUATE), "--yes", code=6)
    assert "cannot be made: Not a directory. Choose another place: --state-dir DIR." in done.err
    assert len(quiet_world.requests()) == before
    assert "No jobs in " in rebatch("list").err
    assert "There is no job “a” in " in rebatch("report", "a", code=2).err


def test_a_disk_that_is_full_in_the_middle_stops_the_job_and_loses_nothing(rebatch: Rebatch, open_world: Open) -> None:
    """No file of the process may grow from then on: exit 6; with room again, `resume` ends with none twice, none lost."""
    world = open_world("--results=900", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(latency="80ms")
    live = rebatch.at(world.url).start("run", rebatch.spec(EVALUATE), "--yes")
    until(lambda: world.count("POST") >= 4, "some chunks")
    resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))
    done = live.wait()
    assert done.code == 6
    assert str(rebatch.checkpoints[0]) in done.err
    assert "resume" in done.err
    report = rebatch("resume", "--last", "--format", "json", "--items").json
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)


@pytest.mark.skipif(not may_mount(), reason="no user namespaces here")
@pytest.mark.parametrize("room_kib", [0, 90])
def test_on_a_disk_that_is_really_full_the_job_stops_and_goes_on_when_there_is_room(
    rebatch: Rebatch, open_world: Open, room_kib: int
) -> None:
    """A file system filled up to some KiB after the plan: too little to open the job, or to write some chunks of it."""
    world = open_world("--results=900", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    state = rebatch.state_dir
    state.mkdir()
    done = rebatch.at(world.url).shell(f"""
        exec unshare -rm sh -ec '
            mount -t tmpfs -o size=12m none {state}
            rebatch plan {rebatch.spec(EVALUATE)} >/dev/null 2>&1
            dd if=/dev/zero of={state}/room bs=1k count={room_kib} 2>/dev/null
            cat /dev/zero >{state}/filler 2>/dev/null || true
            rm {state}/room
            code=0; rebatch run "$(basename {state}/*.rebatch .rebatch)" --yes >/dev/null || code=$?
            test $code = 6
            rebatch status >/dev/null
            rm {state}/filler
            rebatch resume "$(basename {state}/*.rebatch .rebatch)" --yes --format json --items -q
        '""")
    assert done.code == 0, done.err
    assert any(words in done.err for words in ("the disk is full", "writing failed", "cannot be opened")), done.err
    assert_each_once(world, wanted)
    assert_all_confirmed(done.json, wanted)


@pytest.mark.skipif(not may_mount(), reason="no user namespaces here")
def test_a_disk_without_any_room_is_said_when_a_job_is_to_begin(rebatch: Rebatch, quiet_world: World) -> None:
    """Exit 6, and nothing is left that other commands would stumble over."""
    state = rebatch.state_dir
    state.mkdir()
    done = rebatch.at(quiet_world.url).shell(f"""
        exec unshare -rm sh -ec '
            mount -t tmpfs -o size=64k none {state}
            cat /dev/zero >{state}/filler 2>/dev/null || true
            code=0; rebatch plan {rebatch.spec(EVALUATE)} || code=$?
            test $code = 6
            rebatch list
            rm {state}/filler
            ls {state}
        '""")
    assert done.code == 0, done.err
    assert "disk is full" in done.err or "writing failed" in done.err or "cannot be" in done.err
    assert "No jobs in " in done.err
    assert done.out == ""
