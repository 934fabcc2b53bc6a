"""`status`, `list`, `report`, and how they, and all others, are addressed."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.rig import DELETE, EVALUATE, Rebatch, World, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open


def test_a_report_has_five_formats_that_agree(rebatch: Rebatch, open_world: Open) -> None:
    """The table and Markdown in sum, JSON both, NDJSON and CSV item by item."""
    world = open_world("--results=150", "--evaluation-time=20ms")
    rebatch.at(world.url)("run", rebatch.spec(EVALUATE), "--yes")
    job = rebatch.job()
    whole = rebatch("report", job, "--format", "json", "--items").json
    planned = whole["counts"]["planned"]
    assert [json.loads(line) for line in rebatch("report", job, "--format", "ndjson").out.splitlines()] == whole[
        "items"
    ]
    listed = list(csv.DictReader(io.StringIO(rebatch("report", job, "--format", "csv").out)))
    assert [(int(row["id"]), row["fate"]) for row in listed] == [(item["id"], item["fate"]) for item in whole["items"]]
    assert list(listed[0]) == ["id", "fate", "http_status", "error", "attempts", "before", "after"]
    assert f"| confirmed | {planned} |" in rebatch("report", job, "--format", "md").out
    table = rebatch("report", job, "--items").out.splitlines()
    assert f"confirmed            {planned}" in table[1]
    assert sum("confirmed" in line and "200" in line for line in table) == planned


def test_status_and_list_tell_where_jobs_stand(rebatch: Rebatch, quiet_world: World) -> None:
    """The newest first; for people and as JSON; with what to do next."""
    assert rebatch("list", "--format", "json").json == []
    assert "No jobs in " in rebatch("list").err
    assert "No jobs in " in rebatch("status").out
    rebatch.at(quiet_world.url)("plan", rebatch.spec(EVALUATE, DELETE))
    listed = rebatch("list", "--format", "json").json
    assert [(entry["spec"], entry["state"]) for entry in listed] == [("delete", "planned"), ("evaluate", "planned")]
    assert all(entry["planned"] > 0 and entry["origin"] == quiet_world.url for entry in listed)
    lines = rebatch("list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["JOB", *(entry["job"] for entry in listed)]
    newest = rebatch("status").out
    assert f"Job {listed[0]['job']} · delete · planned" in newest
    assert f"go on with: rebatch run {listed[0]['job']}" in newest
    status = rebatch("status", listed[1]["job"], "--format", "json").json
    assert (status["job"], status["pid"], status["state"]) == (listed[1]["job"], None, "planned")


def test_status_and_list_as_ndjson(rebatch: Rebatch, quiet_world: World) -> None:
    """Machine-readable everywhere: table, json, ndjson."""
    rebatch.at(quiet_world.url)("plan", rebatch.spec(EVALUATE))
    for command in ("list", "status"):
        (line,) = rebatch(command, "--format", "ndjson").out.splitlines()
        assert json.loads(line)["job"] == rebatch.job()


def test_an_interrupted_job_says_so(rebatch: Rebatch, open_world: Open) -> None:
    """After a SIGKILL nobody has written that it was interrupted, and yet it is seen."""
    world = open_world("--results=400", "--latency=100ms")
    live = rebatch.at(world.url).start("run", rebatch.spec(EVALUATE), "--yes")
    until(lambda: world.count("POST") >= 1, "the first chunk")
    live.kill()
    said = rebatch("status").out
    assert "· interrupted" in said
    assert "sent, answer unknown; resuming settles them" in said
    assert f"go on with: rebatch resume {rebatch.job()}" in said


def test_a_job_is_addressed_by_id_prefix_or_path(rebatch: Rebatch, quiet_world: World) -> None:
    """A prefix that fits several, or none, is a usage error that lists what there is."""
    rebatch.at(quiet_world.url)("plan", rebatch.spec(EVALUATE, DELETE))
    one, other = (path.stem for path in rebatch.checkpoints)
    common = 1 + next(place for place in range(8) if one[place] != other[place])
    for name in (one[:common], str(rebatch.checkpoints[0])):
        assert rebatch("report", name, "--format", "json").json["job"] == one
    for name in ("zzzzzzzzz", "nowhere/x.rebatch"):
        done = rebatch("report", name, code=2)
        assert "See: rebatch list" in done.err
    for name in (one, other):
        (rebatch.state_dir / f"{name}.rebatch").rename(rebatch.state_dir / f"same{name}.rebatch")
    ambiguous = rebatch("status", "same", code=2).err
    assert "“same” begins several jobs: " in ambiguous
    assert f"same{one}" in ambiguous
    assert f"same{other}" in ambiguous
    several = rebatch("resume", code=2).err
    assert "nobody has agreed to them: " in several
    assert "rebatch run JOB" in several


def test_files_that_are_no_checkpoints_are_told_from_them(rebatch: Rebatch, quiet_world: World) -> None:
    """Passed over in lists, refused by name with exit 2."""
    rebatch.at(quiet_world.url)("plan", rebatch.spec(EVALUATE))
    (rebatch.state_dir / "empty.rebatch").write_bytes(b"")
    (rebatch.state_dir / "text.rebatch").write_bytes(b"precious " * 1000)
    assert len(rebatch("list", "--format", "json").json) == 1
    for command, name in (("report", "empty"), ("resume", "text")):
        assert "this is not a checkpoint" in rebatch(command, name, code=2).err
    assert (rebatch.state_dir / "text.rebatch").read_bytes().startswith(b"precious")


def test_a_checkpoint_may_be_moved(rebatch: Rebatch, open_world: Open) -> None:
    """The file is the whole job: resumed by its path from elsewhere."""
    world = open_world("--results=60", "--evaluation-time=20ms")
    rebatch.at(world.url)("plan", rebatch.spec(EVALUATE))
    moved = rebatch.home / "elsewhere.rebatch"
    rebatch.checkpoints[0].rename(moved)
    report = rebatch("run", moved, "--yes", "--format", "json").json
    assert report["counts"]["confirmed"] == report["counts"]["planned"] > 0


def test_quiet_is_silent_on_success(rebatch: Rebatch, open_world: Open) -> None:
    """Nothing on stderr; stdout still has what was asked for; errors are still told."""
    world = open_world("--results=60", "--evaluation-time=20ms")
    spec = rebatch.at(world.url).spec(EVALUATE)
    done = rebatch("run", spec, "--yes", "-q")
    assert done.err == ""
    assert "finished" in done.out


@pytest.mark.parametrize("before", [True, False])
def test_global_options_stand_before_or_after_the_command(
    rebatch: Rebatch, quiet_world: World, *, before: bool
) -> None:
    """Every one of them."""
    options = ["--state-dir", "other", "--api-url", quiet_world.url, "--no-color", "-v", "--log-format", "json"]
    command = ["plan", str(rebatch.spec(EVALUATE))]
    done = rebatch.at("http://127.0.0.1:1")(*([*options, *command] if before else [*command, *options]))
    assert f"at {quiet_world.url}" in done.err
    assert len(list((rebatch.home / "other").glob("*.rebatch"))) == 1


def test_without_a_terminal_nothing_is_coloured(rebatch: Rebatch, quiet_world: World) -> None:
    """Neither stream, neither plan nor log nor help nor usage errors."""
    done = [
        rebatch.at(quiet_world.url)("plan", rebatch.spec(EVALUATE), "-vv"),
        rebatch("plan", "--nonsense", code=2),
    ]
    assert not any("\x1b" in each.out + each.err for each in done)


def test_a_reader_that_has_had_enough_is_no_error(rebatch: Rebatch, quiet_world: World) -> None:
    """`rebatch report … | head` ends quietly; 141 is what a shell shows for SIGPIPE."""
    rebatch.at(quiet_world.url)("plan", rebatch.spec(EVALUATE))
    done = rebatch.shell(f"(rebatch report {rebatch.job()} --format ndjson; echo $? >code) | head -1; cat code")
    assert done.err == ""
    assert done.out.splitlines()[1] in {"0", "141"}


def test_resuming_the_last_job_takes_none_that_nobody_agreed_to(rebatch: Rebatch, open_world: Open) -> None:
    """A deletion that was only planned is not carried out by `resume --last --yes`; the interrupted job is."""
    world = open_world("--results=300", "--latency=50ms", "--evaluation-time=20ms")
    live = rebatch.at(world.url).start("run", rebatch.spec(EVALUATE, limits={"rate": "10/s", "settle": "1s"}), "--yes")
    until(lambda: world.count("POST"), "at work")
    live.kill()
    interrupted = rebatch.job()
    rebatch("plan", rebatch.spec(DELETE, name="delete.yaml"))
    assert rebatch("resume", "--last", "--yes", "--format", "json").json["job"] == interrupted
    assert world.audit()["deletions"]["results"] == 0


def test_nobody_listening_is_no_reason_to_fail(rebatch: Rebatch, open_world: Open) -> None:
    """With stderr closed, or a disk behind it that is full, a job comes to its end."""
    world = open_world("--results=120", "--evaluation-time=20ms")
    spec = rebatch.at(world.url).spec(EVALUATE)
    assert rebatch.shell(f"rebatch run {spec} --yes 2>&-; echo code $?").out.endswith("code 0\n")
    assert rebatch.shell(f"rebatch run {spec} --yes -v 2>/dev/full; echo code $?").out.endswith("code 0\n")


def test_the_version_is_told_as_a_command_and_as_an_option(rebatch: Rebatch) -> None:
    """Other tools have the one or the other."""
    assert rebatch("--version").out == rebatch("version").out != ""
